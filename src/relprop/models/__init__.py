"""Models that come with the package, small and trained on `relprop.datasets.scenes`."""

from __future__ import annotations

from relprop.public import public

__all__ = public(__name__)
