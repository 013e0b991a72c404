"""Bias in pictures: whose it is, where it works, and what the maps of each layer leave to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InputError
from relprop.viz.canvas import FAINT, MARGIN, NAME, POINT, SMALL, Canvas, height, value_axis
from relprop.viz.labels import number
from relprop.viz.panels import Panel, PanelRow, draw_panels
from relprop.viz.picture import Under
from relprop.viz.scale import CLIP, Scale
from relprop.viz.text import style, width, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BiasBar",
    "LayerMaps",
    "affine_layers_figure",
    "bias_maps_figure",
    "bias_owners_figure",
]

Array = NDArray[np.float64]

_WIDE, _GAP = 1336, 56  # width of the ledger and of the space between its columns, in pixels
_COLUMN = 600  # width of a column where there are several
_LABEL, _VALUE = 260, 74  # of a row's name and number
_ROW = 18  # height of a row of the ledger
_MOST_ROWS = 60  # rows in a column of it
_FOR, _AGAINST = "#c0392f", "#2b62b5"
_FOR_PALE, _AGAINST_PALE = "#eba59d", "#a3bfe6"
_TOTAL, _INPUT = "#444444", "#8a8a8a"


@dataclass(frozen=True)
class BiasBar:
    """A part of a score's bias: the module it comes from, "bias", "batch norm" or another kind, how much."""

    name: str
    kind: str
    amount: float


@dataclass(frozen=True)
class LayerMaps:
    """What one layer's values say about a score.

    Attributes:
        layer: its name.
        contribution: (h, w): W * X summed over channels; it sums to F - b.
        grad_cam: (h, w): Grad-CAM at the same layer.
        bias: b.
        share: |b| / (|b| + sum |W X|), the sum over all channels and places.
    """

    layer: str
    contribution: ArrayLike
    grad_cam: ArrayLike
    bias: float
    share: float


def bias_owners_figure(
    owners: Sequence[BiasBar], score: float, input_part: float, *, title: str = "How the score is made"
) -> Figure:
    """Draw a score as a sum: the input's part, then each layer's bias, each bar from where the last one ended.

    Dark bars are biases, pale ones the biases hidden in batch norms, outlined ones other kinds (constants, what
    passes by the layer). Red adds, blue takes away. Long networks go on in further columns, on one scale.

    Args:
        owners: parts of b in order of execution.
        score: F.
        input_part: sum of W * X.
        title: line on top.

    Raises:
        InputError: if the parts don't add up to the score, or one is not finite.
    """
    amounts = [input_part, *(o.amount for o in owners)]
    if not all(math.isfinite(v) for v in [score, *amounts]):
        raise InputError("Expected finite parts of the score but got NaN or infinity among them.")
    total, size = math.fsum(amounts), math.fsum(map(abs, amounts))
    if abs(total - score) > _SLACK * size:
        raise InputError(
            f"Expected parts that add up to the score {score:.6g} but got {total:.6g}. "
            "Pass all owners of the bias, at one layer, of one sample."
        )
    starts = np.cumsum([0.0, *amounts])
    rows = [("input: Σ W·X", "input", 0.0, input_part)]
    rows += [(o.name, o.kind, float(s), o.amount) for o, s in zip(owners, starts[1:], strict=False)]
    rows.append(("= score F", "score", 0.0, score))
    across = math.ceil(len(rows) / _MOST_ROWS)
    tall = math.ceil(len(rows) / across)
    wide = _WIDE if across == 1 else _COLUMN
    span = max(_WIDE, across * wide + (across - 1) * _GAP)
    page = Canvas(2 * MARGIN + span, title)
    lines = wrap(_summary(owners, score, input_part), span / POINT, NAME, 2, "bold")
    page.words(MARGIN, page.top, lines, NAME, "bold")
    top = page.top + len(lines) * height(NAME) + 12
    page.top = top + tall * _ROW + height(SMALL) + 22
    kinds = {o.kind for o in owners}
    page.caption(
        [
            "Read downwards: every bar starts where the one before ended. Red adds to the score, blue takes away.",
            "Dark: biases of convolutions and linear layers." if "bias" in kinds else "",
            "Pale: biases hidden in batch norms, β − μγ/√(var + ε)." if "batch norm" in kinds else "",
            f"Outlined: {', '.join(sorted(kinds - {'bias', 'batch norm'}))}."
            if kinds - {"bias", "batch norm"}
            else "",
            "The amount of a bias is its value times the score's gradient there; they sum to b.",
        ]
    )
    figure = page.figure()
    for c in range(across):
        part = rows[c * tall : (c + 1) * tall]
        _ledger(page, figure, part, starts, tall, MARGIN + c * (wide + _GAP), wide, top, c)
    return figure


