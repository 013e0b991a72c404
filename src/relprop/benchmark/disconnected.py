"""Disconnected: a network changed so that its head sees one cell of a grid: DiFull and DiPart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from relprop.errors import InputError, RelpropError
from relprop.graph import Node, capture
from relprop.graph.exporting import exported
from relprop.graph.place import label
from relprop.methods.feature_map import last_feature_map
from relprop.propagate.trace import Trace, trace

__all__ = ["Disconnected", "disconnected"]


class Cells(nn.Module):
    """A part of a network, run on each cell of a grid alone; the cells' maps are put together again."""

    def __init__(self, part: nn.Module, side: int) -> None:
        super().__init__()
        self.part, self.side = part, side

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, side · h, side · w) to (N, C', side · h', side · w')."""
        rows = []
        for row in range(self.side):
            cells = [self.part(_cell(x, row, column, self.side)) for column in range(self.side)]
            rows.append(torch.cat(cells, dim=3))
        return torch.cat(rows, dim=2)


class OnGrid(nn.Module):
    """A part of a network, run on the whole grid: a module of its own, so that its map has a name."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        out: Tensor = self.part(x)
        return out


class Disconnected(nn.Module):
    """A network whose head reads one cell of its feature map: (N, C, side · H, side · W) to (N, classes).

    Attributes:
        features: the parts of the network up to its feature map, in order: "features.0", ... are places in it.
        head: what the network makes of a feature map of one cell.
        side: cells a side of the grid.
        cell: which one the head reads, row by row from 0.
    """

    def __init__(self, features: Sequence[nn.Module], head: nn.Module, side: int, cell: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.head = head
        self.side, self.cell = side, cell

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a class."""
        row, column = divmod(self.cell, self.side)
        out: Tensor = self.head(_cell(self.features(x), row, column, self.side))
        return out


def disconnected(
    model: nn.Module, x: Tensor, how: str, *, side: int, cell: int = 0, places: Sequence[str] = ()
) -> Disconnected:
    """A network that classifies one cell of a grid; what the others show can matter in part, or not at all.

    "full" (DiFull): each cell runs through the network alone, and the head reads its own cell's features, so
    no other cell has any influence. "part" (DiPart): the network runs over the whole grid, and the head reads the
    features of its own cell, so another cell matters as far as the receptive fields reach across the border.

    The network is taken apart at its last feature map, as `torch.export` sees it; weights are shared with it, and
    it isn't changed.

    Source: Rao et al. 2022 (CVPR), sec. 3.1.

    Args:
        model: (N, C, H, W) to (N, classes), in evaluation mode.
        x: an input of one cell, (1, C, H, W).
        how: "full" or "part".
        side: cells a side.
        cell: the one that is classified, row by row from 0.
        places: modules or nodes to cut at, in order, the last of them the feature map. Empty: the last feature
            map. Each is a place at which methods can be asked: "features.0" and so on.

    Raises:
        InputError: no such place, one that the network also reads past, or a feature map that doesn't fall into
            cells.
        CaptureError: the network can't be exported.
    """
    if how not in ("full", "part"):
        raise InputError(f"Expected a network to be disconnected in 'full' or in 'part' but got {how!r}.")
    if not 0 <= cell < side**2:
        raise InputError(f"Expected a cell from 0 to {side**2 - 1} but got {cell}.")
    x = x.detach()[:1]
    run = trace(model, x)
    nodes = [run.graph.find(place) for place in places] or [last_feature_map(run)]
    for node in nodes:
        _check_map(run, node)
    *parts, head = _parts(model, x, run, nodes)
    if how == "full":
        return Disconnected([Cells(part, side) for part in parts], head, side, cell).eval()
    whole = x.repeat(1, 1, side, side)
    try:
        # Sizes may be written into an export: that of the grid's size is the network itself.
        over = capture(model, whole)
        parts = _parts(model, whole, trace(model, whole), [over.find(node.name) for node in nodes])[:-1]
    except RelpropError:  # a head of one size: the parts in front of it have to do
        pass
    changed = Disconnected([OnGrid(part) for part in parts], head, side, cell).eval()
    with torch.no_grad():
        found = tuple(changed.features(whole).shape[2:])
    wanted = tuple(side * n for n in run.stored(nodes[-1]).shape[2:])
    if found != wanted:
        raise InputError(
            f"Expected the feature map of a grid to be {side} times as high and wide as that of a cell, {wanted}, "
            f"but at {label(run.graph, nodes[-1])!r} it is {found}. Take a cell size that all strides divide."
        )
    return changed


def _cell(x: Tensor, row: int, column: int, side: int) -> Tensor:
    height, width = x.shape[2] // side, x.shape[3] // side
    return x[:, :, row * height : (row + 1) * height, column * width : (column + 1) * width]


def _check_map(run: Trace, node: Node) -> None:
    value = run.stored(node)
    if not isinstance(value, Tensor) or value.ndim != 4 or max(value.shape[2:]) <= 1:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise InputError(
            f"Expected a feature map (N, C, h, w) at {label(run.graph, node)!r} but its value is {shape}. Name a "
            "place in front of the head."
        )


def _parts(model: nn.Module, x: Tensor, run: Trace, nodes: Sequence[Node]) -> list[nn.Module]:
    """The network cut behind each of the nodes: one module more than there are nodes."""
    program, _ = exported(model, x)
    whole: Any = program.module(check_guards=False)
    by_name = {node.name: node for node in whole.graph.nodes}
    source = next(node for node in whole.graph.nodes if node.op == "placeholder")
    (output,) = whole.graph.output_node().all_input_nodes
    cuts = [source]
    for node in nodes:
        if node.name not in by_name:
            raise InputError(
                f"Expected a place that torch.export keeps but {label(run.graph, node)!r} is none. Name another."
            )
        cuts.append(by_name[node.name])
    pairs = zip(cuts, [*cuts[1:], output], strict=True)
    return [_between(whole, source, start, end) for start, end in pairs]


def _between(whole: fx.GraphModule, source: fx.Node, start: fx.Node, end: fx.Node) -> fx.GraphModule:
    """The part of a program that makes `end` out of `start`, as a module of one input.

    Raises:
        InputError: `end` also depends on the program's input past `start`.
    """
    graph = fx.Graph()
    taken: dict[fx.Node, fx.Node] = {start: graph.placeholder("x")}

    def copied(node: fx.Node) -> fx.Node:
        stack = [node]
        while stack:
            top = stack[-1]
            if top in taken:
                stack.pop()
                continue
            if top.target is torch.ops.aten.sym_size.int and top.all_input_nodes == [source]:
                # How many samples there are, the one size that isn't fixed: the same everywhere.
                taken[top] = graph.node_copy(top, lambda _: taken[start])
                continue
            if top is source:
                raise InputError(
                    f"Expected all that the network reads of a picture to go through the place {start.name!r} but "
                    "a part goes past it. Name another place."
                )
            missing = [n for n in top.all_input_nodes if n not in taken]
            if missing:
                stack.extend(missing)
                continue
            taken[top] = graph.node_copy(top, lambda n: taken[n])
        return taken[node]

    graph.output(copied(end))
    return fx.GraphModule(whole, graph)
