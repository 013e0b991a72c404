"""Examples: pictures and clips that a page offers to open, as thumbnails."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from relprop.app.desk import Desk
from relprop.app.given import is_clip
from relprop.catalogue import DETECTORS, MODELS
from relprop.datasets.demo import demo_image_path, demo_photo_path
from relprop.datasets.scenes import Scenes
from relprop.errors import RelpropError
from relprop.models.pictures import read_picture
from relprop.models.sampling import Sampling
from relprop.video.clip import read_clip
from relprop.viz.embedded import embedded_picture

__all__ = ["CHOOSING", "Example", "examples", "thumbnails"]

_SIDE = 96  # pixels of a thumbnail
_PHOTOS = ("chelsea", "coffee", "rocket")
_DRAWN = "relprop.datasets.Scenes(size=112, n={n}, seed=2024, split='test')[{i}].image"
_SCENES = (3, 8)  # which drawn ones, beside the demo scene

#: A click on a thumbnail; the one that the app was started with is opened at once.
CHOOSING = """
const choose = one => trigger('select', {index: Number(one.dataset.example)});
element.addEventListener('click', e => {
  const one = e.target.closest('[data-example]');
  if (one) choose(one);
});
const first = element.querySelector('[data-first]');
if (first) choose(first);
"""


@dataclass(frozen=True)
class Example:
    """A picture or clip that is offered.

    Attributes:
        name: what stands below it.
        path: its file.
        code: Python that gives the picture, where its file goes when the app ends; "" where it stays.
    """

    name: str
    path: Path
    code: str = ""


def examples(desk: Desk, spec: str) -> list[Example]:
    """What a page offers: the pictures given on the command line, or those that fit the model."""
    if desk.pictures:
        return [Example(path.name, path) for path in desk.pictures]
    photos = []
    for name in _PHOTOS:
        try:
            photos.append(Example(name, demo_photo_path(name)))
        except RelpropError:  # scikit-image isn't installed
            break
    if spec not in MODELS and spec not in DETECTORS:
        return photos or [Example("demo scene", demo_image_path())]
    return [Example("demo scene", demo_image_path()), *_drawn(desk), *photos[:1]]


def _drawn(desk: Desk) -> list[Example]:
    folder = desk.folder / "examples"
    folder.mkdir(exist_ok=True)
    scenes = Scenes(size=112, n=max(_SCENES) + 1, seed=2024, split="test")
    found = []
    for i in _SCENES:
        path = folder / f"scene-{i}.png"
        if not path.exists():  # each tab offers it
            Image.fromarray(scenes[i].image).save(path)
        found.append(Example(f"scene {i}", path, _DRAWN.format(n=max(_SCENES) + 1, i=i)))
    return found


def thumbnails(offered: Sequence[Example], *, opens: bool) -> str:
    """The examples as buttons.

    Args:
        offered: what is shown.
        opens: whether the page opens the first at once.
    """
    parts = []
    for i, one in enumerate(offered):
        first = " data-first" if opens and i == 0 else ""
        parts.append(
            f'<button type="button" class="relprop-thumbnail" data-example="{i}"{first} '
            f'title="Open {html.escape(one.name)}">{_thumbnail(one.path)}'
            f"<span>{html.escape(one.name)}</span></button>"
        )
    return f'<div class="relprop-thumbnails">{"".join(parts)}</div>'


@cache
def _thumbnail(path: Path) -> str:
    """The picture of a file, which is decoded once for all tabs."""
    picture = _first_frame(path) if is_clip(path) else _picture(path)
    if picture is None:
        return ""  # said when it is opened
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return f'<img src="{embedded_picture(np.asarray(picture.convert("RGB")), side=_SIDE)}" alt="">'


def _picture(path: Path) -> Image.Image | None:
    try:
        return read_picture(path)
    except RelpropError:
        return None


def _first_frame(path: Path) -> Image.Image | None:
    try:
        return Image.fromarray(read_clip(path, Sampling(frames=1)).frames[0])
    except RelpropError:
        return None
