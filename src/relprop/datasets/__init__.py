"""Data with truth to judge explanations by; `scenes` is drawn on the fly and needs no files."""

from __future__ import annotations

from relprop.public import public

__all__ = public(__name__)
