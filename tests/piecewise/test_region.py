"""How far a form holds: exact just inside, wrong just outside, and the unit that ends it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests import nets as plain
from tests.close import assert_close_to_rounding
from tests.piecewise import nets
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, UnsupportedOperatorError
from relprop.piecewise import crossing, distance

NETS = nets.NETS | {"vgg": plain.vgg, "resnet": plain.resnet, "video": plain.video}


def pictures(name: str) -> Tensor:
    return plain.pictures(3, 3, 4, 8, 8) if name == "video" else plain.pictures()


def along(x: Tensor, step: Tensor, d: Tensor) -> Tensor:
    return x + step.reshape(-1, *[1] * (x.ndim - 1)) * d


def pattern(model: nn.Module, x: Tensor, node: str, i: int) -> Tensor:
    """Of a fresh run of one sample: the derivative of an operator's output by its operands, element by element."""
    run = relprop.trace(model, x[i : i + 1])
    (place,) = [n for n in run.graph.nodes if n.name == node]
    operands = [run.value(n).clone().requires_grad_() for n in place.operands() if n.dependent]
    values = iter(operands)
    with torch.enable_grad():
        y = run.evaluate(place, lambda n: next(values) if n.dependent else run.value(n))
        weights = torch.linspace(1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
        return torch.cat([g.flatten() for g in torch.autograd.grad((y * weights).sum(), operands)])


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", range(3))
def test_exact_inside_and_flipped_outside(name: str, seed: int) -> None:
    model, x = NETS[name](), pictures(name)
    d = plain.pictures(*x.shape, seed=20 + seed)
    met = crossing(model, x, d)
    assert bool((met.step > 0).all())
    assert met.step.dtype == torch.float64
    form = relprop.affine(model, x, 1)
    for part in (0.3, 0.999):
        y = along(x, part * met.step, d)
        score = model(y)[:, 1].detach()
        assert float((form.predict(y) - score).abs().max()) < 1e-12 * float(score.abs().max())
        assert_close_to_rounding(relprop.affine(model, y, 1).weight, form.weight, model)
    for i, flip in enumerate(met.flips):
        assert flip is not None
        here, inside, outside = (
            pattern(model, along(x, part * met.step, d), flip.node, i) for part in (0.0, 0.999, 1.001)
        )
        assert torch.equal(here, inside)
        assert not torch.equal(here, outside)


def test_form_fails_outside() -> None:
    """Where the unit that flips reaches the score (a leaky ReLU: every unit does)."""
    layers = [nn.Linear(6, 8), nn.LeakyReLU(0.3), nn.Linear(8, 8), nn.LeakyReLU(0.3), nn.Linear(8, 3)]
    model = plain.seeded(nn.Sequential(*layers), 3)
    x, d = plain.pictures(20, 6), plain.pictures(20, 6, seed=4)
    model.requires_grad_(False)
    met, form = crossing(model, x, d), relprop.affine(model, x, 1)
    inside, outside = (along(x, part * met.step, d) for part in (0.999, 1.01))
    off = (form.predict(outside) - model(outside)[:, 1]).abs()
    assert float((form.predict(inside) - model(inside)[:, 1]).abs().max()) < 1e-14
    assert float((off / met.step).min()) > 1e-6


def test_closed_forms() -> None:
    def at(function: object, x: list[float], d: list[float]) -> tuple[float, tuple[int, ...] | None]:
        class Net(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return function(x)  # type: ignore[operator]

        found = crossing(Net().eval(), torch.tensor([x]).double(), torch.tensor([d]).double())
        flip = found.flips[0]
        return float(found.step), None if flip is None else flip.index

    inf = float("inf")
    assert at(torch.relu, [2.0, -1.0], [-0.5, 0.5]) == (2.0, (1,))
    assert at(torch.relu, [2.0, -1.0], [0.5, -0.5]) == (inf, None)
    assert at(torch.relu, [0.0, 1.0], [1.0, 0.0]) == (0.0, (0,))  # a ReLU at 0 is off: up is out of its piece
    assert at(torch.relu, [0.0, 1.0], [-1.0, -0.5]) == (2.0, (1,))  # and down is not
    assert at(F.relu6, [5.0, 9.0], [4.0, -6.0]) == (0.25, (0,))
    assert at(F.relu6, [6.0, 7.0], [1.0, 0.0]) == (inf, None)
    assert at(lambda x: x.clamp(-1, 1), [1.0, 0.0], [1.0, 0.0]) == (0.0, (0,))  # a clamp at its bound is on
    assert at(lambda x: x.clamp(-1, 1), [1.0, 0.0], [-1.0, 0.0]) == (2.0, (0,))
    assert at(lambda x: x.clamp(max=1), [0.0, 0.0], [-1.0, 0.5]) == (2.0, (1,))
    assert at(lambda x: F.threshold(x, 0.5, 9), [0.0, 1.0], [0.25, 0.0]) == (2.0, (0,))
    assert at(torch.abs, [0.0, 3.0], [0.0, -2.0]) == (1.5, (1,))
    assert at(torch.abs, [0.0, 3.0], [-0.1, -2.0]) == (0.0, (0,))
    assert at(lambda x: torch.maximum(x[:, :1], x[:, 1:]), [1.0, 4.0], [2.0, 0.5]) == (2.0, (0,))
    assert at(lambda x: x.amax(1, keepdim=True), [1.0, 4.0], [2.0, 0.5]) == (2.0, (0,))
    assert at(lambda x: x.amax(1, keepdim=True), [4.0, 4.0], [2.0, 2.0]) == (inf, None)
    assert at(lambda x: x.max(1, keepdim=True)[0], [1.0, 4.0], [2.0, 0.5]) == (2.0, (0,))
    assert at(lambda x: x.amin(1, keepdim=True), [4.0, 1.0], [-2.0, -0.5]) == (2.0, (0,))
    assert at(lambda x: x.min(1, keepdim=True).values, [4.0, 1.0], [-2.0, 0.5]) == (1.2, (0,))
    assert at(lambda x: 3 * x - 1, [1.0, 2.0], [1.0, 1.0]) == (inf, None)


POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d(3, 2, ceil_mode=True),
    nn.MaxPool2d((2, 3), (1, 2), (1, 1), dilation=(2, 1)),
    nn.AdaptiveMaxPool2d(3),
    nn.AdaptiveMaxPool2d((2, 5)),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_pools_by_winners(pool: nn.Module) -> None:
    """The first change of any winner, by looking."""
    x, d = plain.pictures(20, 1, 8, 8), plain.pictures(20, 1, 8, 8, seed=5)
    model = nn.Sequential(pool, nn.Flatten()).double().eval()
    step = crossing(model, x, d).step

    def changed(part: float) -> list[bool]:
        pool.return_indices = True
        try:
            return (pool(along(x, part * step, d))[1] != pool(x)[1]).flatten(1).any(1).tolist()
        finally:
            pool.return_indices = False

    assert changed(0.999999) == [False] * 20
    assert changed(1.000001) == [True] * 20


def test_equals_in_a_window() -> None:
    model = nn.Sequential(nn.MaxPool1d(3), nn.Flatten()).eval()
    x = torch.tensor([[[2.0, 2.0, 1.0]]])
    assert crossing(model, x, torch.tensor([0.0, 1.0, 0.0])).step.tolist() == [
        0.0
    ]  # overtakes the first at once
    assert crossing(model, x, torch.tensor([1.0, 0.5, 2.0])).step.tolist() == [1.0]
    assert crossing(model, x, torch.tensor([1.0, 1.0, 1.0])).step.tolist() == [float("inf")]


def test_from_a_layer_on() -> None:
    model, x = plain.vgg(), plain.pictures()
    form = relprop.affine(model, x, 1, "4")
    d = plain.pictures(*form.value.shape, seed=6)
    met = crossing(model, x, d, at="4")
    y = along(form.value, 0.999 * met.step, d)
    score = model[5:](y)[:, 1].detach()
    assert float((form.predict(y) - score).abs().max()) < 1e-13
    alone = crossing(model[5:], form.value, d)
    assert torch.allclose(met.step, alone.step, rtol=1e-12)


def test_rows_of_a_batch_are_single_runs() -> None:
    model, x, d = plain.resnet(), plain.pictures(), plain.pictures(seed=7)
    met = crossing(model, x, d)
    for i in range(3):
        one = crossing(model, x[i : i + 1], d[i : i + 1])
        assert float(one.step) == pytest.approx(float(met.step[i]), rel=1e-9)
        assert one.flips == met.flips[i : i + 1]
    twice = crossing(model, x, 2 * d)
    assert torch.allclose(2 * twice.step, met.step, rtol=1e-9)


def test_distance_is_the_nearest_that_was_met() -> None:
    model, x = plain.vgg(), plain.pictures()
    found = distance(model, x, 1, samples=4)
    assert torch.allclose(found.direction.flatten(1).norm(dim=1), torch.ones(3).double())
    again = crossing(model, x, found.direction)
    assert torch.allclose(again.step, found.distance, rtol=1e-12)
    assert again.flips == found.flips
    gradient = relprop.affine(model, x, 1).weight
    gradient /= gradient.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    for d in (gradient, -gradient):
        assert bool((crossing(model, x, d).step >= found.distance).all())
    assert bool((distance(model, x, 1, samples=12).distance <= found.distance).all())
    assert not torch.equal(distance(model, x, 1, samples=4, seed=1).distance, found.distance)
    state = torch.get_rng_state()
    distance(model, x, [0, 1], samples=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_border() -> None:
    model, x = plain.seeded(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), 1), plain.pictures(2, 3, 2, 2)
    found = distance(model, x, samples=2)
    assert found.distance.tolist() == [float("inf")] * 2
    assert found.flips == (None, None)


def test_refusals() -> None:
    model, x = plain.vgg(), plain.pictures()
    assert_refused(
        InputError,
        (lambda: crossing(model, x, torch.ones(5)), r"direction .*got \(5,\)"),
        (lambda: crossing(model, x, x * float("nan")), "finite direction"),
        (lambda: distance(model, x, samples=0), "Expected samples"),
    )
    gelu = nn.Sequential(nn.Flatten(), nn.GELU(), nn.Linear(768, 2)).double().eval()
    for call in (lambda: crossing(gelu, x, x), lambda: distance(gelu, x)):
        with pytest.raises(UnsupportedOperatorError, match="operator 'gelu'"):
            call()
