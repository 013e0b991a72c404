"""A picture with everything that a detector found in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from relprop.viz.canvas import COLOURS
from relprop.viz.detection_frame import Frame, Outline, draw_outlines
from relprop.viz.page import Line, Slot, compose

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["detections_figure"]

_LEAST, _MOST = 720, 1600  # pixels of the picture's longer side: words need room
_NAMED = 15  # beyond so many boxes each has its number, and the words stand below
_NUMBERED = 40  # so many have numbers; the others stand back, in thin lines
_WORDS = 7.5  # points


def detections_figure(
    picture: Image.Image, boxes: Sequence[Sequence[float]], names: Sequence[str], title: str
) -> Figure:
    """Draw boxes on a picture at its own resolution, each with its words beside it.

    Small pictures are enlarged and very large ones reduced. Labels stand apart; many boxes have their numbers on
    the picture and their words below, and of very many the best alone.

    Args:
        picture: what the boxes lie on.
        boxes: x0, y0, x1, y1 in its pixels.
        names: of each, such as "3: dog 0.61".
        title: line on top.
    """
    longer = max(picture.size)
    size = picture.size[::-1]
    side = min(_MOST, max(longer, _LEAST))
    view = Frame(size, size, (0, 0, size[1], size[0])).view((side, side))
    pixels = np.asarray(np.rint(view.photo(picture).clip(0, 1) * 255), dtype=np.uint8)
    named = len(boxes) <= _NAMED
    below = "" if named else " · ".join(name.replace(" ", "\u00a0") for name in names)
    if len(boxes) > _NUMBERED:
        below += f". Thin: all but the first {_NUMBERED}."
    figure = compose(
        [Line([Slot(pixels, "picture-0-0")])], title=title, caption=below, limits=[], least=200, words=_WORDS
    )
    outlines = [
        Outline(
            view.boxes(box).tolist(),
            name if named else str(i) if i < _NUMBERED else "",
            thick=1.3 if named else 1.0 if i < _NUMBERED else 0.4,
            colour=COLOURS[i % len(COLOURS)] if i < _NUMBERED else "#444444",
        )
        for i, (box, name) in enumerate(zip(boxes, names, strict=True))
    ]
    draw_outlines(figure, "picture-0-0", outlines[::-1], _WORDS)  # the best over the others
    return figure
