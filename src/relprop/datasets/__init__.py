"""Data with truth to judge explanations by; `scenes` is drawn on the fly and needs no files."""

from __future__ import annotations

from relprop.datasets.demo import demo_image_path, demo_scene
from relprop.datasets.scenes import CLASSES, Scene, Scenes

__all__ = ["CLASSES", "Scene", "Scenes", "demo_image_path", "demo_scene"]
