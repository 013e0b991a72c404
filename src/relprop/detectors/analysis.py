"""What a detection's relevance says in numbers: statistics a layer, strongest pixels, the share in a box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.graph.kinds import kind_of
from relprop.propagate.table import PlanRow, PlanTable

__all__ = [
    "LayerInput",
    "LayerRow",
    "layer_inputs",
    "layer_tables",
    "positive_inside",
    "recorded",
    "strongest",
]

#: What a layer is, for the table: operators that mix units. All others pass relevance on unit by unit.
_MIXING = ("linear", "max_pool", "avg_pool", "upsample")
_RANKS = (95.0, 50.0, 5.0)


@dataclass(frozen=True)
class LayerInput:
    """A value in the network, and the layers that read it.

    Attributes:
        node: the value's name in the graph; "" for the model's input.
        layers: (layer, name of the value behind it) of each layer that reads the value, in forward order.
        alone: whether no other operator reads it, so that all relevance there has come through the layer.
    """

    node: str
    layers: tuple[tuple[str, str], ...]
    alone: bool


@dataclass(frozen=True)
class LayerRow:
    """Relevance after it has crossed a layer: statistics over all elements there, zeros included.

    Attributes:
        layer: the layer just crossed; several where they read one value, with " + " between.
        shape: of the value behind which the relevance lies, without batch.
        max, p95, median, p5, min: the largest value, the percentiles 95, 50 and 5 (linear between ranks), the
            smallest.
        total: the sum.
        size: the sum of magnitudes.
    """

    layer: str
    shape: tuple[int, ...]
    max: float
    p95: float
    median: float
    p5: float
    min: float
    total: float
    size: float

    @classmethod
    def of(cls, layer: str, relevance: Tensor) -> LayerRow:
        """The row of one layer.

        >>> row = LayerRow.of("conv1", torch.tensor([[0.0, 0.0], [1.0, -3.0]]))
        >>> row.max, row.median, row.min, row.total, row.size
        (1.0, 0.0, -3.0, -2.0, 4.0)
        """
        values = relevance.detach().to("cpu", torch.float64).flatten().numpy()
        p95, median, p5 = (float(v) for v in np.percentile(values, _RANKS))
        return cls(
            layer,
            tuple(relevance.shape),
            float(values.max()),
            p95,
            median,
            p5,
            float(values.min()),
            float(values.sum()),
            float(np.abs(values).sum()),
        )


def layer_inputs(plan: PlanTable | None) -> tuple[LayerInput, ...]:
    """The values at which a plan's layers start, from the output to the input.

    A layer is a convolution or matrix product (with its batch norms), a pool or an upsampling. The relevance
    at the value that it reads is what has crossed it.

    Args:
        plan: an explanation's plan; none, or one that an older version saved, has no places.
    """
    rows = () if plan is None else plan.rows
    names = _layer_names(rows)
    layers: dict[str, list[tuple[str, str]]] = {}
    readers: Counter[str] = Counter()
    for row in rows:
        readers.update(row.reads)
        if row.node in names:
            for value in row.reads:
                layers.setdefault(value, []).append((names[row.node], row.node))
    order = {row.node: i for i, row in enumerate(rows)}  # what no row makes lies at the stop or past it
    return tuple(
        LayerInput(
            "" if plan and value == plan.stop else value, tuple(reversed(layers[value])), readers[value] == 1
        )
        for value in sorted(layers, key=lambda value: order.get(value, len(order)))
    )


def _layer_names(rows: Sequence[PlanRow]) -> dict[str, str]:
    """What each layer is called, by the node that it makes: its module's path where that has no other layer.

    Else (weights used by functions, a module called several times) the operator and its place in forward order
    among the module's, such as "head: conv2d (2)".
    """
    made: dict[str, tuple[str, str]] = {}
    for row in reversed(rows):  # forward
        mixing = next((op for op in row.operator.split(" + ") if kind_of(op) in _MIXING), None)
        if mixing is not None:
            made.setdefault(row.node, (row.module, mixing))
    alone = Counter(module for module, _ in made.values())
    several = Counter(made.values())
    names, place = {}, Counter[tuple[str, str]]()
    for node, (module, op) in made.items():
        place[module, op] += 1
        name = op if several[module, op] == 1 else f"{op} ({place[module, op]})"
        if module and alone[module] == 1:
            name = module
        elif module:
            name = f"{module}: {name}"
        names[node] = name
    return names


def recorded(found: Sequence[LayerInput]) -> tuple[str, ...]:
    """The names whose relevance `layer_tables` needs: pass them as ``layers`` of the explanation."""
    names = [place.node for place in found if place.node]
    # Which of several readers the relevance came through shows behind them.
    names += [behind for place in found if not place.alone for _, behind in place.layers]
    return tuple(dict.fromkeys(names))


def layer_tables(e: Explanation, found: Sequence[LayerInput], prefix: str = "") -> list[tuple[LayerRow, ...]]:
    """The table of each target: a row a layer from the output to the input, those without relevance left out.

    Rows are named after the layer just crossed, so that the last row, of the first layer, is the relevance at
    the input.

    Args:
        e: an explanation of one sample with `recorded(found)` among its layers.
        found: `layer_inputs` of its plan.
        prefix: what to leave out at the start of layer names.

    Raises:
        InputError: a layer is missing, or the explanation holds several samples.

    Source:
        H. Tsunakawa et al., "Contrastive Relevance Propagation for Interpreting Predictions by a Single-Shot
        Object Detector", IJCNN 2019: the tables of relevance a layer.
    """
    if e.input.shape[0] != 1:
        raise InputError(f"Expected an explanation of one sample but got {e.input.shape[0]}.")
    held: Mapping[str, Tensor] = {"": e.relevance, **e.layers}
    missing = [name for name in recorded(found) if name not in held]
    if missing:
        raise InputError(
            f"Expected the relevance at {missing[0]!r} among the explanation's layers but it isn't there. "
            "Explain with layers=recorded(layer_inputs(plan))."
        )
    lead = e.targets.dim()
    return [
        tuple(row for place in found if (row := _row(place, held, lead, k, prefix)) is not None)
        for k in range(e.targets.numel())
    ]


def _row(place: LayerInput, held: Mapping[str, Tensor], lead: int, k: int, prefix: str) -> LayerRow | None:
    def at(name: str) -> Tensor:
        return held[name].flatten(0, lead - 1)[k]

    relevance = at(place.node)
    if not bool(relevance.any()):
        return None
    through = [layer for layer, behind in place.layers if place.alone or bool(at(behind).any())]
    root = f"{prefix.removesuffix('.')}: "  # of what the network itself runs, in no module of its own
    names = dict.fromkeys(name.removeprefix(prefix).removeprefix(root) for name in through)
    return LayerRow.of(" + ".join(names), relevance) if names else None


def strongest(heatmap: Tensor, count: int) -> Tensor:
    """Where a map's so many largest values lie, those above 0 alone: (H, W) bool.

    Of equal values the first ones in reading order count.

    Args:
        heatmap: (H, W).
        count: of pixels, 1 or more.

    Raises:
        InputError: a count below 1.

    >>> strongest(torch.tensor([[0.0, 1.0], [3.0, -2.0]]), 3).tolist()
    [[False, True], [True, False]]
    """
    if count < 1:
        raise InputError(f"Expected a count of 1 or more pixels but got {count}.")
    values = heatmap.detach().to("cpu", torch.float64).flatten()
    best = values.argsort(descending=True, stable=True)[:count]
    mask = torch.zeros(values.shape, dtype=torch.bool)
    mask[best] = values[best] > 0
    return mask.reshape(heatmap.shape)


def positive_inside(heatmap: Tensor, box: Sequence[float]) -> float:
    """Share of a map's positive relevance at pixels whose centres lie in a box, 0 to 1; NaN if there is none.

    Args:
        heatmap: (H, W).
        box: x0, y0, x1, y1 in the map's pixels.

    >>> positive_inside(torch.tensor([[1.0, -2.0], [3.0, 0.0]]), (0, 0, 2, 1))
    0.25
    """
    positive = heatmap.detach().to("cpu", torch.float64).clamp(min=0)
    y, x = (torch.arange(n, dtype=torch.float64) + 0.5 for n in positive.shape)
    x0, y0, x1, y1 = box
    within = ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
    return float(positive[within].sum() / positive.sum())
