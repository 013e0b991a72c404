"""What in a clip is relevant by its looks and what because it moves: the figure of a separation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.viz.curve import CURVE_ROOM, draw_curves
from relprop.viz.labels import Labels, class_name, number
from relprop.viz.panels import Panel, PanelRow, draw_panels
from relprop.viz.reel import Reel, film_limit
from relprop.viz.scale import CLIP, Limit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["motion_figure", "strongest_row"]

_SIDE = 112  # least length in pixels of a frame's longer side
_LOW = 96  # least height in pixels of a slice


def motion_figure(
    clip: Reel,
    *,
    title: str | None = None,
    notes: Sequence[str] = (),
    names: Labels | None = None,
    scale: Literal["shared"] | float = "shared",
    columns: int = 8,
) -> Figure:
    """Draw one clip's frames above its films of relevance: original, spatial and temporal, or one alone.

    Below stand the sums of each frame's positive and negative relevance, and slices x-t of the clip and of
    the films along the row where the last film is strongest. All films have one scale.

    Args:
        clip: frames and films; `relprop.video.films.reel` makes it of a separation or an explanation.
        title: line on top; by default class, score, mode and method.
        notes: sentences that follow the caption.
        names: class names by index.
        scale: ``"shared"``, see :func:`relprop.viz.reel.film_limit`, or a number > 0.
        columns: frames that are drawn at most, evenly spaced from the first to the last.

    Returns:
        A matplotlib figure outside pyplot. Save it with :func:`relprop.viz.save_figure`.

    Raises:
        InputError: if names are missing, or a value is NaN or infinite.

    Source: Hiley et al. 2019 (films shown as frames over original, spatial and temporal relevance).
    """
    limit = film_limit(clip.films, scale)
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise InputError(f"Expected columns to be a whole number of at least 1 but got {columns!r}.")
    length, height, width = clip.frames.shape[:3]
    shown = sorted({round(float(t)) for t in np.linspace(0, length - 1, min(length, columns))})
    asked = "" if clip.target is None else class_name(clip.target, names)
    *_, last = clip.films
    chosen = last if clip.films[last].any() else next(iter(clip.films))
    row = strongest_row(clip.films[chosen])
    pictures = [clip.frames[t] / 255.0 for t in shown]
    rows = [
        PanelRow(
            [
                Panel(picture=picture, title=f"frame {t}", lines=_frozen(clip, t, names), bold=_kept(clip, t))
                for t, picture in zip(shown, pictures, strict=True)
            ],
            "frames",
        )
    ]
    for name, film in clip.films.items():
        panels = [_panel(film, film[t], picture, limit) for t, picture in zip(shown, pictures, strict=True)]
        total = f" · sum {_signed(film.sum())}{_percent(clip, name)}" if not clip.caution else ""
        room = CURVE_ROOM if name == last else 0
        rows.append(PanelRow(panels, f"{name}{total}", scale_in_header=True, room=room))
    rows.append(_slices(clip, row, limit, max(1, -(-_SIDE // max(height, width)))))
    if title is None:
        score = "" if clip.output is None else f", output {clip.output:.3g}".replace("-", "−")
        title = f"{asked}{score} · {clip.said}"
    if clip.warnings:
        title += " · ⚠ see the warning below"
    figure = draw_panels(
        rows,
        # All maps zero: there is no number to fix the scale at.
        scale=limit.value or "shared",
        title=title,
        notes=[
            *(f"⚠ {text}" for text in clip.warnings),
            *_explained(clip, limit, scale, chosen, row, asked),
            *notes,
        ],
        side=_SIDE,
    )
    above = [f"map-{len(clip.films)}-{c}" for c in range(len(shown))]
    draw_curves(figure, clip.films, above, shown, clip.caution)
    _mark(figure, row, height, len(shown))
    if clip.place is not None:
        _pin(figure, clip.place[shown], height)
    return figure


def strongest_row(film: NDArray[np.floating]) -> int:
    r"""The row y of a film (T, H, W) with the largest :math:`\sum_{t,x} |R_{tyx}|`.

    >>> strongest_row(np.array([[[0.0, 1.0], [-3.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]]))
    1
    """
    return int(np.abs(film).sum((0, 2)).argmax())


def _panel(
    film: NDArray[np.float64],
    values: NDArray[np.float64],
    picture: NDArray[np.float64] | None,
    limit: Limit,
    title: str = "",
) -> Panel:
    # The two ends of the film are enough for its largest value; the scale itself is fixed for the page.
    ends = np.array([film.min(), film.max()])
    return Panel(values, picture, title, signed=limit.signed, scale_from=ends, show_scale=False)


def _slices(clip: Reel, row: int, limit: Limit, grow: int) -> PanelRow:
    """The clip and its films along one row of pixels: x to the right, time down."""
    length, height = clip.frames.shape[:2]
    tall = -(-max(height * grow, _LOW) // length)

    def large(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values.repeat(tall, axis=0).repeat(grow, axis=1)

    panels = [Panel(picture=large(clip.frames[:, row] / 255.0), title="frames")]
    panels += [_panel(film, large(film[:, row]), None, limit, name) for name, film in clip.films.items()]
    return PanelRow(panels, f"row {row} over time: x →, time ↓")


def _mark(figure: Figure, row: int, height: int, count: int) -> None:
    """A thin line in the frames along the row of the slices."""
    from matplotlib.patheffects import withStroke

    for c in range(count):
        axes = next(a for a in figure.axes if a.get_gid() == f"picture-0-{c}")
        rows = axes.images[0].get_array().shape[0]  # type: ignore[union-attr]
        axes.axhline(
            (row + 0.5) / height * rows - 0.5,
            color="black",
            linewidth=0.5,
            path_effects=[withStroke(linewidth=1.4, foreground="white")],
            gid="row",
        )


def _pin(figure: Figure, places: NDArray[np.float64], height: int) -> None:
    """A cross in the frames at one place of the scene."""
    from matplotlib.patheffects import withStroke

    for c, (x, y) in enumerate(places):
        axes = next(a for a in figure.axes if a.get_gid() == f"picture-0-{c}")
        rows, columns = axes.images[0].get_array().shape[:2]  # type: ignore[union-attr]
        scale = rows / height
        if -0.5 <= y < height - 0.5 and -0.5 <= x < columns / scale - 0.5:
            axes.plot(
                [(x + 0.5) * scale - 0.5],
                [(y + 0.5) * scale - 0.5],
                color="white",
                marker="+",
                markersize=7,
                path_effects=[withStroke(linewidth=2.6, foreground="black")],
                gid="place",
            )


def _kept(clip: Reel, t: int) -> bool:
    return clip.frozen is not None and clip.frozen[t] == clip.target


def _frozen(clip: Reel, t: int, names: Labels | None) -> tuple[str, ...]:
    if clip.frozen is None:
        return ()
    return (("✓\u00a0" if _kept(clip, t) else "") + class_name(clip.frozen[t], names),)


def _signed(value: float) -> str:
    return number(float(value)).replace("-", "−")


def _percent(clip: Reel, name: str) -> str:
    part = clip.part(name)
    return "" if part is None else f" ({100 * part:.0f} %)"


def _explained(
    clip: Reel, limit: Limit, scale: Literal["shared"] | float, chosen: str, row: int, asked: str
) -> list[str]:
    sentences = []
    if scale == "shared" and limit.value > 0:
        several = f"all {len(clip.films)} films'" if len(clip.films) > 1 else "the film's"
        sentences.append(
            f"The scale ends at the {CLIP:g}th percentile of {several} non-zero |relevance|, over all frames."
        )
    sentences += clip.remarks
    if clip.frozen is not None:
        kept = sum(_kept(clip, t) for t in range(len(clip.frozen)))
        sentences.append(
            f"Below each frame: the class predicted when that frame stands still; ✓: the explained class "
            f"({asked}), {kept} of {len(clip.frozen)} frames."
        )
    if clip.place is not None:
        sentences.append("+ in the frames: one place of the scene, the middle of frame 0.")
    length, height = clip.frames.shape[:2]
    sentences.append(
        f"Row {row} of {height} (line in the frames) is where the {chosen} film is strongest, summed over "
        f"x and time; its slices run from frame 0 at the top to frame {length - 1}."
    )
    return sentences
