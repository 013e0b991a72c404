"""A limit on what is kept of a forward run: the same maps from fewer bytes; memory that runs out is told."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from tests import nets
from tests.close import assert_close_to_rounding
from tests.randomgraphs import CLASSES, build, sample, specs
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, OutOfMemoryError
from relprop.propagate.trace import Trace
from relprop.tracing.segments import Segments

NETS = {"vgg": nets.vgg, "resnet": nets.resnet, "video": nets.video}
SHORT = (
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
)
SHORT += "allocate 3221225472 bytes. Error code 12 (Cannot allocate memory)"


def inputs(name: str) -> Tensor:
    return nets.pictures(2, 3, 4, 8, 8) if name == "video" else nets.pictures()


def kept(run: Trace) -> int:
    """Bytes of the values that a trace holds, each memory once."""
    held = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in run.values.values()}
    held |= {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in run.winners.values()}
    return sum(held.values())


def deep(depth: int = 30) -> nn.Module:
    """Blocks of one width, so that a few kept values are few of all: (N,3,16,16) → (N,4)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True)]
    return nets.seeded(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)), 5)


@pytest.mark.parametrize(
    "method", ["lrp-composite", "lrp:rule=z-plus", "crp", "excitation-backprop", "gradient"]
)
@pytest.mark.parametrize("name", NETS)
def test_maps_and_ledgers_are_the_same(name: str, method: str) -> None:
    model, x = NETS[name](), inputs(name)
    layer = next(n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Conv3d)))
    plain = relprop.explain(model, x, [0, 1], method, [layer])
    with relprop.memory_limit("low"):
        assert relprop.trace(model, x)._segments is not None
        low = relprop.explain(model, x, [0, 1], method, [layer])
    assert_close_to_rounding(low.relevance, plain.relevance, model)
    assert_close_to_rounding(low.layers[layer], plain.layers[layer], model)
    assert_close_to_rounding(low.outputs, plain.outputs, model)
    if plain.ledger is not None and low.ledger is not None:
        assert low.ledger.closes
        assert [r.operator for r in low.ledger.rows] == [r.operator for r in plain.ledger.rows]


@settings(max_examples=25, deadline=None)
@given(spec=specs())
def test_on_random_graphs(spec: Any) -> None:
    model, x = build(spec), sample(spec)
    seed = torch.eye(CLASSES, dtype=x.dtype)[:, None].expand(-1, len(x), -1)
    plain = relprop.trace(model, x)
    with relprop.memory_limit("low"):
        low = relprop.trace(model, x)
    composite = "lrp-epsilon"
    for _ in range(2):  # what a walk needs is computed again for every one
        assert_close_to_rounding(low.propagate(seed, composite), plain.propagate(seed, composite), model)
    for node in plain.values:  # in no order that a walk has
        value = low.value(low.graph.by_name[node.name])
        if isinstance(value, Tensor):
            assert_close_to_rounding(value, plain.values[node], model)


def test_less_is_kept() -> None:
    model, x = deep(), nets.pictures(2, 3, 16, 16)
    plain = relprop.trace(model, x)
    all_of_it = kept(plain)
    assert plain.sizes.total == pytest.approx(all_of_it - kept_input(plain), rel=0.02)
    with relprop.memory_limit("low"):
        low = relprop.trace(model, x)
    assert kept(low) < all_of_it / 2
    seen = []
    value = Trace.value

    def watched(self: Trace, place: Any) -> Tensor:
        found = value(self, place)
        seen.append(kept(self))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trace, "value", watched)
        low.run(low.output, "lrp-epsilon", release=True)
    assert max(seen) < all_of_it / 2
    assert seen[-1] < all_of_it / 4
    assert set(low.values) == {low.graph.input}


def kept_input(run: Trace) -> int:
    return run.input.numel() * run.input.element_size()


