"""Contact sheets: pictures and targets down, methods across; and the figure of one explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relprop.errors import InputError
from relprop.explanation.warned import all_zero
from relprop.viz.labels import Labels, class_name, number
from relprop.viz.picture import Under, display_picture
from relprop.viz.scale import CLIP, Scale
from relprop.viz.sheet import SheetMap, SheetRow, sheet_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "MOST_SAMPLES",
    "Shown",
    "combination",
    "contact_sheet",
    "explanation_figure",
    "ledger_note",
    "maps_of",
    "said_of",
    "target_name",
    "where_drawn",
]

#: Samples (and targets) of one explanation that are drawn unless more are asked for; the picture says so.
MOST_SAMPLES = 8
_HOSTILE = 3  # hostile classes that are named below a map


class Shown(Protocol):
    """What is drawn of an explanation."""

    @property
    def input(self) -> Tensor:
        """(N, C, *spatial)."""

    @property
    def outputs(self) -> Any:
        """What the model returned."""

    @property
    def targets(self) -> Tensor:
        """(N,) or (K, N)."""

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def ledger(self) -> Any:
        """Where the relevance went."""

    @property
    def at(self) -> str:
        """Where the relevance lives."""

    @property
    def extras(self) -> dict[str, Any]:
        """What else the method reports."""

    @property
    def relevance(self) -> Tensor:
        """(N, ...) or (K, N, ...)."""

    @property
    def signed(self) -> bool:
        """False where there are no negative values."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against the map."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know besides."""

    @property
    def channel_axis(self) -> int:
        """The axis of the input that holds the colours."""

    def heatmap(self) -> Tensor:
        """(N, *spatial) or (K, N, *spatial)."""


def contact_sheet(
    explanations: Sequence[Shown] | Sequence[Sequence[Shown]],
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
    rows: list[SheetRow] = []
    remarks: list[str] = []
    for line in table:
        _check_row(line)
        heads = list(columns) if columns is not None else [e.method for e in line]
        maps = [maps_of(e) for e in line]
        below = [ledger_note(e) if notes and _single(e) else "" for e in line]
        marks = ["⚠ see the warning below" if e.warnings else "" for e in line]
        first = line[0]
        clips = first.input.dim() == 5
        for n in range(first.input.shape[0]):
            picture, remark = display_picture(first.input[n].movedim(first.channel_axis - 1, 0), mean, std)
            remarks.append(remark)
            for k in range(maps[0].shape[0]):
                words = tuple(filter(None, _about(first, k, n, labels, probability)))
                shown = [
                    SheetMap(
                        values[k, n],
                        head if clips or not rows else "",
                        tuple(
                            filter(
                                None,
                                [_explained(e, k, n), "" if clips else _against(e, k, n, labels), note, mark],
                            )
                        ),
                        e.signed,
                    )
                    for e, values, head, note, mark in zip(line, maps, heads, below, marks, strict=True)
                ]
                if clips:
                    rows.append(SheetRow(picture, shown, "input", (", ".join(words),), step=_step(first)))
                else:
                    rows.append(SheetRow(picture, shown, "" if rows else "input", words, bold=True))
    remarks += [
        f"relevance of {head} at {e.at}, resized to the input for drawing"
        for line in table
        for head, e in zip(columns or [e.method for e in line], line, strict=True)
        if e.at != "input"
    ]
    said = [
        (e, head) for line in table for e, head in zip(line, columns or [e.method for e in line], strict=True)
    ]
    warned = [f"⚠ {head}: {text}" for e, head in said for text in e.warnings]
    noted = [text for e, _ in said for text in e.notes]
    sentences = [*dict.fromkeys(warned), *_sentences(remarks), *dict.fromkeys(noted)]
    return sheet_figure(rows, scale=scale, clip=clip, under=under, title=title, notes=sentences)


def explanation_figure(
    e: Shown,
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
    maps = maps_of(e)
    targets, samples = maps.shape[:2]
    remarks: list[str] = []
    capped: list[str] = []
    if samples > most:
        capped.append(f"The first {most} of {samples} samples are drawn.")
    if targets > most:
        capped.append(f"The first {most} of {targets} targets are drawn.")
    clips = e.input.dim() == 5
    rows: list[SheetRow] = []
    for n in range(min(samples, most)):
        picture, remark = display_picture(e.input[n].movedim(e.channel_axis - 1, 0), mean, std)
        remarks.append(remark)
        shown = [
            SheetMap(
                maps[k, n],
                ", ".join(filter(None, _about(e, k, n, labels, None))),
                tuple(filter(None, [_explained(e, k, n), "" if clips else _against(e, k, n, labels)])),
                e.signed,
            )
            for k in range(min(targets, most))
        ]
        rows.append(SheetRow(picture, shown, f"sample {n}" if samples > 1 else "input", step=_step(e)))
    if title is None:
        title = " · ".join(
            filter(None, [e.method, ledger_note(e), "⚠ see the warning below" if e.warnings else ""])
        )
    sentences = [
        *(f"⚠ {text}" for text in e.warnings),
        *where_drawn(e),
        *_sentences(remarks),
        *capped,
        *e.notes,
    ]
    return sheet_figure(rows, scale=scale, clip=clip, under=under, title=title, notes=sentences)


def where_drawn(e: Shown) -> list[str]:
    """That the map lives at a layer, and was resized, where it was."""
    return [] if e.at == "input" else [f"Relevance at {e.at}, resized to the input for drawing."]


def ledger_note(e: Shown) -> str:
    """The ledger's verdict in a line, shares of the start relevance over all maps; "" without a ledger."""
    if e.ledger is None:
        return ""
    if not e.ledger.closes:
        return f"does not add up: error\u00a0{number(e.ledger.max_error)}"
    if all_zero(e.relevance):
        return "nothing to add up"
    summary = e.ledger.summary()
    word = combination(e)
    lead = f"adds up before the {word}: " if word else "adds up: "
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
    empty = int((~e.relevance.flatten(e.targets.dim()).any(-1)).sum())
    return lead + ", ".join([*parts, *([f"{empty}\u00a0all\u00a0zero"] if empty else [])])


