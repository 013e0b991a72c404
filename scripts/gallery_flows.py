"""Rivers: where the relevance of three methods went, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gallery_made import Made
from gallery_methods import explained, photograph
from matplotlib.figure import Figure

from relprop.viz import flow_figure

__all__ = ["pictures"]


def pictures() -> Iterator[Made]:
    """A method that biases take most of, one that loses, and one that cancels."""
    for method in ("lrp-composite", "lrp-epsilon", "deep-taylor"):
        yield Made(f"flow-{method}", f"the account of {method} on the espresso", partial(_flow, method))


def _flow(method: str) -> Figure:
    e = explained("efficientnet-lite0", photograph("coffee"), method, "espresso")
    return flow_figure(e.ledger, title=f"{method}: where the score of espresso went (EfficientNet-Lite0)")
