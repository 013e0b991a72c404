"""Deep Taylor decomposition."""

from __future__ import annotations

from typing import Any, Literal

from relprop.checks import check_choice
from relprop.methods.bounds import Bounds, z_box
from relprop.methods.facts import Facts
from relprop.methods.method import Method, Request, Result
from relprop.propagate.composite import Composite
from relprop.rules import ZPlus

__all__ = ["DeepTaylor"]


class DeepTaylor(Method):
    r"""Deep Taylor decomposition: z+ everywhere, z^B at the input, winner-take-all pooling.

    .. math:: R_i = \sum_j \frac{(w_{ij} x_i)^+}{z^+_j} R_j, \qquad
        \text{input: } z^B \text{ (see } \texttt{ZBox}\text{)}

    The map of a positive score has no negative values. A negative score has no root that the
    expansion could start from: its map is zero with ``seed="score"`` (max(score, 0)).

    Source: Montavon et al. 2017, eqs. 14 and 17; for video Hiley et al. 2019, who start from 1.
    Shapes: (N, C, *spatial) at the input. Conserves, but for what the ledger lists as lost (units that
    are active through their bias alone).

    Args:
        bounds: the box of the input: (low, high) in the units the network sees, or "sample" for each
            sample's least and largest value; None: z+ at the input too. "auto": what pixels can be, where the
            model's facts say it (`relprop.methods.Facts`), else "sample".
        seed: "score" (clamped at 0) or "one".

    Raises:
        InputError: bad bounds or an unknown seed.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[0.5, 0.5]]), target=0, method=DeepTaylor(bounds=(0, 1)))
    >>> [round(v, 4) for v in e.relevance.flatten().tolist()]  # 0.5 * [1.0, 0.5] / 1.5
    [0.3333, 0.1667]
    """

    name = "deep-taylor"
    takes = frozenset({"region", "start"})
    summary = "Deep Taylor decomposition: z+ rule, z-box at the input; only what speaks for"
    signed = False

    def __init__(self, *, bounds: Bounds | None = "auto", seed: Literal["score", "one"] = "score") -> None:
        check_choice("seed", seed, ("score", "one"))
        self.bounds = bounds
        self.seed: Literal["score", "one"] = seed
        first = [] if bounds is None else [("first", z_box(bounds))]
        self._composite = Composite([*first, ("linear", ZPlus())], "positive", name="deep Taylor")

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": facts.box or "sample"}

    def as_composite(self) -> Composite:
        """The composite that relevance is carried with."""
        return self._composite

    def about_negative(self) -> str:
        shown = "The map is zero" if self.seed == "score" else "The map shows what speaks for it, if little"
        return (
            f"{self.name} explains positive outputs only: it has no root to expand a negative one from. {shown}; "
            "take a method with signs, such as lrp-epsilon or lrp-composite, or a target with a positive output."
        )

    def explain(self, request: Request) -> Result:
        seed = request.seed(self.seed).clamp(min=0)
        return Result.of(request.propagate(seed, self._composite))