def combination(e: Shown) -> str:
    """What made the map of two, where its ledger is that of what it was made of: "contrast", "product", or ""."""
    if e.ledger is None or "ledger_of" not in e.extras:
        return ""
    return str(e.extras.get("combined", "contrast"))


def target_name(e: Shown, k: int, n: int, labels: Labels | None) -> str:
    """The name of target ``k`` of sample ``n``: from ``labels``, else ``class 17``.

    Raises:
        InputError: if labels is a list with fewer names than the target's index needs.
    """
    asked = getattr(e, "asked", ())
    return asked[k] if asked else class_name(int(e.targets.reshape(-1, e.targets.shape[-1])[k, n]), labels)


def _step(e: Shown) -> str:
    """What a step of a clip is called: volumes of one channel, such as scans, have slices."""
    return "slice" if e.input.dim() == 5 and e.input.shape[e.channel_axis] == 1 else "frame"


def _about(e: Shown, k: int, n: int, labels: Labels | None, probability: str | None) -> tuple[str, str]:
    """Which class target k of sample n is, and what the model said about it."""
    return f"for {target_name(e, k, n, labels)}", said_of(e, k, n, probability)


def _against(e: Shown, k: int, n: int, labels: Labels | None) -> str:
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


def _explained(e: Shown, k: int, n: int) -> str:
    """The value that was explained in the place of the output; "" where it is the output itself."""
    value = e.extras.get("explained_value")
    if not isinstance(value, Tensor) or value.shape != e.targets.shape:
        return ""
    return f"explained:\u00a0{float(value.reshape(-1, value.shape[-1])[k, n]):.3g}".replace("-", "−")


def said_of(e: Shown, k: int, n: int, probability: str | None = None) -> str:
    """What the model said about target k of sample n."""
    outputs = e.outputs
    if not (isinstance(outputs, Tensor) and outputs.dim() == 2 and outputs.is_floating_point()):
        return ""
    if getattr(e, "asked", ()):
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
    explanations: Sequence[Shown] | Sequence[Sequence[Shown]],
) -> list[list[Shown]]:
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


def _check_row(line: Sequence[Shown]) -> None:
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


def maps_of(e: Shown) -> NDArray[np.float64]:
    """The maps of one explanation as (K, N, *spatial) in float64."""
    if e.input.dim() not in (4, 5):
        raise InputError(
            f"Expected pictures (N, C, H, W) or clips (N, C, T, H, W) to draw but got an input of shape "
            f"{tuple(e.input.shape)}. Read .relevance and draw it yourself."
        )
    heat = e.heatmap().detach().to("cpu").double()
    return heat.reshape(-1, e.input.shape[0], *heat.shape[e.targets.dim() :]).numpy()


def _single(e: Shown) -> bool:
    # A ledger sums over samples and targets: below one map it says something only if it is that map's.
    return e.targets.numel() == 1


def _sentences(remarks: Sequence[str]) -> list[str]:
    return [remark[0].upper() + remark[1:] + "." for remark in dict.fromkeys(remarks) if remark]
