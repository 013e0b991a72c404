"""Explanation: the frozen result of a method, made, drawn, saved and loaded."""

from __future__ import annotations

from relprop.public import public

__all__ = public(__name__)
