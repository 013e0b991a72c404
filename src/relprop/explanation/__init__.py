"""Explanation: the frozen result of a method, made, drawn, saved and loaded."""

from relprop.explanation.explanation import Explanation
from relprop.explanation.sheet import contact_sheet

__all__ = ["Explanation", "contact_sheet"]
