"""The picture that comes with the package: one test scene with objects of several classes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from relprop.datasets.scenes import Scene, Scenes

__all__ = ["demo_image_path", "demo_scene"]

# Found by scripts/pick_demo_scene.py: both bundled models say yes to what is there and no to all else.
_SEED, _INDEX = 2024, 266


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
