"""Unseen: what turns autograd's gradient into another than that of the operators in a graph.

A custom `autograd.Function` has a backward of its own (a straight-through estimator, a gradient reversal), and
backward hooks may change what comes by. `torch.export` sees neither. They are found at one run of the real model,
and named where its gradient differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn.modules import module as _hooks
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from relprop.graph.agreement import replay
from relprop.graph.node import Graph, Node

__all__ = ["Watch", "nothing_saved", "unseen_backward", "watching"]


class Watch(TorchFunctionMode):
    """Notes, while a model runs, that somebody hooks a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.hooked = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.register_hook:
            self.hooked = True
        return func(*args, **(kwargs or {}))


@contextmanager
def watching() -> Iterator[Watch]:
    """Run a model in this, with derivatives recorded, and hand the watch to `unseen_backward`."""
    with Watch() as watch:
        yield watch


@contextmanager
def nothing_saved() -> Iterator[None]:
    """Record derivatives without the values that they would need, which fill the memory of a large input.

    How the output came about can be told all the same. What is found on the way counts as changing the gradient,
    since that can't be taken.
    """

    def unpack(_: None) -> Tensor:
        raise RuntimeError("No value was saved.")

    with torch.autograd.graph.saved_tensors_hooks(lambda _: None, unpack):
        yield


def unseen_backward(
    graph: Graph, params: dict[Node, Tensor], x: Tensor, model: nn.Module, output: Any, watch: Watch
) -> tuple[str, ...]:
    """What the model's gradient comes through that its graph doesn't know, if the two gradients differ.

    Args:
        graph, params: of the model, and its tensors.
        x: what the graph runs on.
        model, output: the model, and what it returned with derivatives recorded.
        watch: was there meanwhile.

    Returns:
        Custom functions and hooks, in words; empty where there are none, or where they change nothing (a hook
        that only looks, a function with the derivative of what it computes).
    """
    functions, leaves = _walked(output)
    found = [f"the custom autograd function {name}" for name in functions]
    if _hooks._global_backward_hooks or _hooks._global_backward_pre_hooks:
        found.append("backward hooks on all modules")
    for path, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:
            found.append(f"a backward hook on {f'module {path!r}' if path else 'the model itself'}")
    if watch.hooked:
        found.append("a hook on a tensor (register_hook)")
    own = {id(t) for t in (*model.parameters(), *model.buffers())}
    entries = [leaf for leaf in leaves if id(leaf) not in own and leaf.shape == x.shape]
    if not found or len(entries) != 1:
        return tuple(found)
    eps = torch.finfo(graph.narrowest or torch.float32).eps
    try:
        theirs = _gradient(output, entries[0]).to(x.dtype)
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            ours = _gradient(replay(graph, params, leaf), leaf)
    except Exception:  # a hook that fails, an operator without a derivative
        return tuple(found)
    size = max(float(theirs.abs().max()), float(ours.abs().max()))
    return tuple(found) if not float((ours - theirs).abs().max()) <= 1e4 * eps * size else ()


def _gradient(output: Any, leaf: Tensor) -> Tensor:
    """Of a fixed mixture of all outputs, so that nothing cancels by symmetry."""
    total = torch.zeros((), dtype=torch.float64)
    for out in pytree.tree_leaves(output):
        if isinstance(out, Tensor) and out.requires_grad and out.is_floating_point():
            weights = torch.linspace(1, 2, out.numel(), dtype=torch.float64).cos()
            total = total + (out.flatten().double().cpu() * weights).sum()
    (found,) = torch.autograd.grad(total, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def _walked(output: Any) -> tuple[list[str], list[Tensor]]:
    """The custom functions on the way back from an output, by name, and the tensors where it ends."""
    tensors = [t for t in pytree.tree_leaves(output) if isinstance(t, Tensor)]
    stack: list[Any] = [t.grad_fn for t in tensors if t.grad_fn is not None]
    seen = set(stack)
    names: dict[str, None] = {}
    leaves: list[Tensor] = []
    while stack:
        function = stack.pop()
        if isinstance(function, BackwardCFunction):
            kind = type(function)._forward_cls  # type: ignore[attr-defined]
            if not kind.__module__.startswith("torch."):
                names[kind.__qualname__] = None
        elif hasattr(function, "variable"):
            leaves.append(function.variable)
        for following, _ in function.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
    return list(names), leaves
