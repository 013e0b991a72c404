"""Progress bars: on a terminal rich's, in a notebook tqdm's, elsewhere none; functions are told as they ask."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.kernel import kinds, run_cells
from torch import nn

import relprop
from relprop import bar, benchmark, reports
from relprop.bar import draws_bar, progress_bar
from relprop.benchmark.recipe import recipe_from
from relprop.datasets import demo_image_path
from relprop.errors import InputError, RelpropWarning
from relprop.piecewise.depth import bias_ratio_by_depth

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net(inputs: int = 3 * 8 * 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 4), nn.ReLU(), nn.Linear(4, 3)).eval()


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "in_notebook", lambda: True)


def of_clips() -> Any:
    return relprop.separate_motion(
        net(3 * 4 * 8 * 8), torch.rand(2, 3, 4, 8, 8), 0, "gradient-x-input", progress=True
    )


def of_a_detection() -> Any:
    detector = relprop.detectors.load("scenes-ssd")
    ball = detector(demo_image_path())[0]
    return relprop.explain_detection(
        detector, demo_image_path(), ball, method="d-rise:masks=24", progress=True
    )


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "explain": (lambda: relprop.explain(net(), X, method="smoothgrad:samples=20", progress=True), "/20 ["),
    "methods": (lambda: relprop.explain(net(), X, method=["lrp-0", "gradient"], progress=True), "/2 ["),
    "many": (lambda: list(relprop.explain_many(net(), X, progress=True)), " pictures/s"),
    "separate_motion": (of_clips, "/8 [00:00<?, ? frames/s]"),
    "explain_detection": (of_a_detection, "/24 ["),
    "depth": (lambda: bias_ratio_by_depth(net(), X, progress=True), "/2 [00:00<?, ? inputs/s]"),
    "report": (lambda: reports.picture(net(), X[:1], method=["lrp-0", "gradient"], progress=True), "/2 ["),
}


@pytest.mark.usefixtures("notebook")
@pytest.mark.parametrize("call", CALLS)
def test_a_notebook_gets_a_bar_that_goes_away(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, counted = CALLS[call]
    make()
    shown = capsys.readouterr().err
    assert counted in shown
    assert re.search(r"\r +\r$", shown)  # nothing of it is left on the line


@pytest.mark.usefixtures("notebook")
def test_a_benchmark_has_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_from(
        {
            "name": "two", "data": {"name": "scenes", "n": 2, "split": "test", "seed": 3},
            "model": {"spec": "scenes-vgg", "geometry": "squash"},
            "methods": ["gradient"], "metrics": [{"name": "energy", "region": "masks"}],
        }
    )  # fmt: skip
    done = benchmark.run(recipe, tmp_path / "a.sqlite", workers=1, progress=True)
    assert done.computed == 2
    assert "/2 [00:00<?, ? pictures/s]" in capsys.readouterr().err


@pytest.mark.parametrize("call", ["explain", "report"])
def test_no_bar_in_a_file_or_a_log(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    CALLS[call][0]()
    assert capsys.readouterr().err == ""


def test_what_a_function_is_told() -> None:
    told: list[tuple[float, int]] = []
    methods = ["gradient", "smoothgrad:samples=32", "lrp-0"]
    relprop.explain(net(), X, method=methods, progress=lambda *step: told.append(step))
    assert told == [(1, 3), (1.25, 3), (1.5, 3), (1.75, 3), (2.0, 3), (2, 3), (3, 3)]
    told.clear()
    relprop.explain(net(), X, method=methods[1], progress=lambda *step: told.append(step))
    assert told == [(8, 32), (16, 32), (24, 32), (32, 32)]


def test_true_false_none_or_a_function() -> None:
    @draws_bar("things")
    def given(*, progress: Any = None) -> Any:
        return progress

    assert given() is given(progress=None) is given(progress=False) is None
    assert given(progress=True) is None  # here is neither a terminal nor a notebook
    assert given(progress=print) is print
    for wrong in (3, "yes"):
        with pytest.raises(InputError, match=f"a function, or True for a bar, but got {wrong!r}"):
            given(progress=wrong)


@pytest.mark.usefixtures("notebook")
class TestNotebook:
    def test_widgets_where_they_can_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tqdm import std
        from tqdm.auto import tqdm

        monkeypatch.setattr(bar, "find_spec", lambda name: name if name == "tqdm" else None)
        assert bar._tqdm() is std.tqdm  # none here: tqdm.auto would warn of it
        monkeypatch.setattr(bar, "find_spec", lambda name: name)
        assert bar._tqdm() is tqdm

    def test_without_tqdm_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bar, "find_spec", lambda name: None)
        with pytest.warns(RelpropWarning, match="pip install tqdm"), progress_bar() as shows:
            assert shows is None

    def test_another_total_and_parts(self, capsys: pytest.CaptureFixture[str]) -> None:
        with progress_bar() as shows:
            assert shows is not None
            shows(0.1 + 0.2, 2, "a picture")
            shows(1, 40)
            shows(2, 0)  # nobody knows
        shown = capsys.readouterr().err
        assert "/2 [" in shown
        assert "0000" not in shown


@pytest.mark.filterwarnings("ignore")  # of the kernel's client
def test_in_a_kernel_without_widgets_no_advice_is_printed() -> None:
    made = "import torch, relprop\nx = torch.rand(1, 3, 8, 8)\n"
    made += "net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3)).eval()"
    ask = "_ = relprop.explain(net, x, method='smoothgrad:samples=64', progress=True)"
    _, bare, quiet = run_cells(made, ask, ask.replace(", progress=True", ""))
    text = "".join(output.text for output in bare)
    assert {kind for (kind,) in kinds(bare)} == {"stderr"}
    assert "/64 [" in text
    assert "arning" not in text
    assert quiet == []


def test_a_terminal_gets_richs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress_bar("things") as shows:
        assert shows is not None
        shows(1, 2, "the first")
    assert "the first" in capsys.readouterr().err
