from __future__ import annotations

from types import SimpleNamespace as Plain

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tests.viz.make import check_legible, words

import relprop
from relprop.viz import flow_figure


def _ledger(
    *rows: tuple[str, float, float, float], end: float, closes: bool = True, start: float = 2.0
) -> Plain:
    parts = [Plain(module=m, bias=b, stabiliser=s, lost=lost) for m, b, s, lost in rows]
    return Plain(rows=parts, start=start, end=end, aside=0.0, closes=closes)


def _axes(figure: Figure) -> Axes:
    return next(a for a in figure.axes if a.get_gid() == "flow")


def _heights(figure: Figure, name: str) -> list[float]:
    """How high each ribbon of a kind is at its right end."""
    paths = [p.get_path().vertices for p in _axes(figure).patches if p.get_gid() == name]
    return [float(v[4][1] - v[3][1]) for v in paths]


def test_the_band_is_what_is_left() -> None:
    figure = flow_figure(
        _ledger(("head", 0.5, 0.0, 0.0), ("body", 0.0, 0.0, 1.0), ("stem", 0.0, 0.0, 0.0), end=0.5)
    )
    assert _heights(figure, "band") == pytest.approx([0.75, 0.25, 0.25])
    assert _heights(figure, "bias") == pytest.approx([0.25, 0.25, 0.25])  # arrives, then goes on twice
    assert _heights(figure, "lost") == pytest.approx([0.5, 0.5])
    assert {"input 25.0 %", "biases 25.0 %", "lost 50.0 %", "2 = 100 %"} <= set(words(figure).splitlines())
    check_legible(figure)


def test_what_passed_the_stop_by_is_not_said_to_have_arrived() -> None:
    ledger = _ledger(("head", 0.5, 0.0, 0.0), ("stem", 0.0, 0.0, 0.0), end=1.0)
    ledger.aside = 0.5
    said = words(flow_figure(ledger)).replace("\n", " ")
    assert "input 50.0 %" in said
    assert "25.0 % passed the stop by" in said


def test_a_share_below_zero_enters_from_above() -> None:
    figure = flow_figure(_ledger(("head", -1.0, 0.0, 0.0), ("stem", 2.0, 0.0, 0.0), end=1.0))
    assert _heights(figure, "entering") == pytest.approx([0.5])
    # Beside the half that enters; then what is left.
    assert _heights(figure, "band") == pytest.approx([1.0, 0.5])
    assert "biases −50.0 %" in words(figure)


def test_through_zero_there_are_two_bands() -> None:
    figure = flow_figure(_ledger(("head", 3.0, 0.0, 0.0), ("stem", 0.0, 0.0, 0.0), end=-1.0))
    assert len(_heights(figure, "band")) == 3
    assert "input −50.0 %" in words(figure)
    assert "what goes on is below zero" in words(figure).replace("\n", " ")


def test_layers_are_joined_to_the_columns_there_are() -> None:
    rows = [
        ("head", 0.0, 0.0, 0.0),
        *((f"body.{k}.conv", 0.1, 0.0, 0.0) for k in range(20)),
        ("stem", 0.0, 0.0, 0.0),
    ]
    figure = flow_figure(_ledger(*rows, end=0.0), stages=6)
    assert len(_heights(figure, "band")) == 6
    assert "body.0 … 4" in words(figure)
    assert sum(
        a - b for a, b in zip([1, *_heights(figure, "band")], _heights(figure, "band"), strict=False)
    ) == (pytest.approx(1.0))


def test_what_is_missing_is_said() -> None:
    figure = flow_figure(_ledger(("head", 0.5, 0.0, 0.0), end=0.5, closes=False))
    assert "does not close: 50.0 % of" in words(figure).replace("\n", " ")


def test_of_a_network() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    ledger = relprop.explain(net.eval(), torch.rand(1, 3, 8, 8), 1, "lrp-epsilon").ledger
    figure = flow_figure(ledger)
    share = 100 * ledger.end / ledger.start
    assert f"input {share:.1f} %".replace("-", "−") in words(figure)


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        (None, "got None"),
        (_ledger(end=1.0), "without any"),
        (_ledger(("a", float("nan"), 0.0, 0.0), end=1.0), "NaN or infinity"),
        (_ledger(("a", 0.0, 0.0, 0.0), end=0.0, start=0.0), "starts from 0"),
    ],
)
def test_refusals(ledger: Plain | None, said: str) -> None:
    with pytest.raises(relprop.errors.InputError, match=said):
        flow_figure(ledger)


def test_stages_are_a_number() -> None:
    with pytest.raises(relprop.errors.InputError, match="at least 1"):
        flow_figure(_ledger(("a", 0.0, 0.0, 0.0), end=2.0), stages=0)
