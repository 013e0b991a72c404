"""The picture and the clip that come with the package: drawn for tests of the bundled models."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from relprop.datasets.motion import MotionClip, MotionClips
from relprop.datasets.scenes import Scene, Scenes

__all__ = ["demo_clip", "demo_clip_path", "demo_image_path", "demo_scene"]

# Found by scripts/pick_demo_scene.py: both bundled models say yes to what is there and no to all else.
_SEED, _INDEX = 2024, 266
# By scripts/pick_demo_clip.py: the bundled network names the motion that decides.
_CLIP_SEED, _CLIP_INDEX = 2024, 43


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
