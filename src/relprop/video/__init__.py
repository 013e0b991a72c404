"""Video: networks for clips."""

from __future__ import annotations

from relprop.video.c3d import C3D

__all__ = ["C3D"]