#: Parts may miss the score by this share of their magnitudes: float32 runs do, forgotten owners miss by more.
_SLACK = 1e-4


def _summary(owners: Sequence[BiasBar], score: float, input_part: float) -> str:
    sums: dict[str, float] = {}
    for owner in owners:
        sums[owner.kind] = sums.get(owner.kind, 0.0) + owner.amount
    b = math.fsum(sums.values())
    say = _sayer([score, input_part, b])
    kinds = " and ".join(f"{kind} {say(v)}" for kind, v in sums.items())
    parts = f" ({kinds})" if len(sums) > 1 else ""
    return f"F = {say(score)} = input {say(input_part)} + b, with b = {say(b)}{parts}"


def _ledger(
    page: Canvas, figure: Figure, rows: Sequence[tuple[str, str, float, float]], starts: Array, tall: int,
    left: int, wide: int, top: int, index: int,
) -> None:  # fmt: skip
    """One column of the bars."""
    say = _sayer([max(map(abs, starts.tolist())), *(amount for *_, amount in rows)])
    names = [_end(name, (_LABEL - 12) / POINT) for name, *_ in rows]
    axes = page.axes(figure, left + _LABEL, top, wide - _LABEL - _VALUE, tall * _ROW, f"owners {index}")
    low, high = value_axis(axes, "x", starts.tolist(), None)
    axes.set(xlim=(low, high), ylim=(tall - 0.5, -0.5))
    axes.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    for k, (name, (_, kind, start, amount)) in enumerate(zip(names, rows, strict=True)):
        face, edge = _tones(kind, amount)
        axes.barh(k, amount, left=start, height=0.74, color=face, edgecolor=edge, linewidth=0.8, zorder=3)
        if kind != "score":  # a thread to where the next bar starts
            axes.plot([start + amount] * 2, [k, k + 1], color=FAINT, linewidth=0.5, zorder=2)
        y = top + (k + 0.5) * _ROW + SMALL * POINT * 0.36
        weight = "bold" if kind in ("input", "score") else "normal"
        page.mark(figure, left + _LABEL - 8, y, name, SMALL, align="right", weight=weight)
        page.mark(figure, left + wide, y, say(amount), SMALL, align="right", weight=weight)


def _tones(kind: str, amount: float) -> tuple[str, str]:
    """Face and edge of a bar."""
    if kind in ("input", "score"):
        colour = _INPUT if kind == "input" else _TOTAL
        return colour, colour
    dark, pale = (_FOR, _FOR_PALE) if amount > 0 else (_AGAINST, _AGAINST_PALE)
    if kind == "bias":
        return dark, dark
    return (pale, pale) if kind == "batch norm" else ("white", dark)


def _end(name: str, room: float) -> str:
    """A layer's name that fits: its end says more than its beginning, and whole parts more than cut ones."""
    if width(name, SMALL, "bold") <= room:
        return name
    starts = [k + 1 for k, c in enumerate(name) if c == "."] + list(range(1, len(name)))
    return next((f"…{name[k:]}" for k in starts if width(f"…{name[k:]}", SMALL) <= room), "…")