def test_a_limit_in_bytes_is_kept_to() -> None:
    model, x = deep(), nets.pictures(2, 3, 16, 16)
    plain = relprop.trace(model, x)
    for share in (0.9, 0.7, 0.5):
        limit = int(plain.sizes.total * share)
        with relprop.memory_limit(limit):
            run = relprop.trace(model, x)
        assert isinstance(run._segments, Segments)
        assert run._segments.peak <= limit
        assert kept(run) - kept_input(run) <= limit
    for limit in (plain.sizes.total, "1 GB", None):
        with relprop.memory_limit(limit):
            assert relprop.trace(model, x)._segments is None


def test_limits_end_with_their_context_and_wrong_ones_are_refused() -> None:
    model, x = deep(2), nets.pictures(2, 3, 16, 16)
    with relprop.memory_limit(1), relprop.memory_limit(None):
        assert relprop.trace(model, x)._segments is None
    assert relprop.trace(model, x)._segments is None
    for wrong in (0, -1, True, 1.5, "", "2 XB", "lots", "0GB"):
        with pytest.raises(InputError, match="Expected a memory limit"), relprop.memory_limit(wrong):  # type: ignore[arg-type]
            pass


class Greedy(nn.Module):
    """Asks for more than there is, from a given call on."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.conv, self.error = nn.Conv2d(3, 4, 3), error

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            raise self.error
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (RuntimeError(SHORT), "3.0 GiB more"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."), "20.0 MiB more"),
        (MemoryError(), "more"),
        (RuntimeError("std::bad_alloc"), "more"),
    ],
)
def test_a_model_that_finds_no_memory(error: Exception, size: str) -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        relprop.explain(Greedy(error).eval(), torch.randn(1, 3, 8, 8))
    text = str(caught.value)
    assert text.startswith("Expected enough memory for the forward run of Greedy on x of shape (1, 3, 8, 8)")
    assert f"but {size} can't be had. Explain fewer samples or targets" in text
    assert "relprop.memory_limit('low')" in text
    assert isinstance(caught.value, MemoryError)


def test_a_walk_and_a_method_that_find_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nets.vgg(), nets.pictures()

    def short(*_: object, **__: object) -> None:
        raise RuntimeError(SHORT)

    with pytest.raises(OutOfMemoryError, match=r"enough memory for this explanation but 3\.0 GiB more"):
        relprop.explain(model, x, 0, lambda *_: short())  # type: ignore[arg-type, return-value]
    monkeypatch.setattr("relprop.rules.linear.Quotient", short)
    with pytest.raises(
        OutOfMemoryError, match=r"relevance of 2 target\(s\) on its way through values of .* MiB"
    ):
        relprop.explain(model, x, [0, 1], "lrp:rule=z-plus")


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise RuntimeError("The size of tensor a must match the size of tensor b.")

    monkeypatch.setattr("relprop.rules.linear.Quotient", wrong)
    with pytest.raises(RuntimeError, match="The size of tensor a"):
        relprop.explain(nets.vgg(), nets.pictures(), 0, "lrp:rule=z-plus")


@pytest.mark.skipif(sys.platform != "linux", reason="limits on a process's memory are the system's own")
def test_where_memory_really_ends() -> None:
    """A process that may take 1 GiB more than it has: one sentence, and the session goes on."""
    code = """
import resource, torch, relprop
net = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(),
    torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.AdaptiveAvgPool2d(1),
    torch.nn.Flatten()).eval().requires_grad_(False)
relprop.explain(net, torch.ones(1, 1, 8, 8), 0, "lrp-epsilon")
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30,) * 2)
try:
    relprop.explain(net, torch.ones(1, 1, 6000, 6000), 0, "lrp-epsilon")
except relprop.errors.OutOfMemoryError as error:
    print(error)
print(relprop.explain(net, torch.ones(1, 1, 8, 8), 0, "lrp-epsilon").ledger.closes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said, closes = done.stdout.strip().splitlines()
    assert said.startswith(
        "Expected enough memory for the forward run of Sequential on x of shape (1, 1, 6000, 6000)"
    )
    assert "GiB more can't be had" in said
    assert closes == "True"
