"""Rule for what a network does to its logit at the end: relevance is that of the logit."""

from __future__ import annotations

from typing import Any

from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow, sum_to_shape
from relprop.tracing.site import Site

__all__ = ["ToLogit"]


class ToLogit(Rule):
    """Relevance, or a multiplier of the logit, is handed on as it is: it is the logit's already.

    For element-wise operators between the output and the value that is explained in its place
    (`relprop.methods.head`). Conserves.
    """

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        shapes = [site.input(i).shape for i in range(len(site.signals))]
        return [
            Flow(
                [sum_to_shape(p, shape) for p in flow.parts], flow.multiplier, owned=False, window=flow.window
            )
            for shape in shapes
        ]
