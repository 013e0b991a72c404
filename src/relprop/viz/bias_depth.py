"""Bias over depth: how much of the score each layer's affine form leaves to it, network beside network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InputError
from relprop.viz.canvas import (
    COLOURS,
    FAINT,
    MARGIN,
    MARKERS,
    NAME,
    POINT,
    RULE,
    SMALL,
    Canvas,
    height,
    value_axis,
)
from relprop.viz.text import fit, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DepthLine", "bias_by_depth_figure"]

Array = NDArray[np.float64]

_PANEL, _GAP = 640, 56  # width of a panel and of the space between, in pixels
_TALL = 360  # height of a panel
_AXIS = 52  # room for the numbers of an upright axis
_RELATIVE = [(x, f"{x:g}") for x in (0.0, 0.25, 0.5, 0.75, 1.0)]


@dataclass(frozen=True)
class DepthLine:
    """Bias along the layers of one network.

    Attributes:
        name: of the network.
        layers: their names, from the input on.
        ratio: (layers, pictures): b / F; NaN where F is 0.
        share: (layers, pictures): |b| / (|b| + sum |W X|), from 0 to 1.
    """

    name: str
    layers: Sequence[str]
    ratio: ArrayLike
    share: ArrayLike


def bias_by_depth_figure(
    lines: Sequence[DepthLine], *, title: str = "How much of the score is bias, from each layer on"
) -> Figure:
    """Draw the bias ratio and the bounded bias share over depth, a line a network.

    Thick lines are medians over pictures, bands quartiles, thin dashed lines means. The axis of the ratio holds
    medians and bands; means that ratios near F = 0 drive far beyond them leave it, and the caption says so.
    Networks with the same layers stand over the layers' names, others over relative depth: 0 is the input,
    1 the last layer. Source: the piece-wise affine representation, its figure of bias ratios.

    Args:
        lines: networks with their values.
        title: line on top.

    Raises:
        InputError: no network, no layer, no finite value at a layer, or arrays of other shapes than said.
    """
    if not lines:
        raise InputError("Expected at least one network to draw but got none.")
    ratios = [_values(line, "ratio") for line in lines]
    shares = [_values(line, "share") for line in lines]
    same = len({tuple(line.layers) for line in lines}) == 1
    page = Canvas(2 * MARGIN + 2 * (_AXIS + _PANEL) + _GAP, title)
    legend = page.top
    page.top += height(NAME) + 10
    lefts = (MARGIN + _AXIS, MARGIN + 2 * _AXIS + _PANEL + _GAP)
    heads = ("Bias ratio b / F (no bounds)", "Bias share |b| / (|b| + Σ|W X|), from 0 to 1")
    for left, head in zip(lefts, heads, strict=True):
        page.words(left, page.top, [head], NAME, "bold")
    top = page.top + height(NAME) + 8
    ticks, below = _ticks(lines[0].layers) if same else (_RELATIVE, height(SMALL) + 8)
    page.top = top + _TALL + below + 10
    if not same:
        page.words(lefts[0], page.top, ["relative depth: 0 is the input, 1 the last layer measured"], SMALL)
        page.top += height(SMALL) + 10
    low, high = _span(ratios)
    counts = sorted({r.shape[1] for r in ratios})
    pictures = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    beyond = sum(int(((m < low) | (m > high)).sum()) for m in map(_mean, ratios))
    lost = sum(int(np.isnan(r).sum()) for r in ratios)
    page.caption(
        [
            f"Thick lines: medians over {pictures} pictures. Bands: lower to upper quartile. Thin dashed: means.",
            "A ratio of 1: b alone makes the score.",
            "The share is small where contributions W·X are large and cancel, even if b makes most of F.",
            f"Means beyond the left axis: {beyond} (ratios explode where F is near 0)." if beyond else "",
            f"Ratios left out, since F = 0: {lost}." if lost else "",
        ]
    )
    figure = page.figure()
    _legend(page, figure, [line.name for line in lines], legend)
    for name, left, values, (bottom, most) in zip(
        ("ratio", "share"), lefts, (ratios, shares), ((low, high), (0.0, 1.0)), strict=True
    ):
        axes = page.axes(figure, left, top, _PANEL, _TALL, f"depth {name}")
        value_axis(axes, "y", [bottom, most], 1.0 if name == "share" else None)
        axes.set(xlim=(-0.02, 1.02), ylim=(bottom, most))
        if low < 0 and name == "ratio":
            axes.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
        for k, one in enumerate(values):
            _curve(axes, one, k)
        for x, text in ticks:
            axes.axvline(x, color=RULE, linewidth=0.6, zorder=0)
            at = left + _PANEL * (x + 0.02) / 1.04
            if same:
                page.mark(figure, at + 5, top + _TALL + 8, text, SMALL, align="right", turned=45)
            else:
                page.mark(figure, at, top + _TALL + 6 + SMALL * POINT, text, SMALL, align="center")
    return figure


def _values(line: DepthLine, name: str) -> Array:
    """(layers, pictures), with something finite in each layer."""
    values = np.asarray(getattr(line, name), dtype=np.float64)
    if not line.layers or values.ndim != 2 or values.shape[0] != len(line.layers) or not values.shape[1]:
        raise InputError(
            f"Expected {name} of {line.name!r} with shape ({len(line.layers)} layers, pictures) "
            f"but got {values.shape}."
        )
    if not np.isfinite(values).any(axis=1).all():
        layer = line.layers[int(np.argmin(np.isfinite(values).any(axis=1)))]
        raise InputError(
            f"Expected finite values at every layer but {line.name!r} has no {name} at {layer!r}."
        )
    return values


def _mean(values: Array) -> Array:
    return np.asarray(np.nanmean(values, axis=1))


def _quartiles(values: Array) -> Array:
    """(3, layers): lower quartile, median, upper quartile."""
    return np.asarray(np.nanquantile(values, (0.25, 0.5, 0.75), axis=1))


def _span(ratios: Sequence[Array]) -> tuple[float, float]:
    """The axis that holds bands and medians, 0 and 1, and means that go little beyond."""
    bands = np.concatenate([_quartiles(r).ravel() for r in ratios])
    low, high = min(0.0, float(bands.min())), max(1.0, float(bands.max()))
    slack = 0.25 * (high - low)
    means = np.concatenate([_mean(r) for r in ratios])
    near = means[(means >= low - slack) & (means <= high + slack)]
    pad = 0.03 * (high - low)
    low, high = min(low, float(near.min(initial=0))), max(high, float(near.max(initial=0)))
    return low - pad if low < 0 else 0.0, high + pad


def _curve(axes: Axes, values: Array, index: int) -> None:
    low, middle, high = _quartiles(values)
    xs = np.linspace(0, 1, len(values)) if len(values) > 1 else np.array([0.5])
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    axes.fill_between(xs, low, high, color=colour, alpha=0.14, linewidth=0, zorder=2)
    axes.plot(xs, _mean(values), color=colour, linewidth=0.9, linestyle=(0, (4, 2)), zorder=3)
    axes.plot(
        xs, middle, color=colour, linewidth=1.8, marker=marker, markersize=4.2, markeredgewidth=0, zorder=4
    )  # fmt: skip


def _ticks(layers: Sequence[str]) -> tuple[list[tuple[float, str]], int]:
    """Layers' names with their places from 0 to 1, as many as there is room for, and the pixels they need."""
    texts, _ = fit(layers, 120, SMALL)
    step = math.ceil(len(texts) * height(SMALL) / _PANEL)
    xs = np.linspace(0, 1, len(texts)).tolist() if len(texts) > 1 else [0.5]
    kept = list(zip(xs, texts, strict=True))[::step]
    widest = max(width(text, SMALL) for _, text in kept) * POINT
    return kept, math.ceil(widest / math.sqrt(2)) + height(SMALL)


def _legend(page: Canvas, figure: Figure, names: Sequence[str], top: int) -> None:
    x, y = float(MARGIN), top + NAME * POINT
    for k, name in enumerate(names):
        middle = y - 0.36 * NAME * POINT
        page.line(figure, (x, x + 26), (middle, middle), COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)])
        page.mark(figure, x + 36, y, name, NAME)
        x += 36 + width(name, NAME) * POINT + 30
