"""Inline: an explanation in a notebook, as HTML with sliders, as a PIL picture, on axes of the user's own."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.checks import check_index
from relprop.errors import InputError
from relprop.explanation.sheet import (
    MOST_SAMPLES,
    Shown,
    ledger_note,
    maps_of,
    said_of,
    target_name,
    where_drawn,
)
from relprop.viz.axes import check_axes, colormap_of, draw_map, drawn_map
from relprop.viz.labels import Labels
from relprop.viz.picture import Under, display_picture
from relprop.viz.scale import CLIP, Limit, Scale, limits
from relprop.viz.slider import slider_html

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["axes_figure", "explanation_html", "on_axes", "pil_picture", "strongest"]

_MOST = 8  # maps of a page of a notebook


def pil_picture(
    e: Shown,
    *,
    sample: int,
    target: int,
    frame: int | None,
    scale: Scale,
    clip: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    under: Under,
    cmap: str | Colormap | None,
) -> Image:
    """One map, a pixel of the picture for a pixel of the input: see `Explanation.to_pil`."""
    from PIL import Image

    values, picture, (limit,) = _one(e, sample, target, frame, scale, clip, mean, std)
    return Image.fromarray(drawn_map(values, limit, picture, under, colormap_of(cmap)))


def on_axes(
    e: Shown,
    ax: object,
    *,
    labels: Labels | None,
    scale: Scale,
    clip: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    under: Under,
    cmap: str | Colormap | None,
    title: str | None,
) -> Axes:
    """Draw the one map of an explanation into axes, and give them back.

    Raises:
        InputError: several maps, a clip, something else than axes, or as `Explanation.show`.
    """
    axes: Axes = check_axes(ax)
    if e.targets.numel() != 1:
        raise InputError(
            f"Expected one map for ax= but there are {e.targets.numel()}, one a sample and target. Explain one, "
            "or leave ax out for a page of all."
        )
    values, picture, (limit,) = _one(e, 0, 0, None, scale, clip, mean, std)
    head = f"{e.method}: {target_name(e, 0, 0, labels)}" if title is None else title
    draw_map(axes, values, limit, picture, under=under, cmap=colormap_of(cmap), title=head)
    return axes


def axes_figure(
    e: Shown,
    cmap: str | Colormap,
    *,
    labels: Labels | None = None,
    scale: Scale = "symmetric",
    clip: float | None = CLIP,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    most: int = MOST_SAMPLES,
    title: str | None = None,
) -> Figure:
    """A row per sample and a column per target in other colours than the library's, the input first.

    Raises:
        InputError: a clip, no such colormap, or as `Explanation.show`.
    """
    from relprop.viz.inline_figure import InlineFigure

    if most < 1:
        raise InputError(f"Expected most to be at least 1 but got {most}.")
    colours = colormap_of(cmap)
    maps = _maps(e)
    targets, samples = (min(n, most) for n in maps.shape[:2])
    places = [(k, n) for n in range(samples) for k in range(targets)]
    found = limits([maps[k, n] for k, n in places], scale, clip, signed=[e.signed] * len(places))
    figure = InlineFigure(figsize=(2.6 * (targets + 1), 2.6 * samples), layout="constrained")
    rows = figure.subplots(samples, targets + 1, squeeze=False)
    for n in range(samples):
        picture, _ = display_picture(e.input[n].movedim(e.channel_axis - 1, 0), mean, std)
        rows[n, 0].imshow(picture, interpolation="nearest")
        rows[n, 0].set_axis_off()
    for (k, n), limit in zip(places, found, strict=True):
        draw_map(rows[n, k + 1], maps[k, n], limit, cmap=colours, title=target_name(e, k, n, labels))
    warned = " · ⚠ " + " ".join(e.warnings) if e.warnings else ""
    figure.suptitle(
        (" · ".join(filter(None, [e.method, ledger_note(e)])) if title is None else title) + warned
    )
    return figure


def explanation_html(e: Shown, most: int = _MOST) -> str:
    """The maps of an explanation over their pictures, each with a slider, and what is said about them.

    Clips have no sliders: of these the strips of frames are drawn as one picture.

    Args:
        e: of pictures, see `Explanation`.
        most: maps at most; the page says how many there are.
    """
    maps = _maps(e)
    targets, samples = maps.shape[:2]
    places = [(k, n) for n in range(samples) for k in range(targets)][:most]
    found = limits([maps[k, n] for k, n in places], "symmetric", CLIP, signed=[e.signed] * len(places))
    figures = []
    for (k, n), limit in zip(places, found, strict=True):
        picture, _ = display_picture(e.input[n].movedim(e.channel_axis - 1, 0))
        name = target_name(e, k, n, None)
        about = " · ".join(
            filter(None, [f"sample {n}" if samples > 1 else "", f"for {name}", said_of(e, k, n)])
        )
        figures.append(
            slider_html(
                maps[k, n],
                np.asarray(np.rint(255 * picture), dtype=np.uint8),
                alt=f"Relevance by {e.method} for {name}: {strongest(maps[k, n])}.",
                picture_alt="The input that the network saw.",
                caption=about,
                limit=limit,
                width=240,
            )
        )
    head = " · ".join(filter(None, [e.method, ledger_note(e)]))
    said = [*(f"⚠ {text}" for text in e.warnings), *where_drawn(e), *e.notes]
    if len(places) < targets * samples:
        said.append(f"The first {len(places)} of {targets * samples} maps are drawn.")
    below = "".join(f"<p style='margin:4px 0'>{html.escape(text)}</p>" for text in said)
    return (
        f'<div class="relprop-explanation"><p style="margin:4px 0"><b>{html.escape(head)}</b></p>'
        f'<div style="display:flex;flex-wrap:wrap;gap:16px">{"".join(figures)}</div>{below}</div>'
    )


def strongest(values: NDArray[np.float64]) -> str:
    """Where a map is strongest, in words."""
    if not values.any():
        return "zero everywhere"
    y, x = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    word = "for" if values[y, x] > 0 else "against"
    return f"the strongest value speaks {word} it, at x {x}, y {y} of {values.shape[1]} × {values.shape[0]}"


def _maps(e: Shown) -> NDArray[np.float64]:
    maps = maps_of(e)
    if maps.ndim != 4:
        raise InputError(
            f"Expected pictures (N, C, H, W) but got an input of shape {tuple(e.input.shape)}. show() without ax= "
            "and cmap= draws clips as strips of frames."
        )
    return maps


def _one(
    e: Shown,
    sample: int,
    target: int,
    frame: int | None,
    scale: Scale,
    clip: float | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Limit]]:
    """A map (H, W), its picture (H, W, 3), and its scale, which is the whole clip's of a frame."""
    maps = maps_of(e)
    for name, index, count in (("sample", sample, maps.shape[1]), ("target", target, maps.shape[0])):
        check_index(name, index, count)
    if (frame is None) == (maps.ndim == 5):
        raise InputError(
            "Expected frame= to say which frame of the clip but got none."
            if frame is None
            else f"Expected no frame= for pictures but got {frame!r}."
        )
    values = maps[target, sample]
    found = limits([values], scale, clip, signed=[e.signed])
    picture, _ = display_picture(e.input[sample].movedim(e.channel_axis - 1, 0), mean, std)
    if frame is not None:
        check_index("frame", frame, len(values))
        values, picture = values[frame], picture[frame]
    return values, picture, found
