"""Drawing: colours, scales, overlays and contact sheets. Nothing here changes a number."""

from __future__ import annotations

from relprop.public import public

__all__ = public(__name__)
