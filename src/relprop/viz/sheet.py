"""Contact sheets: pictures and targets down, methods across; and the figure of one explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relprop.errors import InputError
from relprop.viz.labels import Labels, class_name
from relprop.viz.panels import Panel, Row, draw_panels
from relprop.viz.picture import Under, display_picture
from relprop.viz.scale import CLIP, Scale, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relprop.explanation import Explanation

__all__ = ["MOST_SAMPLES", "contact_sheet", "explanation_figure", "ledger_note"]

#: Samples (and targets) of one explanation that are drawn unless more are asked for; the picture says so.
MOST_SAMPLES = 8
#: Frames of a clip that are drawn, evenly spaced from the first to the last.
MOST_FRAMES = 8
_HOSTILE = 3  # hostile classes that are named below a map


def contact_sheet(
    explanations: Sequence[Explanation] | Sequence[Sequence[Explanation]],
    *,
    labels: Labels | None = None,
    scale: Scale = "symmetric",
    clip: float | None = CLIP,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    under: Under = "outlines",
    probability: Literal["softmax", "sigmoid"] | None = None,
    columns: Sequence[str] | None = None,
    notes: bool = True,
    title: str | None = None,
) -> Figure:
    """Draw pictures × methods on one page.

    Args:
        explanations: a row per picture (or one row alone), in it one explanation per method, all of the
            same input and targets. K targets or N samples in them make K·N rows. Of clips
            (N, C, T, H, W) each method becomes a strip of frames.
        labels: class names by index.
        scale: ``"symmetric"`` per map, ``"shared"`` over the sheet, or a number.
        clip: percentile for the end of the colour scale; None for the maximum.
        mean, std: per channel, to show the input in its own colours.
        under: the trace of the picture below a map: ``"outlines"``, ``"grey"``, ``"none"``.
        probability: how the outputs become the stated p; None states the output itself.
        columns: titles above the columns; the methods' names by default.
        notes: whether the ledger's verdict stands below each map.
        title: line on top of the page.

    Returns:
        A matplotlib figure outside pyplot. Save it with :func:`relprop.viz.save_figure`.

    Raises:
        InputError: if nothing is given, explanations of one row differ in input or targets, names or
            titles are missing, or a value is NaN or infinite.
    """
    table = _table(explanations)
    if columns is not None and len(columns) != len(table[0]):
        raise InputError(f"Expected {len(table[0])} column titles, one a method, but got {len(columns)}.")
    clips = table[0][0].input.dim() == 5
    rows: list[Row] = []
    remarks: list[str] = []
    for line in table:
        _check_row(line)
        heads = list(columns) if columns is not None else [e.method for e in line]
        maps = [_maps(e) for e in line]
        first = line[0]
        for n in range(first.input.shape[0]):
            picture, remark = display_picture(first.input[n], mean, std)
            remarks.append(remark)
            for k in range(maps[0].shape[0]):
                named = f"for {target_name(first, k, n, labels)}"
                said = _said(first, k, n, probability)
                below = [ledger_note(e) if notes and _single(e) else "" for e in line]
                if clips:
                    rows += _strips(
                        picture, maps, heads, line, k, n, ", ".join(filter(None, [named, said])), below
                    )
                    continue
                panels: list[Panel | None] = [
                    Panel(
                        picture=picture,
                        title="" if rows else "input",
                        lines=tuple(filter(None, [named, said])),
                        bold=True,
                    )
                ]
                for e, values, head, note in zip(line, maps, heads, below, strict=True):
                    panels.append(
                        Panel(
                            values[k, n],
                            picture,
                            "" if rows else head,
                            tuple(filter(None, [_against(e, k, n, labels), note])),
                            e.signed,
                        )
                    )
                rows.append(Row(panels))
    remarks += [
        f"relevance of {head} at {e.at}, resized to the input for drawing"
        for line in table
        for head, e in zip(columns or [e.method for e in line], line, strict=True)
        if e.at != "input"
    ]
    return draw_panels(
        rows,
        scale=scale,
        clip=clip,
        under=under,
        title=title,
        notes=_sentences(remarks),
        side=112 if clips else 200,
    )


def explanation_figure(
    e: Explanation,
    *,
    labels: Labels | None = None,
    scale: Scale = "symmetric",
    clip: float | None = CLIP,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    under: Under = "outlines",
    most: int = MOST_SAMPLES,
    title: str | None = None,
) -> Figure:
    """Draw one explanation: a row per sample, the input first, then a column per target; clips as strips.

    At most ``most`` samples and ``most`` targets are drawn; the picture says how many there are. Arguments
    as for :func:`contact_sheet`.

    Raises:
        InputError: if the input is neither pictures nor clips, or a value is NaN or infinite.
    """
    if most < 1:
        raise InputError(f"Expected most to be at least 1 but got {most}.")
    maps = _maps(e)
    targets, samples = maps.shape[:2]
    remarks: list[str] = []
    capped: list[str] = []
    if samples > most:
        capped.append(f"The first {most} of {samples} samples are drawn.")
    if targets > most:
        capped.append(f"The first {most} of {targets} targets are drawn.")
    clips = e.input.dim() == 5
    rows: list[Row] = []
    for n in range(min(samples, most)):
        picture, remark = display_picture(e.input[n], mean, std)
        remarks.append(remark)
        shown = range(min(targets, most))
        named = [
            ", ".join(filter(None, [f"for {target_name(e, k, n, labels)}", _said(e, k, n, None)]))
            for k in shown
        ]
        name = f"sample {n}" if samples > 1 else "input"
        if clips:
            frames = _frames(picture.shape[0])
            rows.append(_picture_strip(picture, frames, name))
            rows += [_map_strip(maps[k, n], picture, frames, e.signed, named[k]) for k in shown]
            continue
        panels: list[Panel | None] = [Panel(picture=picture, title=name)]
        panels += [
            Panel(maps[k, n], picture, named[k], tuple(filter(None, [_against(e, k, n, labels)])), e.signed)
            for k in shown
        ]
        rows.append(Row(panels))
    if title is None:
        title = " · ".join(filter(None, [e.method, ledger_note(e)]))
    where = [] if e.at == "input" else [f"Relevance at {e.at}, resized to the input for drawing."]
    return draw_panels(
        rows,
        scale=scale,
        clip=clip,
        under=under,
        title=title,
        notes=[*where, *_sentences(remarks), *capped],
        side=112 if clips else 200,
    )


def ledger_note(e: Explanation) -> str:
    """The ledger's verdict in a line, shares of the start relevance over all maps; "" without a ledger."""
    if e.ledger is None:
        return ""
    if not e.ledger.closes:
        return f"does not add up: error\u00a0{number(e.ledger.max_error)}"
    summary = e.ledger.summary()
    start = float(summary.get("start", 0.0))
    # A contrast starts from relevance that sums to nearly nothing: shares of that would mean nothing.
    size = e.ledger.rows[0].absolute if e.ledger.rows else 0.0
    if abs(start) <= 0.01 * size:
        return "adds up"
    parts = []
    for key in ("input", "bias", "stabiliser", "lost"):
        share = 100 * float(summary.get(key, 0.0)) / start
        if key == "input" or abs(share) >= 0.05:
            where = f"at {e.at}" if key == "input" and e.at != "input" else key
            parts.append(f"{share:.1f}\u00a0%\u00a0".replace("-", "−") + where.replace(" ", "\u00a0"))
    return "adds up: " + ", ".join(parts)


