"""RAP: relative attributing propagation."""

from __future__ import annotations

from typing import Any

from relprop.checks import check_flag
from relprop.methods.bounds import Bounds, z_box
from relprop.methods.facts import Facts
from relprop.methods.method import Method, Request, Result
from relprop.propagate.composite import Composite
from relprop.propagate.fallback import handed_on
from relprop.rules import AbsoluteInfluence, Add, BatchNorm, RelativeInfluence

__all__ = ["RAP"]


class RAP(Method):
    r"""Relative attributing propagation: what matters more than average, and what less.

    The last layer shares out the score by the size of contributions (`relprop.rules.AbsoluteInfluence`:
    all of one sign). Every layer below adds positive and negative influence and shifts the sum uniformly
    back to its total (`relprop.rules.RelativeInfluence`), so that units of little influence turn
    negative: the signs mean *relevant or not*, rather than for or against. z^B at the input.

    Source: Nam et al. 2020 (AAAI). Our formulas are those of the code that the authors published.
    Shapes: (N, C, *spatial). Conserves: the total is the target's score, less what the ledger lists as
    lost.

    Args:
        released: literally as published, also on residual networks: sums share by signed value, without
            bound where their terms cancel (else by size); in matrix products negative relevance follows
            positive weights (in convolutions negative ones, which is what we do everywhere); batch norms
            lose what sits on an input of 0; `bounds="auto"` is the sample's own range. Layers are meant to
            read values >= 0, as behind a ReLU.
        bounds: box of z^B, see `relprop.DeepTaylor`.

    Raises:
        InputError: bad bounds.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 2.0]]), 0, "rap")
    >>> e.relevance.tolist()  # 4 * [6, 2] / 8
    [[3.0, 1.0]]
    """

    name = "rap"
    takes = frozenset({"region"})
    summary = (
        "Relative attributing propagation: size of influence, shifted so that little of it turns negative"
    )

    def __init__(self, *, released: bool = False, bounds: Bounds = "auto") -> None:
        check_flag("released", released)
        self.released, self.bounds = bool(released), bounds
        self._composite = Composite(
            [
                ("last", AbsoluteInfluence()),
                ("first", z_box(bounds)),
                ("linear", RelativeInfluence(one_way=self.released)),
                *(
                    handed_on(Add("value"), BatchNorm("proportional"))
                    if released
                    else handed_on(Add("absolute"))
                ),
            ],
            None,
            self.name,
            fuse=False,
        )

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": "sample" if self.released else facts.box or "sample"}

    def as_composite(self) -> Composite:
        """The composite that relevance is carried with."""
        return self._composite

    def explain(self, request: Request) -> Result:
        return Result.of(request.propagate(request.seed("score"), self._composite))
