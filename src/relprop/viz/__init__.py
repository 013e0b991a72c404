"""Drawing: colours, scales, overlays and contact sheets. Nothing here changes a number."""

from __future__ import annotations

from relprop.viz.colour import colourise, matplotlib_colormap
from relprop.viz.file import png_bytes, render, save_figure
from relprop.viz.overlay import overlay
from relprop.viz.panels import Panel, PanelRow, draw_panels
from relprop.viz.picture import display_picture
from relprop.viz.scale import CLIP, Limit, limits

__all__ = [
    "CLIP",
    "Limit",
    "Panel",
    "PanelRow",
    "colourise",
    "display_picture",
    "draw_panels",
    "limits",
    "matplotlib_colormap",
    "overlay",
    "png_bytes",
    "render",
    "save_figure",
]
