"""Recommended: the method that was measured to be right for what is asked, chosen when the question is known."""

from __future__ import annotations

from relprop.methods.agreement import Agreement
from relprop.methods.lrp import LRPComposite
from relprop.methods.method import ANYTHING, Method, Request

__all__ = ["Recommended"]


class Recommended(Method):
    """Recommended: agreement where the input has positions, else lrp-composite.

    Which method names the cause of a score was measured on drawn scenes, where the cause is known, and on
    photographs (docs/which-method.md). For a class, and for a class rather than another, that is `Agreement`.
    It says where, and needs positions to say so: tables of features, and relevance that is wanted at layers
    too, where it is an amount, are left to `LRPComposite`.

    The explanation says which one was taken: its `method` and `settings` are that method's, and a note says
    why. Name a method to have it whatever is asked.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    >>> relprop.explain(net, torch.ones(1, 2), 0, "recommended").method
    'lrp-composite'
    """

    name = "recommended"
    for_classes = True
    takes = ANYTHING
    summary = "Recommended: agreement for inputs that have positions, else lrp-composite; it says which"

    def chosen(self, request: Request) -> Method:
        """The method for this question; a note in the request says which, and why."""
        why = _against(request)
        found: Method = LRPComposite() if why else Agreement()
        reason = f", as {why}" if why else ": where the class is, not how much of its score"
        request.notes.append(f"relprop chose {found.name}{reason}.")
        return found


def _against(request: Request) -> str:
    """Why agreement isn't asked; "" where it is."""
    if request.trace.input.ndim < 3:
        return "the input has no positions"
    return "relevance at layers is an amount" if request.layers else ""
