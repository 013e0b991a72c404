"""The public names, each with the module that holds it."""

from relprop.viz.colour import colourise as colourise
from relprop.viz.colour import matplotlib_colormap as matplotlib_colormap
from relprop.viz.file import png_bytes as png_bytes
from relprop.viz.file import render as render
from relprop.viz.file import save_figure as save_figure
from relprop.viz.flow import flow_figure as flow_figure
from relprop.viz.overlay import overlay as overlay
from relprop.viz.panels import Panel as Panel
from relprop.viz.panels import PanelRow as PanelRow
from relprop.viz.panels import draw_panels as draw_panels
from relprop.viz.picture import display_picture as display_picture
from relprop.viz.scale import CLIP as CLIP
from relprop.viz.scale import Limit as Limit
from relprop.viz.scale import limits as limits

__all__: list[str]
