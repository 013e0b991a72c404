"""Video: clips from films, and networks for them."""

from __future__ import annotations

from relprop.video.c3d import C3D
from relprop.video.clip import Clip, read_clip
from relprop.video.sampling import Sampling

__all__ = ["C3D", "Clip", "Sampling", "read_clip"]
