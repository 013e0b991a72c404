"""Models that come with the package, small and trained on `relprop.datasets.scenes`."""

from __future__ import annotations

from relprop.models.bundled import BundledModel, load, models

__all__ = ["BundledModel", "load", "models"]
