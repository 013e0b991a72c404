"""Feature map: the last map with spatial axes in front of a network's head, found in the graph."""

from __future__ import annotations

from torch import Tensor

from relprop.errors import InputError
from relprop.graph import Node
from relprop.graph.place import label, read_at_places, resampled
from relprop.methods.head import head_of
from relprop.methods.source_map import common_map
from relprop.propagate.trace import Trace

__all__ = ["channel_axis", "last_feature_map"]

_POOLS = frozenset({"max_pool", "avg_pool", "pass"})


def last_feature_map(run: Trace, *, branches: bool = False) -> Node:
    """The last feature map before global pooling, or before the first product on flattened features.

    Found by walking back from the output through everything that has no spatial extent (products,
    activations, flattening) to the first value with as many axes as the input and a spatial axis longer
    than 1; then back through the pools that end the feature extractor. That is the ReLU before the
    last pool of AlexNet and VGG, the last block's output of ResNets, the last concatenation of
    GoogLeNet. What was read from a map at other places (RoIAlign, a spatial transformer) has positions of
    its own, so the map that was read is taken; so is the map that a part was cut out of. Its value is
    (N, C, *spatial), but (N, *spatial, C) in networks that have no other there, such as Swin: `channel_axis`
    tells.

    Args:
        run: a forward run.
        branches: of parallel branches that meet in the head, take the last map that they all begin with.

    Raises:
        InputError: there is none (a multilayer perceptron, a transformer's tokens), or there are
            several (parallel branches that meet in the head): the text names them.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    ...                           torch.nn.Flatten(), torch.nn.Linear(8, 3))
    >>> last_feature_map(relprop.trace(net, torch.ones(1, 1, 6, 6)))
    <relu: relu in 1>
    """
    graph = run.graph
    rank = run.input.ndim
    elsewhere = graph.derived(resampled)
    seen: set[Node] = set()
    found: list[Node] = []
    head = head_of(graph)
    stack = [graph.output] if head is None else list(head.logits)
    while stack:
        node = stack.pop()
        if node in seen or node.kind == "symbol":
            continue
        seen.add(node)
        value = run.stored(node)
        if not isinstance(value, Tensor):
            stack.extend(node.signals())
        elif node.op == "grid_sampler" and node.dependent:
            stack.append(read_at_places(node))
        elif node is graph.input or (value.ndim not in (2, rank) and _is_table(value)):
            raise _none(node, value)
        elif value.ndim == rank and _is_map(value) and node.batch_axis in (0, None) and node not in elsewhere:
            found.append(node)
        else:
            stack.extend(node.signals())
    maps = list(dict.fromkeys(_before_pools(n, run) for n in found))
    if not maps:
        raise _none(graph.output, run.stored(graph.output))
    if len(maps) == 1:
        return maps[0]
    shared = common_map(run, maps) if branches else None
    if shared is None:
        names = ", ".join(repr(label(graph, n)) for n in sorted(maps, key=lambda n: n.index))
        raise InputError(f"Expected one last feature map but the head reads {len(maps)}: {names}. Name one.")
    return shared


def _is_map(value: Tensor) -> bool:
    if max(value.shape[2:], default=1) <= 1:
        return False
    # A pooled vector on its way through a channels-last norm: (N, 1, 1, C).
    return value.ndim == 3 or sum(n > 1 for n in value.shape[1:]) > 1


def _is_table(value: Tensor) -> bool:
    """Whether a sample is more than a vector, such as the tokens of a transformer."""
    return sum(n > 1 for n in value.shape[1:]) > 1


def _before_pools(node: Node, run: Trace) -> Node:
    while (
        node.kind in _POOLS or _is_cut(node, run) or (node.op == "permute" and channel_axis(run, node) != 1)
    ):
        before = node.signals()
        if not before or before[0] is run.graph.input or run.stored(before[0]).ndim != run.input.ndim:
            break
        node = before[0]
    return node


def _is_cut(node: Node, run: Trace) -> bool:
    """Whether a value was cut out of a map, so that it doesn't lie over the whole picture."""
    # A cut along several axes is a slice along each, those that are kept whole among them.
    return node.op == "slice" and node.argument("step") == 1 and node.argument("dim") % run.input.ndim != 1


def channel_axis(run: Trace, node: Node) -> int:
    """Which axis of a map holds the channels: the one that its mean (or sum, or maximum) over space leaves.

    1 where nothing behind the map tells otherwise.
    """
    rank = run.stored(node).ndim
    stack = [(user, list(range(rank))) for user in node.users]
    while stack:
        user, axes = stack.pop()
        if user.kind in ("pass", "activation"):
            stack += [(u, axes) for u in user.users]
        elif user.op == "permute":
            order = [axes[d] for d in user.argument("dims")]
            stack += [(u, order) for u in user.users]
        elif user.op in ("mean", "sum", "amax"):
            dims = user.argument("dim", None)
            gone = {axes[d] for d in dims} if isinstance(dims, (list, tuple)) else set()
            left = [a for a in axes if a not in gone | {0}]
            if len(left) == 1:
                return left[0]
    return 1


def _none(node: Node, value: Tensor) -> InputError:
    return InputError(
        "Expected a feature map with spatial axes before the head but the walk back from the output met "
        f"{node.name!r} of shape {tuple(value.shape)} first. Name the place to look at (a module or node whose "
        "value is (N, C, *spatial))."
    )
