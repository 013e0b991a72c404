"""Arguments by name: every call of a known operator is readable so, and nobody counts positions."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rules.build import Fn

import relprop
from relprop.compat import load_torchvision
from relprop.graph import Node, capture
from relprop.graph.kinds import KINDS

SOURCES = Path(relprop.__file__).parent


NETS: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "googlenet": {"init_weights": False},
    "mobilenet_v3_small": {},
    "SwinTransformer": {
        "patch_size": [4, 4],
        "embed_dim": 12,
        "depths": [2, 2],
        "num_heads": [2, 2],
        "window_size": [4, 4],
    },
}


@pytest.mark.parametrize("name", NETS)
def test_every_call_is_readable_by_name(name: str) -> None:
    models = load_torchvision().models
    torch.manual_seed(0)
    run = relprop.trace(getattr(models, name)(**NETS[name]).eval(), torch.randn(1, 3, 64, 64))
    calls = [n for n in run.graph.nodes if n.op in KINDS and n.kind != "symbol" and n.op != "getitem"]
    assert len(calls) > 40

    def value(tree: object) -> object:
        if isinstance(tree, Node):
            return run.value(tree)
        return [value(t) for t in tree] if isinstance(tree, (list, tuple)) else tree

    for node in calls:
        assert node.target is not None
        named = {name: value(argument) for name, argument in node.arguments.items()}
        by_name, by_position = node.target(**named), run.evaluate(node)
        torch.testing.assert_close(by_name, by_position, rtol=0, atol=0, equal_nan=True)


def test_left_out_arguments_have_the_schema_s_defaults() -> None:
    graph = capture(
        Fn(lambda _, x: torch.nn.functional.max_pool2d(x, 2).clamp(max=6)), torch.ones(1, 1, 4, 4)
    )
    pool, clamp = (next(n for n in graph.nodes if n.op == op) for op in ("max_pool2d", "clamp"))
    assert [pool.argument(n) for n in ("stride", "dilation", "ceil_mode")] == [[], [1, 1], False]
    assert clamp.argument("min") is None
    assert clamp.argument("max") == 6
    assert pool.argument("groups", 1) == 1
    with pytest.raises(KeyError, match="only self, kernel_size, stride"):
        pool.argument("groups")


def positional_reads(path: Path) -> list[str]:
    """Where a file looks at a call's arguments as they stand (`node.args`, `node.kwargs`)."""
    found = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)]
    # P is a ParamSpec, `given` what a function was called with, `line` its definition, `error` an exception.
    others = ("P", "given", "line", "error")
    read = [n for n in found if n.attr in ("args", "kwargs") and ast.unparse(n.value) not in others]
    return [f"{path.name}:{n.lineno} {ast.unparse(n)}" for n in read]


def test_no_positional_read_outside_the_graph() -> None:
    files = [p for p in SOURCES.rglob("*.py") if p.parent != SOURCES / "graph"]
    assert len(files) > 100
    assert [read for path in files for read in positional_reads(path)] == []
    assert positional_reads(SOURCES / "graph" / "node.py")  # the reading itself is seen