def affine_layers_figure(
    picture: Array,
    rows: Sequence[LayerMaps],
    *,
    title: str = "What each layer's values say about the score, and what they leave to the bias",
    scale: Scale = "symmetric",
    clip: float | None = CLIP,
    under: Under = "outlines",
) -> Figure:
    """Draw a row a layer: how the score is made there, the contribution map, its positive part, and Grad-CAM.

    Maps are resized to the picture for drawing, bilinearly.

    Args:
        picture: colours (H, W, 3) in 0-1.
        rows: layers in order.
        title: line on top.
        scale: ``"symmetric"`` (each map its own), ``"shared"`` or a number.
        clip: percentile for the end of the scale, None for the maximum.
        under: the picture's trace below the maps: ``"outlines"``, ``"grey"`` or ``"none"``.

    Raises:
        InputError: no layer, a share outside 0-1, NaN or infinite values.
    """
    if not rows:
        raise InputError("Expected at least one layer to draw but got none.")
    size = picture.shape[:2]
    drawn = [PanelRow([Panel(picture=picture, title="input"), None, None, None])]
    ledgers = []
    for row in rows:
        affine = np.asarray(row.contribution, dtype=np.float64)
        if not (0 <= row.share <= 1 and math.isfinite(row.bias)):
            got = f"{row.bias} and {row.share} at {row.layer!r}"
            raise InputError(f"Expected a finite bias and a share from 0 to 1 but got {got}.")
        # The paper drops negative contributions: those of the map, after the sum over channels.
        positive = affine.clip(min=0)
        ledgers.append([float(positive.sum()), float((affine - positive).sum()), row.bias])
        first = len(drawn) == 1
        heads = ("how F is made", "contribution W·X", "its positive part", "Grad-CAM") if first else [""] * 4
        share = f"bias share {100 * row.share:.0f} %"
        panels = [
            Panel(picture=np.ones((*size, 3)), title=heads[0], lines=(share,)),
            Panel(_resize(affine, size), picture, heads[1]),
            Panel(_resize(positive, size), picture, heads[2], signed=False),
            Panel(_resize(np.asarray(row.grad_cam), size), picture, heads[3], signed=False),
        ]
        drawn.append(PanelRow(panels, f"{row.layer} ({'×'.join(map(str, affine.shape))})"))
    notes = ["Maps resized to the picture for drawing."]
    figure = draw_panels(drawn, scale=scale, clip=clip, under=under, title=title, notes=notes, side=_SIDE)
    _explain(figure)
    # One scale for all: every layer's parts make the same score.
    ends = [v for parts in ledgers for v in np.cumsum([0.0, *parts]).tolist()]
    for r, parts in enumerate(ledgers, start=1):
        _parts(figure, f"picture-{r}-0", parts, min(ends), max(ends))
    return figure


_SIDE = 224  # least length in pixels of a panel's longer side

_READ = """\
At every layer the score is F = Σ W·X + b: X are the layer's values, W is the score's gradient there.
Bars: places that count for the score, places that count against it, and the bias b. Together they make F, the \
same at every layer. The maps can show only the first two.
The bias share |b| / (|b| + Σ|W·X|) counts contributions of all channels and both signs. It is small where they \
are large and cancel, even if b makes most of F.
"""


def _explain(figure: Figure) -> None:
    """How to read the page, beside the input."""
    box = _panel(figure, "picture-0-0").get_position()
    wide, tall = (float(v) for v in figure.bbox.size)
    left, room = box.x1 * wide + 24, (1 - box.x1) * wide - 24 - MARGIN
    y = (1 - box.y1) * tall + NAME * POINT
    for sentence in _READ.splitlines():
        for line in wrap(sentence, room / POINT, NAME, 4):
            figure.text(left / wide, 1 - y / tall, line, va="baseline", **style(NAME))
            y += height(NAME)
        y += 8


