"""Infidelity: by hand on a linear network, and as captum has it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tests.metrics import make
from tests.refusals import assert_refused
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.metrics import Case, Infidelity

pytestmark = pytest.mark.skipif(find_spec("quantus") is None, reason="needs quantus")

WEIGHTS = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
PICTURE = torch.tensor([[[[1.0, -1.0], [2.0, 0.5]]]], dtype=torch.float64)
EFFECTS = torch.tensor([[1.0, -2.0], [6.0, 2.0]], dtype=torch.float64)  # weight times pixel


def linear() -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).double()
    net[1].weight.data = WEIGHTS
    return net.eval()


def case(heat: Tensor, target: int = 0) -> Case:
    return Case(make.sample((2, 2)), 0, heat.numpy(), map=heat, x=PICTURE, model=linear(), target=target)


def test_contributions_of_a_linear_network_are_its_effects() -> None:
    found = Infidelity(patch=1).measure(case(EFFECTS))
    assert found == pytest.approx({"infidelity": 0.0, "scaled": 0.0, "unexplained": 0.0}, abs=1e-15)
    slopes = Infidelity(patch=1, values="slopes").measure(case(WEIGHTS[0].reshape(2, 2)))
    assert slopes == pytest.approx({"infidelity": 0.0, "scaled": 0.0, "unexplained": 0.0}, abs=1e-15)


def test_by_hand() -> None:
    # A map of ones says 1 of each square; the effects are 1, -2, 6, 2: the best factor is 7/4.
    found = Infidelity(patch=1).measure(case(torch.ones(2, 2, dtype=torch.float64)))
    errors = np.array([1 - 1, 1 + 2, 1 - 6, 1 - 2])
    scaled = np.array([1.75 - 1, 1.75 + 2, 1.75 - 6, 1.75 - 2])
    assert found == pytest.approx(
        {
            "infidelity": (errors**2).mean(),
            "scaled": (scaled**2).mean(),
            "unexplained": (scaled**2).sum() / (1 + 4 + 36 + 4),
        }
    )
    # One square of everything: said 4, done 7.
    whole = Infidelity(patch=2).measure(case(torch.ones(2, 2, dtype=torch.float64)))
    assert whole == pytest.approx({"infidelity": 9.0, "scaled": 0.0, "unexplained": 0.0}, abs=1e-12)


def test_what_a_factor_can_mend() -> None:
    twice, against = (Infidelity(patch=1).measure(case(f * EFFECTS)) for f in (2.0, -1.0))
    assert twice == pytest.approx({"infidelity": 45 / 4, "scaled": 0.0, "unexplained": 0.0}, abs=1e-12)
    # A factor below 0, which the authors' code takes, mends a map that says the opposite: our share doesn't.
    assert against == pytest.approx({"infidelity": 45.0, "scaled": 0.0, "unexplained": 1.0}, abs=1e-12)
    nothing = Infidelity(patch=1).measure(case(0 * EFFECTS))
    assert nothing == pytest.approx({"infidelity": 45 / 4, "scaled": 45 / 4, "unexplained": 1.0})
    no_effect = Infidelity(patch=1).measure(case(EFFECTS, target=1))
    assert no_effect == pytest.approx({"infidelity": 45 / 4, "scaled": 0.0})


@pytest.mark.parametrize("values", ["contributions", "slopes"])
def test_as_captum_has_it(values: str) -> None:
    captum = pytest.importorskip("captum.metrics")
    whole = make.model_case(1)
    model, x, heat = whole.model, whole.x, whole.map
    assert model is not None
    assert x is not None
    assert heat is not None
    squares = [(i, j) for i in range(0, 16, 4) for j in range(0, 16, 4)]

    def without(many: Tensor) -> tuple[Tensor, Tensor]:
        covered, said = many.clone(), many if values == "slopes" else torch.ones_like(many) / 3
        taken = torch.zeros_like(many)
        for k, (i, j) in enumerate(squares):
            covered[k, :, i : i + 4, j : j + 4] = 0.0
            taken[k, :, i : i + 4, j : j + 4] = said[k, :, i : i + 4, j : j + 4]
        return taken, covered

    def theirs(normalize: bool) -> float:
        attributions = heat[None, None].expand(1, 3, 16, 16)
        return float(
            captum.infidelity(
                model, without, x, attributions, target=1, n_perturb_samples=16, normalize=normalize
            )
        )

    found = Infidelity(patch=4, values=values).measure(whole)  # type: ignore[arg-type]
    assert found["infidelity"] == pytest.approx(theirs(False), rel=1e-9)
    assert found["scaled"] == pytest.approx(theirs(True), rel=1e-9)
    assert 0 < found["unexplained"] <= 1


def test_squares_that_do_not_tile_the_picture_are_cut_at_its_borders() -> None:
    # 5 pixels in squares of 3: the margin of one goes to the far side.
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 1, bias=False)).double()
    net[1].weight.data = weights[None]
    x = torch.ones(1, 1, 1, 5, dtype=torch.float64)
    heat = torch.zeros(1, 5, dtype=torch.float64)
    found = Infidelity(patch=3).measure(Case(make.sample((1, 5)), 0, heat.numpy(), map=heat, x=x, model=net))
    effects = np.array([1 + 2 + 3, 4 + 5])
    assert found["infidelity"] == pytest.approx((effects**2).mean())
    exact = Infidelity(patch=3).measure(
        Case(make.sample((1, 5)), 0, heat.numpy(), map=weights[None], x=x, model=net)
    )
    assert exact == pytest.approx({"infidelity": 0, "scaled": 0, "unexplained": 0}, abs=1e-12)


def test_pixels_that_lose_nothing_share_nothing() -> None:
    # The middle channel is 0 already: the pixel's value goes to the other two.
    x = torch.tensor([2.0, 0.0, -1.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    slopes = Infidelity()._slopes(np.array([[6.0]]), x.numpy())
    assert slopes.ravel().tolist() == [1.5, 0.0, -3.0]


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make.model_case()
    assert_refused(
        InputError,
        (lambda: Infidelity(patch=0), r"patch .*got 0"),
        (lambda: Infidelity(values="signs"), r"values .*got 'signs'"),  # type: ignore[arg-type]
        (lambda: Infidelity().measure(Case(whole.sample, 0, whole.heat, x=whole.x)), "got model=None"),
    )
    monkeypatch.setitem(sys.modules, "quantus", None)
    monkeypatch.setattr("relprop.quantus.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"Quantus to be installed for metric 'infidelity'.*relprop\[quantus\]"
    ):
        Infidelity().measure(whole)
