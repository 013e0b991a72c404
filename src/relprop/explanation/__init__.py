"""Explanation: the frozen result of a method, made, drawn, saved and loaded."""

from relprop.explanation.explanation import Explanation

__all__ = ["Explanation"]