def _parts(figure: Figure, panel: str, parts: Sequence[float], low: float, high: float) -> None:
    """Bars on an empty panel: contributions for and against, the bias, and the score that they make."""
    axes = _panel(figure, panel)
    tall, wide = axes.images[0].get_array().shape[:2]  # type: ignore[union-attr]
    pad, line = 0.05 * wide, tall / 4
    unit = (wide - 2 * pad) / ((high - low) or 1.0)
    zero = pad - low * unit
    score = math.fsum(parts)
    say = _sayer([*parts, score])
    starts = [0.0, parts[0], parts[0] + parts[1], 0.0]
    bias = _FOR if parts[2] > 0 else _AGAINST
    rows = zip(
        ("for", "against", "bias b", "score F"), starts, (*parts, score),
        (_FOR_PALE, _AGAINST_PALE, bias, _TOTAL), strict=True,
    )  # fmt: skip
    limits = axes.get_xlim(), axes.get_ylim()
    for k, (name, start, value, colour) in enumerate(rows):
        weight = "bold" if k > 1 else "normal"
        base, middle = (k + 0.36) * line, (k + 0.66) * line
        axes.text(pad, base, name, va="baseline", **style(SMALL, weight))
        axes.text(wide - pad, base, say(value), ha="right", va="baseline", **style(SMALL, weight))
        axes.plot([zero, zero], [middle - 0.24 * line, middle + 0.24 * line], color=FAINT, linewidth=0.8)
        axes.barh(
            middle, value * unit, left=zero + start * unit, height=0.42 * line, color=colour,
            linewidth=0, zorder=3,
        )  # fmt: skip
    axes.set(xlim=limits[0], ylim=limits[1])


def _panel(figure: Figure, name: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_gid() == name)


def bias_maps_figure(
    picture: Array,
    maps: Sequence[tuple[BiasBar, ArrayLike]],
    *,
    title: str = "Where each layer's bias works",
    scale: Scale = "shared",
    clip: float | None = CLIP,
    under: Under = "outlines",
    across: int = 4,
) -> Figure:
    """Draw bias times gradient at each place of a layer, summed over channels: the bias as maps.

    Args:
        picture: colours (H, W, 3) in 0-1.
        maps: owners with their maps (h, w), in order; a map sums to its owner's amount.
        title: line on top.
        scale, clip, under: as for :func:`affine_layers_figure`.
        across: maps side by side.

    Raises:
        InputError: no map, NaN or infinite values.
    """
    if not maps:
        raise InputError("Expected at least one bias map to draw but got none.")
    panels = []
    say = _sayer([owner.amount for owner, _ in maps])
    for owner, values in maps:
        shown = np.asarray(values)
        # By the area that an element covers, so that coarse maps don't look stronger than fine ones.
        per_pixel = _resize(shown, picture.shape[:2]) * (shown.size / math.prod(picture.shape[:2]))
        panels.append(Panel(per_pixel, picture, owner.name, (f"{owner.kind} {say(owner.amount)}",)))
    rows = [PanelRow(panels[k : k + across]) for k in range(0, len(panels), across)]
    notes = ["Maps resized to the picture for drawing, as amounts per pixel of it."]
    return draw_panels(rows, scale=scale, clip=clip, under=under, title=title, notes=notes)


def _resize(values: Array, size: tuple[int, ...]) -> Array:
    if values.ndim != 2:
        raise InputError(f"Expected a map (h, w) to draw but got shape {values.shape}.")
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))[None, None]
    return np.asarray(F.interpolate(tensor, size=size, mode="bilinear", align_corners=False)[0, 0].numpy())


def _sayer(values: Sequence[float]) -> Callable[[float], str]:
    """Writes numbers of one table: all with as many decimals as give the largest three digits."""
    peak = max(map(abs, values), default=0.0)
    if not 1e-4 <= peak < 1e5:
        return lambda value: number(value).replace("-", "−")
    decimals = max(0, 2 - math.floor(math.log10(peak)))
    return lambda value: f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")
