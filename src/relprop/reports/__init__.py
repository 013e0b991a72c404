"""Reports: what the commands draw, write and print, from Python: figures, one document, tables."""

from __future__ import annotations

from relprop.public import public

__all__ = public(__name__)
