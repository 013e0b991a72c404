"""What stands in a plan for an operator that has no rule: relevance may not come there."""

from __future__ import annotations

from typing import Any

from relprop.errors import UnsupportedOperatorError
from relprop.rules.rule import Rule
from relprop.tracing.site import Site

__all__ = ["Unruled"]


class Unruled(Rule):
    """Refuses relevance, and lets pass that none came: zeros need no rule.

    A network with several outputs, such as a detector's classes and boxes, is explained at one of them, whatever
    stands on the way to the others.

    Args:
        text: what to say where relevance comes.

    Raises:
        UnsupportedOperatorError: from `cross`, where relevance comes.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def cross(self, site: Site, flow: Any) -> list[Any]:
        flows = flow if isinstance(flow, list) else [flow]
        if any(bool(part.any()) for one in flows if one is not None for part in one.parts):
            raise UnsupportedOperatorError(self._text)
        return [None] * len(site.signals)
