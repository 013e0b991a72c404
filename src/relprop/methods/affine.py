"""Affine: the contributions of the exact piece-wise affine decomposition, at the input or at a layer."""

from __future__ import annotations

from relprop.checks import check_flag, place_name
from relprop.methods.method import Method, Request, Result
from relprop.propagate.composite import DERIVATIVES

__all__ = ["Affine"]


class Affine(Method):
    r"""What each value adds to the score in the affine piece that the network is around this input.

    .. math:: R_i = W_i X_i, \qquad F_c(Y) = \sum_i W_i Y_i + b \text{ for all } Y \text{ in the piece of } X

    Source: Chen et al. on the piece-wise affine representation of ReLU networks, which draws the positive
    contributions at a convolutional layer; `relprop.affine` gives W, b and whose bias it is. At the input the
    map is that of `gradient-x-input`, but a network that isn't piece-wise affine is refused.

    Shapes: (N, C, *spatial) of the layer; `layers` of the call give the same at further places. The total is
    score - bias, the bias is in ``extras["bias"]``, (N,) or (K, N) float64.

    Args:
        at: module path or node name whose values contribute; None: the input.
        positive: drop negative contributions, value by value (then nothing adds up).
        linearise: take networks that aren't piece-wise affine too, by their tangent.

    Raises:
        UnsupportedOperatorError: an operator between the layer and the output isn't piece-wise affine.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> net[0].weight.data, net[0].bias.data = torch.eye(2), torch.tensor([1.0, 0.0])
    >>> net[2].weight.data, net[2].bias.data = torch.tensor([[1.0, -1.0]]), torch.tensor([2.0])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 1.0]]), 0, Affine(at="1"))
    >>> e.relevance.tolist(), e.extras["bias"].tolist(), e.outputs.tolist()
    ([[4.0, -1.0]], [2.0], [[5.0]])
    """

    name = "affine"
    summary = "Affine: exact contributions at any layer of a piece-wise affine network, bias apart"

    def __init__(self, *, at: str | None = None, positive: bool = False, linearise: bool = False) -> None:
        self.at = place_name("at", at)
        check_flag("positive", positive)
        check_flag("linearise", linearise)
        self.positive, self.linearise = positive, linearise

    def explain(self, request: Request) -> Result:
        # Here, since it imports this package.
        from relprop.piecewise.decomposition import decompose

        run = request.trace
        plan = run.plan(DERIVATIVES, stop=self.at)
        place = run.graph.input if self.at is None else run.graph.find(self.at)
        at = "input" if place is run.graph.input else str(self.at)
        # The layer asked for by the method under a name of its own: the call may name it too.
        places = [("", place), *[(name, run.graph.find(name)) for name in request.layers]]
        forms = decompose(run, request.targets, places, single=False, linearise=self.linearise)
        found = {
            name: f.contribution.clamp_(min=0) if self.positive else f.contribution
            for name, f in forms.items()
        }
        relevance, bias = found.pop(""), forms[""].bias
        return Result(relevance, found, plan, at=at, extras={"bias": bias[0] if request.single else bias})
