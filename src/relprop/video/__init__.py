"""Video: clips from films, and networks for them."""

from __future__ import annotations

from relprop.public import public

__all__ = public(__name__)
