"""What captures leave behind: nothing that grows with their number."""

from __future__ import annotations

import gc
import linecache
from collections.abc import Callable
from importlib import import_module

import pytest
import torch
from tests.rules.build import Fn
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule, graph_module
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from relprop import trace
from relprop.errors import RelpropError
from relprop.graph import Graph

capturing = import_module("relprop.graph.capture")


def _written(y: Tensor) -> Tensor:
    y.view(-1).mul_(2)
    return y


FORWARDS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "plain": lambda m, x: m.conv(x).relu().mean((2, 3)),
    "one batch size": lambda m, x: m.conv(x.reshape(2, 3, 4, -1) if x.shape[0] == 2 else x).mean((2, 3)),
    "writes": lambda m, x: _written(m.conv(x)),
    "refused": lambda m, x: m.conv(x) if x.sum() > 0 else -x,
}


def _census() -> list[int]:
    gc.collect()
    kinds = [type(o) for o in gc.get_objects()]
    known = [len(graph_module._loader.eval_cache), sum("eval_with_key" in name for name in linecache.cache)]
    return [sum(issubclass(k, w) for k in kinds) for w in (ShapeEnv, FakeTensorMode, GraphModule)] + known


@pytest.mark.parametrize("name", FORWARDS)
def test_captures_of_many_sizes_leave_nothing_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capturing, "_MOST_GRAPHS", 3)
    model = Fn(FORWARDS[name], conv=nn.Conv2d(3, 4, 1)).eval()

    def use(sizes: range) -> None:
        for width in sizes:
            try:
                trace(model, torch.randn(2, 3, 4, width))
            except RelpropError:
                assert name == "refused"

    use(range(4, 8))
    before, fakes = (
        _census(),
        sum(isinstance(o, FakeTensor) for o in gc.get_objects() if type(o) is FakeTensor),
    )
    use(range(8, 18))
    after = _census()
    assert all(now <= then + 2 for now, then in zip(after, before, strict=True)), (before, after)
    left = [o for o in gc.get_objects() if type(o) is FakeTensor]
    assert len(left) <= 2 * fakes + 20
    graphs = [
        o for o in gc.get_objects() if type(o) is Graph and o in capturing._CACHE.get(model, {}).values()
    ]
    assert len(graphs) <= 3