def target_name(e: Explanation, k: int, n: int, labels: Labels | None) -> str:
    """The name of target ``k`` of sample ``n``: from ``labels``, else ``class 17``.

    Raises:
        InputError: if labels is a list with fewer names than the target's index needs.
    """
    return class_name(int(e.targets.reshape(-1, e.targets.shape[-1])[k, n]), labels)


def _against(e: Explanation, k: int, n: int, labels: Labels | None) -> str:
    """The hostile classes that target k of sample n was compared with, where the method names them."""
    hostile = e.extras.get("hostile")
    if not isinstance(hostile, Tensor) or hostile.dim() != e.targets.dim() + 1:
        return ""
    row = hostile.reshape(-1, *hostile.shape[-2:])[k, n]
    classes = row.nonzero()[:, 0].tolist()
    if not classes:
        return "against none"
    names = [class_name(c, labels) for c in classes[:_HOSTILE]]
    more = f" and {len(classes) - _HOSTILE} more" if len(classes) > _HOSTILE else ""
    return f"against {', '.join(names)}{more}"


def _said(e: Explanation, k: int, n: int, probability: str | None) -> str:
    """What the model said about target k of sample n."""
    outputs = e.outputs
    if not (isinstance(outputs, Tensor) and outputs.dim() == 2 and outputs.is_floating_point()):
        return ""
    index = int(e.targets.reshape(-1, e.targets.shape[-1])[k, n])
    row = outputs[n].detach().double().cpu()
    if not 0 <= index < row.numel():
        return ""
    if probability is None:
        return f"output\u00a0{float(row[index]):.3g}".replace("-", "−")
    if probability not in ("softmax", "sigmoid"):
        raise InputError(f"Expected probability 'softmax', 'sigmoid' or None but got {probability!r}.")
    p = float((row.softmax(0) if probability == "softmax" else row.sigmoid())[index])
    shown = "> 0.99" if p > 0.99 else f"= {p:.2f}" if p >= 0.01 else f"= {number(p)}"
    return f"p {shown}".replace(" ", "\u00a0")


