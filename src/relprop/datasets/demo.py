"""The picture and the clip that come with the package: drawn for tests of the bundled models."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from relprop.datasets.motion import MotionClip, MotionClips
from relprop.datasets.scenes import Scene, Scenes
from relprop.errors import InputError, unknown_name

__all__ = ["demo_clip", "demo_clip_path", "demo_image_path", "demo_photo_path", "demo_scene"]

# Found by scripts/pick_demo_scene.py: both bundled models say yes to what is there and no to all else.
_SEED, _INDEX = 2024, 266
# By scripts/pick_demo_clip.py: the bundled network names the motion that decides.
_CLIP_SEED, _CLIP_INDEX = 2024, 43

_PHOTOS = {
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "motorcycle": "motorcycle_left.png",
}


def demo_scene() -> Scene:
    """Render the demo scene with its truth (boxes, masks, labels): objects of three classes.

    >>> len(set(demo_scene().names))
    3
    """
    return Scenes(size=112, n=_INDEX + 1, seed=_SEED, split="test")[_INDEX]


def demo_image_path() -> Path:
    """Path of `demo_scene()`'s picture as a PNG inside the package, 112 x 112 pixels.

    >>> demo_image_path().name
    'demo_scene.png'
    """
    return Path(str(files("relprop.datasets") / "demo_scene.png"))


def demo_clip() -> MotionClip:
    """Render the demo clip with its truth (masks, what moves): one of three pebbles decides its class.

    >>> demo_clip().kind
    'motion'
    """
    return MotionClips(n=_CLIP_INDEX + 1, seed=_CLIP_SEED, split="test")[_CLIP_INDEX]


def demo_clip_path() -> Path:
    """Path of `demo_clip()` as a film inside the package: a GIF of 16 frames, 48 x 48 pixels, 256 colours.

    >>> demo_clip_path().name
    'demo_clip.gif'
    """
    return Path(str(files("relprop.datasets") / "demo_clip.gif"))


def demo_photo_path(name: str = "chelsea") -> Path:
    """Path of a photograph that comes with scikit-image (relprop[photo]).

    Args:
        name: "chelsea" (a cat) or "coffee" (a cup), CC0 by their photographers; "rocket" (a launch), released into
            the public domain by SpaceX; "motorcycle", of the Middlebury 2014 stereo benchmark, which states no
            licence: fit for looking at, not for handing on.

    Raises:
        UnknownNameError: another name; the text lists them.
        InputError: scikit-image isn't installed, or comes without the file.
    """
    if name not in _PHOTOS:
        raise unknown_name("photograph", name, _PHOTOS)
    spec = find_spec("skimage")
    path = Path(next(iter((spec and spec.submodule_search_locations) or [""]))) / "data" / _PHOTOS[name]
    if spec is None or not path.is_file():
        raise InputError(
            f"Expected scikit-image, which brings the photograph {_PHOTOS[name]}, but it is not installed: "
            'pip install "relprop[photo]".'
        )
    return path
