"""Weights kept in oneDNN's layout: the same numbers from the second explanation on, of the weights as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from tests.propagate.test_channels import mixed, pictures, resnet, vgg
from torch import Tensor, nn

import relprop
from relprop.graph import WeightCache
from relprop.propagate import walk
from relprop.tracing import channels, packed
from relprop.tracing.channels import fingerprint_of
from relprop.tracing.geometry import ConvGeometry
from relprop.tracing.packed import Packed
from relprop.tracing.phases import back_in_phases, has_phases

METHODS = (
    "lrp-epsilon",
    "lrp:rule=z-plus",
    "lrp-alpha-beta",
    "lrp-gamma",
    "gradient",
    "excitation-backprop",
    "rap",
)

needs_packing = pytest.mark.skipif(not packed.packs(), reason="this PyTorch can't pack weights")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are packed from the second use on."""
    monkeypatch.setattr(channels, "USES", 1)


def packed_in(model: nn.Module, x: Tensor) -> int:
    """How many packed weights are kept for a model."""
    return len(packed_for_what(model, x))


def packed_for_what(model: nn.Module, x: Tensor) -> list[tuple[torch.Size, int]]:
    """The shape and the number of threads that each packed weight is for."""
    found = []
    for entry, _ in relprop.trace(model, x).graph.weights._held.values():
        held = entry if isinstance(entry, tuple) else getattr(entry, "part", None)
        if isinstance(held, tuple) and isinstance(held[-1], Packed):
            found.append(held[-2])
    return found


def differs(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().amax() / other.abs().amax())


@needs_packing
@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("net", [vgg, resnet, mixed])
def test_the_second_explanation_says_the_same_as_the_first(net: Callable[[], nn.Module], method: str) -> None:
    model, x = net(), pictures(2)
    first, *others = (relprop.explain(model, x, [1, 0], method) for _ in range(3))
    assert packed_in(model, x) > 0  # how many depends on the processor, and on the number of threads
    for e in others:
        assert differs(e.relevance, first.relevance) < 1e-4
        assert e.ledger is None or e.ledger.closes


@needs_packing
def test_inputs_of_changing_shape_are_not_packed_for() -> None:
    model = resnet()
    for n in (1, 2, 1, 2, 1):
        relprop.explain(model, pictures(n), 0, "lrp-epsilon")
    assert packed_in(model, pictures(2)) == 0
    single = relprop.explain(resnet(), pictures(1), [0, 1], "lrp:rule=z-plus").relevance
    for _ in range(2):
        relprop.explain(model, pictures(2), 0, "lrp:rule=z-plus")
    assert packed_in(model, pictures(2)) > 0
    assert differs(relprop.explain(model, pictures(1), [0, 1], "lrp:rule=z-plus").relevance, single) < 1e-5


@needs_packing
def test_another_number_of_threads_has_weights_packed_anew() -> None:
    # oneDNN lays them otherwise; those for two threads took one thread twice as long.
    model, x, threads = resnet(), pictures(2), torch.get_num_threads()
    try:
        for n in (2, 1, 2):
            torch.set_num_threads(n)
            for _ in range(3):
                relprop.explain(model, x, 0, "lrp-epsilon")
            packs = packed_for_what(model, x)
            assert all(used == n for _, used in packs)
        assert packs
    finally:
        torch.set_num_threads(threads)


@needs_packing
def test_a_few_explanations_pack_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "USES", 6)
    model, x = resnet(), pictures(2)
    for _ in range(3):
        relprop.explain(model, x, 0, "lrp-epsilon")
    assert packed_in(model, x) == 0  # which runs the model, too
    for _ in range(3):
        relprop.explain(model, x, 0, "lrp-epsilon")
    assert packed_in(model, x) > 0


@needs_packing
def test_many_targets_of_one_picture_are_uses_of_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "USES", 4)
    monkeypatch.setattr(walk, "_CACHED", 0)  # targets one by one, as on large maps
    wanted = [relprop.explain(resnet(), pictures(2), k % 3, "lrp-epsilon").relevance for k in range(7)]
    model = resnet()
    found = relprop.explain(model, pictures(2), [k % 3 for k in range(7)], "lrp-epsilon").relevance
    assert packed_in(model, pictures(2)) > 0
    assert all(differs(one, other) < 1e-5 for one, other in zip(found, wanted, strict=True))


@needs_packing
def test_one_explanation_packs_nothing() -> None:
    model, x = resnet(), pictures(2)
    relprop.explain(model, x, 0, "lrp-epsilon")
    graph = relprop.graph.capture(model, x)
    assert not any(isinstance(e, tuple) for e, _ in graph.weights._held.values())


def scaled(model: nn.Module) -> None:
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)


def written(model: nn.Module) -> None:
    for p in model.parameters():
        p.data[0] *= -1


def loaded(model: nn.Module) -> None:
    torch.manual_seed(5)
    model.load_state_dict(
        {k: v + 0.1 * torch.rand_like(v) for k, v in model.state_dict().items() if v.ndim}, strict=False
    )


def replaced(model: nn.Module) -> None:
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            m.weight = nn.Parameter(m.weight.detach() * 0.5 + 0.01)


