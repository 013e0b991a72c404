"""Deep Taylor decomposition."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice
from relprop.errors import InputError
from relprop.graph import Graph, Node
from relprop.graph.place import Place
from relprop.methods.bounds import Bounds, z_box
from relprop.methods.facts import Facts
from relprop.methods.method import Method, Request, Result
from relprop.propagate.composite import Composite, Match
from relprop.propagate.ledger import Ledger
from relprop.propagate.walk import Propagation
from relprop.rules import Rule, ZPlus
from relprop.rules.negated import Less, Negated
from relprop.rules.rule import SharingRule

__all__ = ["DeepTaylor"]


class DeepTaylor(Method):
    r"""Deep Taylor decomposition: z+ everywhere, z^B at the input, winner-take-all pooling.

    .. math:: R_i = \sum_j \frac{(w_{ij} x_i)^+}{z^+_j} R_j, \qquad
        \text{input: } z^B \text{ (see } \texttt{ZBox}\text{)}

    The map of a positive score has no negative values. A negative score has no root that the
    expansion could start from: its map is zero with ``seed="score"`` (max(score, 0)). With
    ``negative="against"`` the score with the other sign is expanded, -f, and the map shown with a minus: what
    speaks against the class, negative throughout.

    Against another class (``versus``) the difference of the two scores is expanded: the last linear operator
    has the weights :math:`w_A - w_B` then, and the map shows what speaks for A rather than B.

    Source: Montavon et al. 2017, eqs. 14 and 17; for video Hiley et al. 2019, who start from 1.
    Shapes: (N, C, *spatial) at the input. Conserves, but for what the ledger lists as lost (units that
    are active through their bias alone).

    Args:
        bounds: the box of the input: (low, high) in the units the network sees, or "sample" for each
            sample's least and largest value; None: z+ at the input too. "auto": what pixels can be, where the
            model's facts say it (`relprop.methods.Facts`), else "sample".
        seed: "score" (clamped at 0) or "one".
        negative: what becomes of a negative score: "zero", or "against" (with ``seed="one"`` it starts from -1).

    Raises:
        InputError: bad bounds, an unknown seed or word; `versus` where the outputs aren't those of one last linear
            operator.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[0.5, 0.5]]), target=0, method=DeepTaylor(bounds=(0, 1)))
    >>> [round(v, 4) for v in e.relevance.flatten().tolist()]  # 0.5 * [1.0, 0.5] / 1.5
    [0.3333, 0.1667]
    >>> net.weight.data = torch.tensor([[1.0, -3.0]])  # the score is -1
    >>> against = DeepTaylor(bounds=None, negative="against")
    >>> relprop.explain(net, torch.tensor([[0.5, 0.5]]), target=0, method=against).relevance.tolist()
    [[0.0, -1.0]]
    """

    name = "deep-taylor"
    takes = frozenset({"region", "start", "versus"})
    summary = "Deep Taylor decomposition: z+ rule, z-box at the input; only what speaks for"

    def __init__(
        self,
        *,
        bounds: Bounds | None = "auto",
        seed: Literal["score", "one"] = "score",
        negative: Literal["zero", "against"] = "zero",
    ) -> None:
        check_choice("seed", seed, ("score", "one"))
        check_choice("negative", negative, ("zero", "against"))
        self.bounds = bounds
        self.seed: Literal["score", "one"] = seed
        self.negative: Literal["zero", "against"] = negative
        self._composite = self._built(None, turned=False)

    def _built(self, rival: int | None, *, turned: bool) -> Composite:
        """The rules, from one output (less that of a rival) or from the same with the other sign."""

        def at_head(rule: SharingRule) -> SharingRule:
            inner = Negated(rule) if turned else rule
            return inner if rival is None else Less(inner, rival)

        first: list[tuple[Match, Rule]] = [] if self.bounds is None else [("first", z_box(self.bounds))]
        head: list[tuple[Match, Rule]] = []
        if rival is not None or turned:
            # In a network of one layer the last is the first.
            only = [] if self.bounds is None else [(_is_only, at_head(z_box(self.bounds)))]
            head = [*only, ("last", at_head(ZPlus()))]
        return Composite([*head, *first, ("linear", ZPlus())], "positive", name="deep Taylor")

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": facts.box or "sample"}

    def as_composite(self) -> Composite:
        """The composite that relevance is carried with."""
        return self._composite

    def about_negative(self) -> str:
        if self.negative == "against":
            return ""
        shown = "The map is zero" if self.seed == "score" else "The map shows what speaks for it, if little"
        return (
            f"{self.name} explains positive outputs only: it has no root to expand a negative one from. {shown}; "
            "negative='against' shows what speaks against it; or take a method with signs, such as lrp-epsilon or "
            "lrp-composite, or a target with a positive output."
        )

    def explain(self, request: Request) -> Result:
        if self.negative == "zero" and request.asked.kind != "versus":
            return Result.of(request.propagate(request.seed(self.seed).clamp(min=0), self._composite))
        rivals = _rivals(request)
        amount = self._amount(request)
        runs: list[Propagation] = []
        parts = []
        for rival in dict.fromkeys(rivals.flatten().tolist()):
            own = amount.where(rivals.reshape(*rivals.shape, *[1] * (amount.ndim - 2)) == rival, 0)
            signs = (
                (own.clamp(min=0), own.clamp(max=0)) if self.negative == "against" else (own.clamp(min=0),)
            )
            parts += [(seed, None if rival < 0 else rival, k == 1) for k, seed in enumerate(signs)]
        parts = [part for part in parts if bool(part[0].any())] or parts[:1]
        if any(rival is not None or turned for _, rival, turned in parts):
            _check_head(request)
        for i, (seed, rival, turned) in enumerate(parts):
            rules = self._built(rival, turned=turned)
            release = request.release and i + 1 == len(parts)
            runs.append(request.run(seed, rules, record=request.layers, release=release))
        result = Result.of(runs[-1])
        result.relevance = torch.stack([run.relevance for run in runs]).sum(0)
        result.layers = {name: torch.stack([r.layers[name] for r in runs]).sum(0) for name in runs[-1].layers}
        result.ledger = Ledger.merged([run.ledger for run in runs if run.ledger is not None])
        if any(turned for _, _, turned in parts):
            said = "A negative output is explained with the other sign and shown with a minus"
            result.notes = (f"{said}: blue speaks against it.",)
        return result

    def _amount(self, request: Request) -> Tensor:
        """Relevance to start from with its own sign, at the target's output, (K, N, classes, ...)."""
        slopes, value = request.ones(), request.logits
        if request.asked.kind == "versus":
            value = (slopes * value).sum(2, keepdim=True)
            slopes = slopes.clamp(min=0)
        whole = slopes * value
        if self.seed == "score":
            return whole
        # From 1 where negative outputs aren't turned over: as for a class alone.
        return whole.sign() if self.negative == "against" else slopes.expand_as(whole)


