"""Perturbation: curves step by step, areas, fills."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from tests.metrics import make
from tests.refusals import assert_refused
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.metrics import Perturbation, perturbation_curves
from relprop.metrics.perturbation import area, blurred

X = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
HEAT = torch.randn(16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_hand(
    model: nn.Module, heat: Tensor, cover: Tensor, delete: bool, steps: int, x: Tensor = X, target: int = 2
) -> list[float]:
    order = sorted(range(256), key=lambda i: (-float(heat.flatten()[i]), i))
    curve = []
    for k in range(steps + 1):
        chosen = torch.zeros(256, dtype=torch.bool)
        chosen[order[: round(k * 256 / steps)]] = True
        chosen = chosen.reshape(16, 16)
        picture = torch.where(chosen ^ delete, x, cover)
        with torch.no_grad():
            curve.append(float(model(picture).softmax(1)[0, target]))
    return curve


@pytest.mark.parametrize("steps", [1, 7, 20])
@pytest.mark.parametrize("chunk", [1, 16])
def test_curves_by_hand(steps: int, chunk: int) -> None:
    model = make.net()
    curves = perturbation_curves(model, X, HEAT, 2, steps=steps, chunk=chunk)
    assert np.allclose(
        curves.deletion, by_hand(model, HEAT, torch.zeros_like(X), True, steps), atol=1e-13, rtol=0
    )
    assert np.allclose(curves.insertion, by_hand(model, HEAT, blurred(X), False, steps), atol=1e-13, rtol=0)


def test_ends_meet() -> None:
    # Nothing deleted is the picture, everything inserted too; with one fill the other ends are equal as well.
    curves = perturbation_curves(make.net(), X, HEAT, 0, steps=5, deletion="blur", insertion="blur", chunk=1)
    assert curves.deletion[0] == curves.insertion[-1]
    assert curves.deletion[-1] == curves.insertion[0]


def test_ties_go_by_index() -> None:
    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            self.seen = x
            return x.flatten(1)[:, :2]

    spy = Spy()
    x = torch.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    perturbation_curves(spy, x, [[0.0, 0.0], [0.0, 0.0]], 0, steps=4, insertion="mean")
    assert spy.seen.flatten(1).tolist() == [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 2, 0, 0],
        [1, 2, 3, 0],
        [1, 2, 3, 4],
    ]


def test_multi_label_reads_a_sigmoid() -> None:
    model = make.net()
    with torch.no_grad():
        expected = float(model(X).sigmoid()[0, 1])
    curves = perturbation_curves(model, X, HEAT, 1, steps=2, multi_label=True, chunk=1)
    assert curves.deletion[0] == expected


def test_area() -> None:
    assert area([0.0, 1.0]) == 0.5
    assert area([1.0, 0.0, 0.0, 0.0, 0.0]) == 0.125
    assert area(np.full(21, 0.7)) == pytest.approx(0.7, abs=1e-15)
    curve = np.random.default_rng(0).random(11)
    assert area(curve) == pytest.approx(np.trapezoid(curve, dx=0.1), abs=1e-15)


def test_blur_is_a_gaussian_with_repeated_edges() -> None:
    at = np.arange(11) - 5
    weights = np.exp(-(at**2) / 50)
    weights /= weights.sum()
    expected = X.numpy()
    for axis in (2, 3):
        expected = correlate1d(expected, weights, axis=axis, mode="nearest")
    assert np.allclose(blurred(X).numpy(), expected, atol=1e-14, rtol=0)
    assert blurred(X[..., :1, :2]).shape == (1, 3, 1, 2)  # smaller than the kernel


def test_class_reports_areas_and_points_on_request() -> None:
    case = make.model_case()
    curves = perturbation_curves(case.model, case.x, case.map, case.target)
    one, two = area(curves.deletion), area(curves.insertion)
    assert Perturbation().measure(case) == {"deletion": one, "insertion": two, "difference": two - one}
    found = Perturbation(curves=True).measure(case)
    keys = [f"{key}@{k:02}" for key in ("deletion", "insertion") for k in range(21)]
    assert list(found) == ["deletion", "insertion", "difference", *keys]
    assert found["insertion@07"] == curves.insertion[7]
    assert [o.better for o in Perturbation().reported()] == ["lower", "higher", "higher"]


def test_both_curves_under_both_fills() -> None:
    case = make.model_case()
    assert case.map is not None
    metric = Perturbation(steps=4, fills=("mean", "blur"), curves=True)
    found = metric.measure(case)
    model, x = make.net(), case.x
    assert x is not None
    for fill, cover in (("mean", torch.zeros_like(x)), ("blur", blurred(x))):
        areas = {}
        for kind in ("deletion", "insertion"):
            curve = by_hand(model, case.map, cover, kind == "deletion", 4, x, case.target)
            assert [found[f"{kind}-{fill}@{k}"] for k in range(5)] == pytest.approx(curve, abs=1e-13)
            areas[kind] = found[f"{kind}-{fill}"]
            assert areas[kind] == pytest.approx(area(curve), abs=1e-13)
        assert found[f"difference-{fill}"] == areas["insertion"] - areas["deletion"]
    assert (found["deletion"], found["insertion"]) == (found["deletion-mean"], found["insertion-blur"])
    assert found["deletion-mean"] != found["deletion-blur"]
    assert {o.key for o in metric.reported()} == {k for k in found if "@" not in k}
    # What is under its own fill already is left to the files.
    assert [o.key for o in metric.reported() if o.detail] == ["deletion", "insertion", "difference"]
    assert not any(o.detail for o in Perturbation(fills=("blur",)).reported())
    keys = [o.key for o in Perturbation(fills=("blur",)).reported()]
    assert keys[3:] == ["deletion-blur", "insertion-blur", "difference-blur"]


def test_a_curve_is_drawn_once() -> None:
    runs = []
    model = make.net()
    model.register_forward_hook(lambda _, inputs, __: runs.append(len(inputs[0])))
    case = make.model_case(model=model)
    for settings, pictures in (({}, 42), ({"fills": ("mean", "blur")}, 84), ({"fills": ("blur",)}, 63)):
        runs.clear()
        Perturbation(**settings).measure(case)
        assert sum(runs) == pictures


def test_refusals() -> None:
    assert_refused(
        InputError,
        (lambda: perturbation_curves(make.net(), X, HEAT, 6), r"target .*5 but got 6"),
        (lambda: Perturbation(steps=0), r"steps .*got 0"),
        (lambda: Perturbation(insertion="black"), r"insertion .*got 'black'"),
        (lambda: Perturbation(fills=("black",)), r"fills .*got 'black'"),
        (lambda: Perturbation(fills="mean"), "fills to be a list of fills but got 'mean'"),
        (lambda: perturbation_curves(make.net(), X, [[np.nan]], 0), "1 of 1 values"),
    )
    case = make.model_case()
    with pytest.raises(InputError, match="'perturbation' but got x=None"):
        Perturbation().measure(make.Case(case.sample, 0, case.heat, model=case.model))