def counted(model: nn.Module) -> None:
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            assert m.running_mean is not None
            assert m.running_var is not None
            m.running_mean.data += 0.3
            m.running_var.data *= 4


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "shape", [(80, 40, 3, 3), (80, 40, 1, 1), (16, 40, 3, 3), (96, 1, 5, 5), (70, 3, 7, 7)]
)
def test_writes_through_data_are_seen(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    weight = torch.randn(*shape).contiguous(memory_format=layout)
    changes: dict[str, Tensor] = {
        "kernels mirrored": weight.flip(-1),
        "some kernels mirrored": torch.cat([weight[:, :20], weight[:, 20:].flip(-1)], 1),
        "channels in another order": weight.roll(1, 1),
        "the last channels in another order": torch.cat([weight[:, :-2], weight[:, -2:].flip(1)], 1),
        "units in another order": weight.roll(1, 0),
        "one number": weight + torch.zeros(shape).index_put((torch.tensor([-1]),) * 4, torch.tensor(0.01)),
        "signs": -weight,
    }
    for what, changed in changes.items():
        kept = weight.clone()
        before = fingerprint_of(kept)
        version = kept._version
        kept.data.copy_(changed)
        same = torch.equal(changed, weight)  # kernels of one pixel mirrored, one channel in another order
        assert all(map(torch.equal, before, fingerprint_of(kept))) == same, what
        assert kept._version == version


@needs_packing
@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize("change", [scaled, written, loaded, replaced, counted])
@pytest.mark.parametrize("method", ["lrp-epsilon", "lrp-alpha-beta", "lrp-gamma"])
def test_weights_that_changed_are_packed_anew(change: Callable[[nn.Module], None], method: str) -> None:
    model, x = resnet(), pictures(2)
    for _ in range(3):
        before = relprop.explain(model, x, 1, method)
    change(model)
    found = [relprop.explain(model, x, 1, method).relevance for _ in range(3)]
    relprop.clear_cache()
    fresh = relprop.explain(model, x, 1, method).relevance
    assert differs(before.relevance, fresh) > 1e-3
    assert all(differs(r, fresh) < 1e-5 for r in found)


@needs_packing
@pytest.mark.parametrize("most", [0, 3000, 9000])
def test_what_does_not_fit_is_computed_as_usual(most: int) -> None:
    model, x = resnet(), pictures(2)
    with patch.object(channels, "CACHE_BYTES", most), patch.object(packed, "CACHE_BYTES", most):
        found = [relprop.explain(model, x, 1, "lrp:rule=z-plus").relevance for _ in range(3)]
        kept = relprop.trace(model, x).graph.weights
        assert all(differs(r, found[0]) < 1e-5 for r in found)
        assert sum(size for e, size in kept._held.values() if isinstance(e, tuple)) <= most


def test_without_the_operators_convolutions_run_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_convolution_pointwise'")

    monkeypatch.setattr(Packed, "forward", gone)
    packed.packs.cache_clear()
    try:
        assert not packed.packs()
        model, x = resnet(), pictures(2)
        found = [relprop.explain(model, x, 1, "lrp-epsilon") for _ in range(3)]
        assert all(e.ledger is not None and e.ledger.closes for e in found)
        assert packed_in(model, x) == 0
    finally:
        packed.packs.cache_clear()


def test_operators_that_give_something_else_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Packed.backward
    monkeypatch.setattr(Packed, "backward", lambda self, *a: right(self, *a) * 1.01)
    packed.packs.cache_clear()
    try:
        assert not packed.packs()
    finally:
        packed.packs.cache_clear()


@needs_packing
def test_under_a_memory_limit_nothing_is_packed() -> None:
    model, x = resnet(), pictures(2)
    with relprop.memory_limit("low"):
        for _ in range(3):
            relprop.explain(model, x, 1, "lrp:rule=z-plus")
        assert packed_in(model, x) == 0


@needs_packing
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 0, 1), (2, 2, 2), (3, 1, 1)])
def test_both_ways_of_a_packed_convolution(groups: int, stride: int, padding: int, dilation: int) -> None:
    x = torch.randn(2, 6, 41, 38).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(12, 6 // groups, 3, 3)
    y = torch.conv2d(x, weight, None, stride, padding, dilation, groups)
    grad = torch.randn_like(y)
    (back,) = torch.autograd.grad(y, x, grad)
    geometry = ConvGeometry((stride,) * 2, (padding,) * 2, (dilation,) * 2, False, (0, 0), groups)
    with torch.no_grad():
        assert differs(Packed(weight, geometry, x, back=False).forward(x), y) < 1e-5
        assert differs(Packed(weight, geometry, x, back=True).backward(grad, x.shape[2:]), back) < 1e-5
        more = torch.cat([x, x[:1]])[..., :30]  # of another size than it was packed for
        wanted = torch.conv2d(more, weight, None, stride, padding, dilation, groups)
        assert differs(Packed(weight, geometry, x, back=False).forward(more), wanted) < 1e-5


@pytest.mark.parametrize("side", [17, 24, 31])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(7, 2, 3), (11, 4, 2), (4, 4, 0), (5, 3, 1), (6, 2, 0), (4, 2, 3), (5, 5, 4)],
)
def test_phases_are_the_transposed_convolution(kernel: int, stride: int, padding: int, side: int) -> None:
    x = torch.randn(2, 3, side, side + 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(8, 3, kernel, kernel)
    geometry = ConvGeometry((stride,) * 2, (padding,) * 2, (1, 1), False, (0, 0), 1)
    assert has_phases(geometry, weight)
    y = torch.conv2d(x, weight, None, stride, padding)
    grad = torch.randn_like(y)
    (back,) = torch.autograd.grad(y, x, grad)
    found = back_in_phases(grad, weight, geometry, x.shape[2:])
    assert found.shape == back.shape
    assert differs(found, back) < 1e-5


def test_a_cache_has_room_for_what_takes_the_place_of_an_entry() -> None:
    cache = WeightCache()
    cache.keep("a", "first", 6, 10)
    assert not cache.has_room("b", 6, 10)
    assert cache.has_room("a", 9, 10)
    cache.drop("a")
    cache.drop("never there")
    assert cache.get("a") is None
    assert cache.has_room("b", 10, 10)
