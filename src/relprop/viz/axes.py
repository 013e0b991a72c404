"""Axes: one map on matplotlib axes of the user's own, in colours of their choice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.viz.colour import matplotlib_colormap
from relprop.viz.overlay import overlay
from relprop.viz.picture import Under
from relprop.viz.scale import Limit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

__all__ = ["check_axes", "colormap_of", "draw_map", "drawn_map"]


def colormap_of(cmap: str | Colormap | None) -> Colormap | None:
    """A colormap by name, or as it is; None for the library's own colours.

    Raises:
        InputError: no colormap of that name, or something else.
    """
    if cmap is None:
        return None
    from matplotlib import colormaps
    from matplotlib.colors import Colormap

    if isinstance(cmap, Colormap):
        return cmap
    if isinstance(cmap, str) and cmap in colormaps:
        return colormaps[cmap]
    raise InputError(
        f"Expected cmap to be a matplotlib colormap or the name of one, such as 'seismic', but got {cmap!r:.60}."
    )


def check_axes(ax: object) -> Axes:
    """The axes, if they are matplotlib's.

    Raises:
        InputError: they are something else.
    """
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise InputError(
            f"Expected ax to be matplotlib axes but got {type(ax).__name__}. Take one of figure.subplots()."
        )
    return ax


def drawn_map(
    values: NDArray[np.floating],
    limit: Limit,
    picture: NDArray[np.float64] | None = None,
    under: Under = "outlines",
    cmap: Colormap | None = None,
) -> NDArray[np.uint8]:
    """A map's pixels, (H, W, 3) uint8.

    Args:
        values: relevance (H, W).
        limit: its scale.
        picture: colours (H, W, 3) in 0-1 whose trace is seen through the library's own colours.
        under: that trace, as for :func:`relprop.viz.overlay`.
        cmap: other colours, over the whole scale, without a trace: zero needn't be white in them.

    Raises:
        InputError: on NaN or infinite relevance.
    """
    if cmap is None:
        return overlay(values, limit.value, picture, under)
    low = -limit.value if limit.signed else 0.0
    span = limit.value - low
    shares = (np.clip(values, low, limit.value) - low) / span if span else np.full(values.shape, 0.5)
    return np.asarray(np.rint(255 * cmap(shares)[..., :3]), dtype=np.uint8)


def draw_map(
    ax: Axes,
    values: NDArray[np.floating],
    limit: Limit,
    picture: NDArray[np.float64] | None = None,
    *,
    under: Under = "outlines",
    cmap: Colormap | None = None,
    title: str = "",
    bar: bool = True,
) -> None:
    """Draw a map into axes, with a colour bar beside it.

    Args:
        ax: where; ticks are taken away.
        values, limit, picture, under, cmap: as for :func:`drawn_map`.
        title: above it.
        bar: whether the colour bar is drawn.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    ax.imshow(drawn_map(values, limit, picture, under, cmap), interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    if title:
        ax.set_title(title)
    if bar and limit.value > 0:
        low = -limit.value if limit.signed else 0.0
        shown = matplotlib_colormap() if cmap is None else cmap
        if cmap is None and not limit.signed:
            from matplotlib.colors import ListedColormap

            shown = ListedColormap(shown(np.linspace(0.5, 1, 256)))
        mappable = ScalarMappable(Normalize(low, limit.value), shown)
        ax.figure.colorbar(mappable, ax=ax, label="relevance", fraction=0.046, pad=0.04)
