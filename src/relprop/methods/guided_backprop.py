"""DeconvNet and guided backprop: gradients with another rule at the ReLUs."""

from __future__ import annotations

from typing import ClassVar, Literal

from relprop.methods.method import SCORES, Method, Request, Result
from relprop.propagate.composite import Composite
from relprop.rules import Rectify

__all__ = ["DeconvNet", "GuidedBackprop"]


class _Rectified(Method):
    form: ClassVar[Literal["deconvnet", "guided"]]
    takes = SCORES

    def explain(self, request: Request) -> Result:
        composite = Composite([("activation", Rectify(self.form))], "gradient", name=self.name)
        return Result.of(request.propagate(request.ones(), composite, multiplier=True, ledger=False))


class DeconvNet(_Rectified):
    r"""DeconvNet: at every ReLU only positive gradients go on, whatever the ReLU's input was.

    .. math:: g_{in} = \max(g_{out}, 0)

    Source: Zeiler & Fergus 2014, sec. 2.1. Every other operator has its gradient, max pools included
    (the recorded switches). ReLU, ReLU6 and hardtanh are rectified, as modules or as functions;
    smooth activations keep their gradient. Shapes: (N, C, *spatial), and the layers' own; signed at
    the input, since the first convolution's weights are. Conserves nothing. Image and lower filters shape
    the picture, hardly the class or the upper layers (Mahendran & Vedaldi 2016; Nie et al. 2018).

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> net[0].weight.data = torch.tensor([[-2.0], [3.0]])
    >>> net[2].weight.data = torch.tensor([[1.0, -1.0]])
    >>> x = torch.tensor([[1.0]])  # hidden units: -2 (off) and 3 (on)
    >>> [relprop.explain(net, x, 0, m).relevance.item() for m in ("gradient", "deconvnet", "guided-backprop")]
    [-3.0, -2.0, 0.0]
    """

    name = "deconvnet"
    summary = "DeconvNet: gradient that keeps only positive parts at ReLUs (insensitive to the network)"
    form = "deconvnet"


class GuidedBackprop(_Rectified):
    r"""Guided backprop: at every ReLU only positive gradients of active units go on.

    .. math:: g_{in} = \max(g_{out}, 0) \cdot [x_{in} > 0]

    Source: Springenberg et al. 2015, fig. 1. A ReLU input of exactly 0 counts as closed (as for
    PyTorch's gradient). Otherwise like `DeconvNet`. Shapes: (N, C, *spatial), and the layers' own.
    Conserves nothing. The picture hardly depends on the upper layers' weights, trained or random
    (Adebayo et al. 2018; Nie et al. 2018): don't read it as evidence of what the network uses.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> net[0].weight.data = torch.tensor([[2.0], [3.0]])
    >>> net[2].weight.data = torch.tensor([[1.0, -1.0]])
    >>> x = torch.tensor([[1.0]])  # both units on, one speaks against
    >>> [relprop.explain(net, x, 0, m).relevance.item() for m in ("gradient", "guided-backprop")]
    [-1.0, 2.0]
    """

    name = "guided-backprop"
    summary = "Guided backprop: positive gradients of active units only (insensitive to the network)"
    form = "guided"
