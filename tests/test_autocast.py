"""`torch.autocast` around a call changes nothing: the same computation, hence the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch
from tests import nets
from tests.detectors.nets.torchvision_nets import SMALL, small
from tests.metrics import make
from tests.nets import pictures, vgg, video
from torch import Tensor, nn

import relprop
from relprop.detectors import wrap
from relprop.metrics import (
    MaskingFidelity,
    Metric,
    Perturbation,
    Randomisation,
    affine_parts,
    masking_fidelity,
    perturbation_curves,
    steps,
)
from relprop.models import load
from relprop.piecewise import affine_by_layer, bias_ratio_by_depth, crossing, distance
from relprop.precision import no_autocast
from relprop.quantus import explain_func

#: Methods that can't be named without settings.
NEEDED = {"lrp": "lrp:rule=z-plus"}

#: What is said of large biases and the like is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

X = pictures(2, 3, 16, 16).float()
CLIP = pictures(1, 3, 4, 8, 8, seed=5).float()


def net() -> nn.Module:
    return vgg().float()


def numbers(found: Any) -> list[Any]:
    """Every number of a result, in a fixed order."""
    if isinstance(found, Tensor):
        return [found.dtype, found.tolist()]
    if isinstance(found, np.ndarray):
        return [found.dtype, found.tolist()]
    if isinstance(found, dict):
        return [[key, numbers(value)] for key, value in found.items()]
    if isinstance(found, (list, tuple)):
        return [numbers(value) for value in found]
    if is_dataclass(found):
        return [numbers(getattr(found, f.name)) for f in fields(found)]
    return [found] if isinstance(found, (int, float, str, type(None))) else []


def assert_same(call: Callable[[nn.Module], Any], make_model: Callable[[], nn.Module] = net) -> None:
    """A call gives the same inside of autocast, on a model that was captured there and on one captured outside."""
    right = numbers(call(make_model()))
    assert any(right)
    fresh, known = make_model(), make_model()
    call(known)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [call(fresh), call(known)]
        assert torch.is_autocast_enabled("cpu")
    assert [numbers(one) for one in found] == [right, right]
    assert numbers(call(fresh)) == right  # what was captured inside serves outside


@pytest.mark.parametrize("method", [NEEDED.get(name, name) for name in nets.METHODS])
def test_every_method(method: str) -> None:
    """This network's sums come out 4 to 8 % off under autocast."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net()(X).dtype == torch.bfloat16
    assert_same(lambda m: relprop.explain(m, X, [1, 2], method).relevance)


def own_method(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
    """A method of the user's own: a plain function."""
    return x * model(x).gather(1, targets[:, None])[..., None, None]


def by_hand(model: nn.Module) -> list[Tensor]:
    """A trace, its values (one of them computed again), a propagation and a plan."""
    run = relprop.trace(model, X)
    seed = torch.ones_like(run.output)
    composite = relprop.Composite(name="LRP-0")
    return [run.output, run.value("0"), run.value("1"), run.propagate(seed, composite)]


CALLS: dict[str, Callable[[nn.Module], Any]] = {
    "function": lambda m: relprop.explain(m, X, 1, own_method).relevance,
    "trace": by_hand,
    "inspect": lambda m: str(relprop.inspect(m, X)),
    "heatmap": lambda m: relprop.explain(m, X, 1).heatmap(),
    "affine": lambda m: relprop.affine(m, X, 1, owners=True),
    "predict": lambda m: relprop.affine(m, X, 1).predict(X + 0.1),
    "linearise": lambda m: relprop.affine(nn.Sequential(m, nn.Tanh()).eval(), X, 1, linearise=True).error,
    "by layer": lambda m: affine_by_layer(m, X, 1, ["2", "5"]),
    "by depth": lambda m: bias_ratio_by_depth(m, X, 1),
    "crossing": lambda m: crossing(m, X, torch.ones_like(X)),
    "distance": lambda m: distance(m, X[:1], 1),
    "affine parts": lambda m: affine_parts(m, X[:1], 1),
    "perturbation": lambda m: perturbation_curves(m, X[:1], X[0].sum(0), 1, steps=4),
    "masking": lambda m: masking_fidelity(m, X[:1], X[0].sum(0)),
    "quantus": lambda m: explain_func(m, X.numpy(), np.array([1, 2]), method="lrp-0"),
    "steps": lambda m: [relprop.explain(c, X, 1, "lrp-0").relevance for _, c in steps(m, X)],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_every_door(name: str) -> None:
    assert_same(CALLS[name])


@pytest.mark.parametrize("metric", [MaskingFidelity(), Perturbation(steps=4), Randomisation()], ids=repr)
def test_metrics_of_the_model(metric: Metric) -> None:
    def measured(model: nn.Module) -> dict[str, float]:
        def again(network: nn.Module) -> Tensor:
            return relprop.explain(network, X[:1], 1, "lrp-0").relevance[0].sum(0)

        heat = again(model)
        truth = {
            "model": model, "x": X[:1], "target": 1, "map": heat, "explain": again,
        }  # fmt: skip
        return metric.measure(make.masked_case(heat.numpy(), np.ones((16, 16)), **truth))

    assert_same(measured)


@pytest.mark.parametrize("mode", ["conserving", "naive", "selective"])
def test_the_split_of_a_clip(mode: Any) -> None:
    assert_same(
        lambda m: relprop.separate_motion(m, CLIP, 1, "deep-taylor", mode=mode).relevance,
        lambda: video().float(),
    )


def test_a_detector_and_a_detection() -> None:
    picture = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(3))

    def found(model: nn.Module) -> Any:
        detector = wrap(model)
        seen = detector(picture)
        e = relprop.explain_detection(detector, picture, seen[0], of=["class", "cx"])
        return [seen.boxes, seen.scores, seen.labels, e.relevance, e.outputs]

    assert_same(found, lambda: small(SMALL[0]))


def test_a_bundled_model() -> None:
    x = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(3))
    right = load("scenes-vgg").predict(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(load("scenes-vgg").predict(x), right)


def test_contexts_nest_and_end_with_an_error() -> None:
    """Autocast is as before afterwards, and works when it is entered inside."""
    a = torch.ones(2, 2)

    def fails() -> None:
        with no_autocast():
            raise KeyError

    with torch.autocast("cpu", dtype=torch.bfloat16):
        with no_autocast(), no_autocast(), torch.autocast("cpu", dtype=torch.float16):
            assert (a @ a).dtype == torch.float16
        with pytest.raises(KeyError):
            fails()
        assert (a @ a).dtype == torch.bfloat16
    assert (a @ a).dtype == torch.float32
