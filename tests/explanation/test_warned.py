"""Warnings: what a result says of itself, in Python, in its folder and in its picture."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from tests.nets import pictures, vgg
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, RelpropWarning
from relprop.explanation.sheet import contact_sheet, ledger_note
from relprop.explanation.warned import verdict, warnings_about
from relprop.propagate.ledger import Ledger, Totals
from relprop.rules import Rule
from relprop.tracing.flow import Flow


def told(function: object, *args: object, **kwargs: object) -> tuple[object, list[str]]:
    """What a call returns, and the RelpropWarnings that it raises."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = function(*args, **kwargs)  # type: ignore[operator]
    assert all(w.filename == __file__ for w in caught), "warnings point at the caller"
    return found, [str(w.message) for w in caught if issubclass(w.category, RelpropWarning)]


def words(figure: object) -> str:
    # Lines of the caption are texts of their own.
    return " ".join(t.get_text() for t in figure.texts).replace("\n", " ")  # type: ignore[attr-defined]


def line(*weights: float, bias: float = 0.0) -> nn.Linear:
    model = nn.Linear(len(weights), 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([weights]))
        model.bias.fill_(bias)
    return model.eval()


def test_none() -> None:
    e, said = told(relprop.explain, line(2.0, -1.0), torch.tensor([[3.0, 2.0]]), 0, "lrp-0")
    assert e.warnings == ()
    assert said == []
    assert "WARNING" not in repr(e)


class Swallows(Rule):
    """Passes some of the relevance on, and doesn't say where the rest went."""

    kinds = frozenset({"linear"})

    def cross(self, site: object, flow: Flow) -> list[Flow]:
        weight = site.linear.weight  # type: ignore[attr-defined]
        return [Flow([0.25 * p @ weight for p in flow.parts], False)]


def test_open_ledger() -> None:
    composite = relprop.Composite([("linear", Swallows())], name="half")
    method = relprop.LRP(composite=composite)
    e, said = told(relprop.explain, line(1.0, 1.0), torch.tensor([[3.0, 2.0]]), 0, method)
    assert not e.ledger.closes
    assert len(said) == 1
    assert said[0].startswith("The ledger does not close")
    assert "most at linear" in said[0]
    assert verdict(e.ledger, e.relevance, e.targets) == "NO"


def test_all_zero_and_negative() -> None:
    """Deep Taylor of a negative score: a map of zeros, whose ledger closes; both are said, once a call."""
    model, x = vgg(), pictures()
    scores = model(x).detach()
    k = int(scores[0].argmin())
    assert float(scores[0, k]) < 0
    e, said = told(relprop.explain, model, x[:1], k, "deep-taylor")
    assert e.ledger.closes
    assert not bool(e.relevance.any())
    assert len(said) == 1
    assert said[0] == " ".join(e.warnings)
    assert "zero everywhere" in e.warnings[0]
    assert f"The explained output is {float(scores[0, k]):.3g}".replace("-", "−") in e.warnings[1]
    assert "lrp-epsilon" in e.warnings[1]
    assert verdict(e.ledger, e.relevance, e.targets) == "all zero"
    assert ledger_note(e) == "nothing to add up"
    assert "adds up" not in words(e.show())
    assert "⚠" in words(e.show())
    assert "deep-taylor explains positive outputs only" in words(e.show())
    assert "WARNING: The map of deep-taylor is zero everywhere" in repr(e)


def test_batch() -> None:
    """Of several samples and targets the first is named, and how many there are."""
    model, x = vgg(), pictures()
    scores = model(x).detach()
    zero = scores.T <= 0
    assert 0 < int(zero.sum()) < zero.numel()
    e, said = told(relprop.explain, model, x, list(range(5)), "deep-taylor")
    assert verdict(e.ledger, e.relevance, e.targets) == f"yes, {int(zero.sum())} all zero"
    assert f"{int(zero.sum())}\u00a0all\u00a0zero" in ledger_note(e)
    k, n = zero.nonzero()[0].tolist()
    assert len(said) == 1
    assert (
        f"{int(zero.sum())} of 15 maps of deep-taylor (the first: target {k}, sample {n}) are zero" in said[0]
    )
    # Rows say of themselves what the batch says of them.
    alone = [
        bool(relprop.explain(model, x[n : n + 1], k, "deep-taylor").warnings)
        for k in range(5)
        for n in range(3)
    ]
    assert alone == zero.flatten().tolist()


def test_started_from_one() -> None:
    """From 1 the map isn't zero: it shows what speaks for a class that the network speaks against."""
    e, said = told(relprop.explain, line(2.0, -3.0), torch.ones(1, 2), 0, "deep-taylor:seed=one,bounds=None")
    assert e.relevance.tolist() == [[1.0, 0.0]]
    assert len(e.warnings) == len(said) == 1
    assert "explains positive outputs only" in said[0]


def test_turned_over() -> None:
    """z+ alone hands a negative score to what speaks for it."""
    e, _ = told(relprop.explain, line(2.0, -3.0), torch.ones(1, 2), 0, "lrp:rule=z-plus")
    assert e.relevance.tolist() == [[-1.0, 0.0]]
    assert "turned over" in e.warnings[0]
    assert relprop.explain(line(3.0, -2.0), torch.ones(1, 2), 0, "lrp:rule=z-plus").warnings == ()