def _is_only(place: Place) -> bool:
    return place.first and place.last


def _rivals(request: Request) -> Tensor:
    """The class that each target is held against, (K, N); -1: none."""
    if request.asked.kind != "versus":
        return torch.full_like(request.targets, -1)
    weights = request.asked.weights
    assert weights is not None
    return weights.flatten(3).amin(3).argmin(2) if weights.ndim > 3 else weights.argmin(2)


def _check_head(request: Request) -> None:
    """Refuse outputs that aren't those of one last linear operator, in order.

    Raises:
        InputError: with the operators.
    """
    outputs = request.logits
    heads = [] if request.start is not None else _heads(request.trace.graph)
    value = request.trace.value(heads[0]) if len(heads) == 1 else None
    if value is not None and value.numel() == outputs.numel() and value.shape[:2] == outputs.shape[:2]:
        gap = (value.reshape(outputs.shape) - outputs).abs().amax()
        if bool(gap <= 1e-3 * outputs.abs().amax()):
            return
    raise InputError(
        "Expected outputs that are those of one last convolution or matrix product for versus= and "
        f"negative='against' of deep Taylor but behind {', '.join(node.where() for node in heads) or 'it'} "
        "something else follows, or there are several. Take a method with signs, such as lrp-composite."
    )


def _heads(graph: Graph) -> list[Node]:
    """The linear operators behind which no other lies on the way to the output."""
    found: list[Node] = []
    stack, seen = [out for out in graph.outputs if isinstance(out, Node)], set[Node]()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.kind == "linear":
            found.append(node)
        else:
            stack += node.signals()
    return found
