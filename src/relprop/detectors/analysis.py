"""What a detection's relevance says in numbers: statistics a layer, the strongest pixels, offsets in words."""

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
from relprop.propagate.table import PlanTable

__all__ = [
    "LayerInput",
    "LayerRow",
    "direction",
    "layer_inputs",
    "layer_tables",
    "offset_words",
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
    layers: dict[str, list[tuple[str, str]]] = {}
    readers: Counter[str] = Counter()
    for row in rows:
        readers.update(row.reads)
        if any(kind_of(op) in _MIXING for op in row.operator.split(" + ")):
            for value in row.reads:
                layers.setdefault(value, []).append((row.module or row.main, row.node))
    order = {row.node: i for i, row in enumerate(rows)}  # what no row makes lies at the stop or past it
    return tuple(
        LayerInput(
            "" if plan and value == plan.stop else value, tuple(reversed(layers[value])), readers[value] == 1
        )
        for value in sorted(layers, key=lambda value: order.get(value, len(order)))
    )


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
    names = dict.fromkeys(name.removeprefix(prefix) for name in through)
    return LayerRow.of(" + ".join(names), relevance) if names else None


def strongest(heatmap: Tensor, percentile: float = 85.0) -> Tensor:
    """Where a map reaches its percentile over all pixels and is above 0: (…, H, W) bool.

    The second condition matters for a box whose receptive field covers less than the rest of the pixels: the
    percentile is then 0, and everything that the model didn't look at would pass.

    Raises:
        InputError: a percentile outside of 0 to 100.

    >>> strongest(torch.tensor([[0.0, 1.0], [3.0, -2.0]]), 50).tolist()
    [[False, True], [True, False]]
    """
    if not 0 <= percentile <= 100:
        raise InputError(f"Expected a percentile from 0 to 100 but got {percentile}.")
    values = heatmap.detach().to("cpu", torch.float64)
    bounds = np.percentile(values.numpy(), percentile, axis=(-2, -1), keepdims=True)
    return (values >= torch.from_numpy(np.asarray(bounds))) & (values > 0)


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


def offset_words(name: str, before: Sequence[float], after: Sequence[float]) -> str:
    """What one offset did to the default box, in words.

    Args:
        name: cx, cy, w or h.
        before: the default box, x0, y0, x1, y1 in pixels.
        after: the box after localisation.

    >>> offset_words("cx", (0, 0, 40, 40), (-12, 0, 28, 20))
    'centre moved 12 px left'
    >>> offset_words("h", (0, 0, 40, 40), (-12, 0, 28, 20))
    'height 40 → 20 px (× 0.50)'
    """
    axis = {"cx": 0, "cy": 1, "w": 0, "h": 1}[name]
    (low, high), (new_low, new_high) = ((box[axis], box[axis + 2]) for box in (before, after))
    if name in ("cx", "cy"):
        moved = (new_low + new_high - low - high) / 2
        if round(moved, 1) == 0:
            return "centre stayed"
        return f"centre moved {_pixels(abs(moved))} px {direction(name, moved > 0)}"
    what = "width" if name == "w" else "height"
    ratio = (new_high - new_low) / (high - low)
    return f"{what} {_pixels(high - low)} → {_pixels(new_high - new_low)} px (× {ratio:.2f})"


def direction(name: str, more: bool) -> str:
    """Which way an offset goes: up is towards the top of the picture.

    >>> direction("cy", more=False), direction("w", more=True)
    ('up', 'wider')
    """
    less_more = {
        "cx": ("left", "right"),
        "cy": ("up", "down"),
        "w": ("narrower", "wider"),
        "h": ("shorter", "taller"),
    }
    return less_more[name][more]


def _pixels(length: float) -> str:
    return f"{length:.0f}" if length >= 10 else f"{length:.1f}"
