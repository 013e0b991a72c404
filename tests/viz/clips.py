"""A small separation of known numbers, and where words stand on a page."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from relprop.video.films import Films, reel
from relprop.video.separation import MotionSeparation
from relprop.viz import motion, motion_film, render
from relprop.viz.reel import film_limit

Array = NDArray[Any]


def separation(shape: tuple[int, ...] = (1, 6, 32, 40), k: int = 0, **changes: Any) -> MotionSeparation:
    """Random films (N, T, H, W), original = spatial + temporal; with k, that many targets."""
    g = torch.Generator().manual_seed(0)
    lead = (k,) if k else ()
    spatial, temporal = torch.randn(2, *lead, *shape, generator=g)
    targets = torch.arange(max(k, 1)).reshape(-1, 1).expand(-1, shape[0]).clone()
    fields: dict[str, Any] = {
        "original": spatial + temporal,
        "spatial": spatial,
        "temporal": temporal,
        "relevance": {},
        "outputs": torch.tensor([[2.5, -1.0, 0.0]]).repeat(shape[0], 1),
        "frozen_outputs": None,
        "targets": targets if k else targets[0],
        "method": "lrp-epsilon",
        "mode": "naive",
    }
    return MotionSeparation(**(fields | changes))


def flat(t: int, h: int, w: int) -> NDArray[np.uint8]:
    """Frames without outlines, each of one grey."""
    frames = np.empty((t, h, w, 3), dtype=np.uint8)
    frames[:] = (10 + 3 * np.arange(t, dtype=np.uint8)).reshape(-1, 1, 1, 1)
    return frames


def panels(figure: Figure) -> dict[str, NDArray[np.uint8]]:
    """The pixels of every panel of the page, by name; the page is rendered once."""
    pixels = render(figure)
    found = {}
    for axes in figure.axes:
        box = axes.get_window_extent()
        left, right = round(box.x0), round(box.x1)
        top, bottom = round(pixels.shape[0] - box.y1), round(pixels.shape[0] - box.y0)
        found[str(axes.get_gid())] = pixels[top:bottom, left:right]
    return found


def check_words(figure: Figure) -> None:
    """No words overlap, lie over a picture, or leave the page."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    boxes = [t.get_window_extent(renderer) for t in figure.texts]
    pictures = [a.get_window_extent(renderer) for a in figure.axes if a.get_gid() != "curve"]
    for i, box in enumerate(boxes):
        text = figure.texts[i].get_text()
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width + 0.5, text
        assert box.y1 <= figure.bbox.height, text
        for other in [*boxes[:i], *pictures]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            along = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 1 or along <= 5, text


def motion_figure(s: Films, frames: Any, sample: int = 0, target: int = 0, **options: Any) -> Figure:
    """The figure of one clip of a separation or an explanation."""
    return motion.motion_figure(reel(s, frames, sample, target), **options)


def overlay_frames(s: Films, frames: Any, sample: int = 0, target: int = 0, **options: Any) -> Array:
    """Likewise the film."""
    return motion_film.overlay_frames(reel(s, frames, sample, target), **options)


def limit_of(s: Films, *size: int) -> float:
    """The end of the scale that both draw films (T, H, W) with."""
    return film_limit(reel(s, flat(*size)).films).value