def test_growth() -> None:
    """101 - 100 = 1: the parts are 201 times the score."""
    model = line(101.0, -100.0)
    _, said = told(relprop.explain, model, torch.ones(1, 2), 0, "lrp-0")
    (text,) = said
    assert text.startswith("The sum of |relevance| grows to 201 times the start's: small differences")
    assert relprop.explain(line(50.0, -49.0), torch.ones(1, 2), 0, "lrp-0").warnings == ()
    rows = relprop.explain(model, torch.tensor([[1.0, 0.0], [1.0, 1.0]]), 0, "lrp-0")
    assert "in 1 of 2 maps (the most: target 0, sample 1)" in rows.warnings[0]


def test_bias_took_it() -> None:
    """That is exact, and no fault of the map: a note, not a warning."""
    e, said = told(relprop.explain, line(1.0, 0.0, bias=19.0), torch.ones(1, 2), 0, "lrp-0")
    assert said == []
    assert e.notes == (
        "Biases, which belong to no pixel, hold 95 % of the start; the map's values add up to the rest of it.",
    )
    against = relprop.explain(line(20.0, 0.0, bias=-10.0), torch.ones(1, 2), 0, "lrp-0")
    assert "hold −100 % of the start" in against.notes[0]
    assert relprop.explain(line(1.0, 0.0, bias=8.0), torch.ones(1, 2), 0, "lrp-0").notes == ()


def test_lost() -> None:
    """A unit that is active through its bias alone has no input to hand its relevance to."""
    model = nn.Sequential(line(-1.0, -1.0, bias=5.0), nn.ReLU(), line(1.0)).eval()
    e, said = told(relprop.explain, model, torch.ones(1, 2), 0, "lrp:rule=z-plus")
    assert e.ledger.lost == e.ledger.start
    assert "100 % of the start was lost" in said[0]
    assert "zero everywhere" in said[0]


def test_lost_more_than_a_contrast() -> None:
    """3 − 2 = 1: the 3 is of a unit that is active through its bias alone, and is lost."""
    first, last = nn.Linear(2, 2), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 0.0]]))
        first.bias.copy_(torch.tensor([5.0, 0.0]))
        last.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    model = nn.Sequential(first, nn.ReLU(), last).eval()
    e, _ = told(relprop.explain, model, torch.ones(1, 2), 0, "lrp:rule=z-plus", versus=1)
    (text,) = (w for w in e.warnings if "lost" in w)
    assert text.startswith("3 times the difference that is explained, in which what speaks for and against")
    assert "%" not in text


def test_stabiliser() -> None:
    e, _ = told(relprop.explain, line(1.0), torch.ones(1, 1), 0, "lrp-epsilon:epsilon=99.0")
    assert "99 % of the start was taken by the stabiliser" in e.warnings[0]


def test_underflow() -> None:
    """200 layers in which biases take a part each: nothing arrives, the ledger closes, and it is said."""
    torch.manual_seed(0)
    layers = [m for _ in range(200) for m in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())]
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), *layers, nn.Flatten(), nn.Linear(64, 3)).eval()
    e, said = told(relprop.explain, model, torch.randn(1, 1, 4, 4), 0, "lrp-gamma")
    assert e.ledger.closes
    assert not bool(e.relevance.any())
    assert len(said) == 1
    assert "zero everywhere" in said[0]
    assert "Biases" in e.notes[0]


def test_not_finite_is_an_error() -> None:
    with pytest.raises(InputError, match="finite"):
        relprop.explain(line(1.0, 1.0), torch.full((1, 2), 3e38), 0, "lrp-0")


def test_excitation_says_it_too() -> None:
    """What a method finds out itself stands beside the rest."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 2)).eval()
    e, said = told(
        relprop.explain, model, torch.randn(1, 1, 6, 6), 0, relprop.ExcitationBackprop(released=True)
    )
    assert len(said) == 1
    assert "as released assumes inputs >= 0" in e.warnings[0]


@pytest.mark.parametrize("method", ["clrp", "crp"])
def test_differences(method: str) -> None:
    """The map of a contrast sums to 0: its ledger is that of the two sides, and is called so."""
    e = relprop.explain(vgg(), pictures()[:1], 0, method)
    assert abs(float(e.relevance.sum())) < 1e-9 * float(e.relevance.abs().sum())
    assert ledger_note(e).startswith("adds up before the contrast: ")
    assert ledger_note(relprop.explain(vgg(), pictures()[:1], 0, "lrp-0")).startswith("adds up: ")


def test_saved(tmp_path: Path) -> None:
    e = relprop.explain(line(2.0, -3.0), torch.ones(1, 2), 0, "deep-taylor")
    again = relprop.Explanation.load(e.save(tmp_path / "e"))
    assert again.warnings == e.warnings != ()
    assert again.notes == e.notes
    assert copy.deepcopy(e).warnings == e.warnings


def test_sheet() -> None:
    """Each warning once, with the map it belongs to."""
    model, x = vgg(), pictures()[:1]
    k = int(model(x).argmin())
    several = [relprop.explain(model, x, k, m) for m in ("deep-taylor", "lrp-epsilon")]
    assert several[1].warnings == ()
    said = words(contact_sheet(several))
    assert said.count("⚠ see the warning below") == 1
    assert said.count("⚠ deep-taylor: ") == len(several[0].warnings)


def test_several_kinds_together() -> None:
    """Every kind is derived in one place, from numbers alone."""
    ledger = Ledger(lambda: Totals((), 1.0, 0.0, 1.0, 0.0), 1e-6)
    found = warnings_about(
        "x", torch.zeros(1, 1, 3), torch.zeros(1, 1, dtype=torch.int64), ledger, Tensor([[-1.0]]), "No."
    )
    assert [text.split(" ")[1] for text in found] == ["ledger", "map", "explained"]
