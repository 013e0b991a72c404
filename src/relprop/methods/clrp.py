"""Contrastive LRP (CLRP), two variants."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice
from relprop.errors import InputError
from relprop.graph.place import Place
from relprop.methods.bounds import Bounds, z_box
from relprop.methods.facts import Facts
from relprop.methods.method import Method, Request, Result
from relprop.propagate.composite import Composite, Match
from relprop.rules import Rule, ZPlus
from relprop.rules.negated import Negated

__all__ = ["CLRP"]


class CLRP(Method):
    r"""Contrastive LRP: the relevance of the target less the relevance of its dual.

    .. math:: R = R^t - \bar R^t \, \frac{\sum R^t}{\sum \bar R^t}

    Both come from LRP with z+ in every layer and z^B at the input. The dual :math:`\bar R^t` is

    * variant 1: all other classes; each of the n - 1 starts with s / (n - 1), s the target's seed
      (or, as in the authors' code, with the size of its own score: ``others="scores"``);
    * variant 2: the target itself with the signs of its weights in the last linear operator turned over.

    Source: Gu et al. 2018 ("CLRP1", "CLRP2"). The paper's map is :math:`\max(0, R)`; here R is
    the signed difference (red speaks for the target more than for its dual), take
    ``e.relevance.clamp(min=0)`` for the paper's. Shapes: (N, C, *spatial), and the layers' own. The
    total is 0 at every place: the dual is scaled to the target's total there (per sample and target).
    Where one of the two is zero everywhere, the other stands alone.

    Args:
        variant: 1 or 2.
        others: "uniform" or "scores", how variant 1 starts at the other classes.
        bounds: the box of the input, see `relprop.DeepTaylor`; None: z+ at the input too.
        seed: "one" or "score". They differ by a factor; a negative score turns the map's signs over.

    Raises:
        InputError: another variant, bad bounds; variant 1 with one class.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> net.weight.data = torch.tensor([[3.0, 1.0], [1.0, 1.0]])
    >>> for variant in (1, 2):
    ...     e = relprop.explain(net, torch.ones(1, 2), 0, CLRP(variant=variant, bounds=None))
    ...     print(e.relevance.tolist())  # (3/4, 1/4) - (1/2, 1/2); without negative weights no dual
    [[0.25, -0.25]]
    [[0.75, 0.25]]
    """

    name = "clrp"
    summary = "Contrastive LRP: z+ relevance of the target less that of its dual; signed, totals 0"

    def __init__(
        self,
        *,
        variant: Literal[1, 2] = 1,
        others: Literal["uniform", "scores"] = "uniform",
        bounds: Bounds | None = "auto",
        seed: Literal["one", "score"] = "one",
    ) -> None:
        if variant not in (1, 2):
            raise InputError(
                f"Expected variant 1 (other classes) or 2 (negated weights) but got {variant!r}."
            )
        check_choice("others", others, ("uniform", "scores"))
        check_choice("seed", seed, ("one", "score"))
        self.variant, self.others, self.bounds, self.seed = variant, others, bounds, seed
        first: list[tuple[Match, Rule]] = [] if bounds is None else [("first", z_box(bounds))]
        self._target = Composite([*first, ("linear", ZPlus())], "positive", name="CLRP target")
        dual: list[tuple[Match, Rule]] = []
        if variant == 2:
            # In a network of one layer the last is the first.
            only = [] if bounds is None else [(_is_only, Negated(z_box(bounds)))]
            dual = [*only, ("last", Negated(ZPlus()))]
        self._dual = Composite([*dual, *first, ("linear", ZPlus())], "positive", name="CLRP dual")

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": facts.box or "sample"}

    def explain(self, request: Request) -> Result:
        seed = request.seed(self.seed)
        other = self._other(seed, request) if self.variant == 1 else seed
        with request.trace.sharing():  # both go down through the same z+
            dual = request.run(other, self._dual, record=request.layers, ledger=False)
            run = request.propagate(seed, self._target)
        layers = {name: _less(r, dual.layers[name]) for name, r in run.layers.items()}
        extras = {"ledger_of": "the target's relevance, before the dual's is subtracted"}
        return Result(_less(run.relevance, dual.relevance), layers, run.plan, run.ledger, extras=extras)

    def _other(self, seed: Tensor, request: Request) -> Tensor:
        """What all other classes start with, position by position; its total is scaled away later."""
        classes = seed.shape[2]
        if classes < 2:
            raise InputError("Expected two classes or more for CLRP variant 1 but got one. Use variant=2.")
        if self.others == "scores":
            whole = request.logits.abs().expand_as(seed)
        else:
            whole = seed.sum(2, keepdim=True).expand_as(seed) / (classes - 1)
        index = request.targets.reshape(*request.targets.shape, *[1] * (seed.ndim - 2)).expand(
            *seed.shape[:2], 1, *seed.shape[3:]
        )
        return whole.scatter(2, index, 0.0)


def _is_only(place: Place) -> bool:
    return place.first and place.last


def _less(target: Tensor, dual: Tensor) -> Tensor:
    """Target - dual, the dual scaled to the target's total: per target and sample, (K, N, ...)."""
    ours, theirs = (t.flatten(2).double().sum(-1) for t in (target, dual))
    factor = torch.where(theirs == 0, 0.0, ours / theirs).to(target)
    return target - dual * factor.reshape(*factor.shape, *[1] * (target.ndim - 2))
