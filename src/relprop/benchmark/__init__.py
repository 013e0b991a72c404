"""Benchmark: methods x metrics x data sets to a table, on one machine or many; it resumes where it stopped."""

from __future__ import annotations

from relprop.public import public

__all__ = public(__name__)
