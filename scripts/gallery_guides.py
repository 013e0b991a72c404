"""Pictures of the guides: what a scale does, what a data set holds, what else may be asked."""

from __future__ import annotations

from collections.abc import Iterator

from gallery_made import Made
from gallery_methods import explained, map_of, photograph
from gallery_tiles import Tile, sheet
from PIL import Image

from relprop.models.sources import load_model
from relprop.viz import display_picture

__all__ = ["pictures"]


def pictures() -> Iterator[Made]:
    """A page's picture each."""
    yield Made("scales", "one map, with its colours ending at four values", _scales)


def _scales() -> Image.Image:
    loaded = load_model("efficientnet-lite0")
    e = explained("efficientnet-lite0", photograph("chelsea"), "lrp-composite", "Egyptian cat")
    shown, _ = display_picture(e.input[0], loaded.mean, loaded.std)
    ends = {"largest value": None, "99.5th percentile": 99.5, "90th percentile": 90}
    row = [Tile(shown), *(Tile(shown, map_of(e), clip=clip) for clip in ends.values())]
    return sheet([row], ["Egyptian cat", *ends])