def _table(
    explanations: Sequence[Explanation] | Sequence[Sequence[Explanation]],
) -> list[list[Explanation]]:
    rows = [list(row) if isinstance(row, Sequence) else [row] for row in explanations]
    if explanations and not isinstance(explanations[0], Sequence):
        rows = [[e for row in rows for e in row]]
    if not rows or not all(rows):
        raise InputError("Expected at least one explanation in every row of the sheet but got none.")
    if len({len(row) for row in rows}) > 1:
        raise InputError(
            f"Expected as many explanations in every row but got {[len(row) for row in rows]}. "
            "Explain each picture with the same methods."
        )
    return rows


def _check_row(line: Sequence[Explanation]) -> None:
    first = line[0]
    for e in line[1:]:
        if e.input.shape != first.input.shape or not torch.equal(e.input, first.input):
            raise InputError(
                f"Expected one input in a row but '{first.method}' and '{e.method}' explain different ones. "
                "Give each picture a row of its own."
            )
        if e.targets.shape != first.targets.shape or not torch.equal(e.targets, first.targets):
            raise InputError(
                f"Expected the same targets in a row but '{first.method}' has {first.targets.tolist()} and "
                f"'{e.method}' has {e.targets.tolist()}."
            )


def _maps(e: Explanation) -> NDArray[np.float64]:
    """The maps of one explanation as (K, N, *spatial) in float64."""
    if e.input.dim() not in (4, 5):
        raise InputError(
            f"Expected pictures (N, C, H, W) or clips (N, C, T, H, W) to draw but got an input of shape "
            f"{tuple(e.input.shape)}. Read .relevance and draw it yourself."
        )
    heat = e.heatmap().detach().to("cpu").double()
    return heat.reshape(-1, e.input.shape[0], *e.input.shape[2:]).numpy()


def _single(e: Explanation) -> bool:
    # A ledger sums over samples and targets: below one map it says something only if it is that map's.
    return e.targets.numel() == 1


def _frames(count: int) -> list[int]:
    return sorted({round(float(i)) for i in np.linspace(0, count - 1, min(count, MOST_FRAMES))})


def _picture_strip(picture: NDArray[np.float64], frames: Sequence[int], header: str) -> Row:
    return Row([Panel(picture=picture[t], lines=(f"frame {t}",)) for t in frames], header)


def _map_strip(
    values: NDArray[np.float64],
    picture: NDArray[np.float64],
    frames: Sequence[int],
    signed: bool,
    header: str,
) -> Row:
    panels = [
        Panel(values[t], picture[t], signed=signed, scale_from=values, show_scale=False) for t in frames
    ]
    return Row(panels, header, scale_in_header=True)


def _strips(
    picture: NDArray[np.float64],
    maps: Sequence[NDArray[np.float64]],
    heads: Sequence[str],
    line: Sequence[Explanation],
    k: int,
    n: int,
    named: str,
    below: Sequence[str],
) -> list[Row]:
    frames = _frames(picture.shape[0])
    rows = [_picture_strip(picture, frames, f"input · {named}")]
    for e, values, head, note in zip(line, maps, heads, below, strict=True):
        header = " · ".join(filter(None, [head, note]))
        rows.append(_map_strip(values[k, n], picture, frames, e.signed, header))
    return rows


def _sentences(remarks: Sequence[str]) -> list[str]:
    return [remark[0].upper() + remark[1:] + "." for remark in dict.fromkeys(remarks) if remark]
