"""Video: clips from films, and networks for them."""

from __future__ import annotations

from relprop.models.c3d import C3D
from relprop.models.sampling import Sampling
from relprop.video.clip import Clip, read_clip

__all__ = ["C3D", "Clip", "Sampling", "read_clip"]
