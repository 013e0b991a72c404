"""Trace: the front door of the engine. One forward run, and the way back through it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from relprop.graph import Node
from relprop.propagate.composite import CompositeLike, composite_of
from relprop.propagate.plan import Plan, make_plan
from relprop.propagate.walk import Propagation, walk
from relprop.shortage import amount, short_of_memory
from relprop.tracing.values import Values
from relprop.tracing.view import Inputs, Key, Packing, packed, parts_named, view_of

__all__ = ["Trace", "trace"]


def trace(model: nn.Module, x: Inputs, *, output: Key = None) -> Trace:
    """Run `model` on `x` once and keep what relevance propagation will need.

    Args:
        model: any module, in evaluation mode.
        x: (N, C, *spatial), floating point, finite. Half precision is computed in float32. Of models of
            several inputs a tuple, a list or a mapping of such tensors, as for `relprop.explain`; relevance is
            then that of all of them side by side, (N, values), which `Trace.apart` takes apart.
        output: which part of what the model returns counts as its output, as for `relprop.explain`. None: all of
            it, as it is.

    Raises:
        InputError: bad input tensor, no such output, or a model in training mode.
        CaptureError: the model can't be captured as a graph of tensor operators.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU())
    >>> net[0].weight.data = torch.tensor([[1.0, -1.0], [2.0, 0.0]])
    >>> run = relprop.trace(net, torch.tensor([[3.0, 1.0]]))
    >>> run.output.tolist()
    [[2.0, 6.0]]
    """
    whole, packing = packed(x)
    if (output is None and packing is None) or not isinstance(model, nn.Module):
        return Trace(model, whole)
    with parts_named():
        found = Trace(view_of(model, output, packing), whole)
    found.packing = packing
    return found


class Trace(Values):
    """The values of one forward run, and the way back through them.

    Attributes:
        graph: the captured graph.
        output: what `model(x)` returned (in float32 for models of half precision).
        dtype: that of x, as it came: half precision is computed in float32.
        winners: for max pools, the flat spatial index of each window's winner, (N, C, *windows) int32.
        packing: how several inputs lie side by side; None where there is one.
    """

    packing: Packing | None = None

    def apart(self, values: Tensor) -> Tensor | tuple[Tensor, ...] | list[Tensor] | dict[str, Tensor]:
        """Relevance at the input (or anything shaped like it) as the inputs came: a tuple, a list or a dict.

        Args:
            values: (N, values), or with an axis K in front.

        Returns:
            Each shaped like its input, with K in front if it was there; of one input the tensor itself.

        >>> import torch, relprop
        >>> bilinear = torch.nn.Bilinear(2, 3, 1)
        >>> run = relprop.trace(bilinear, (torch.ones(1, 2), torch.ones(1, 3)))
        >>> [tuple(part.shape) for part in run.apart(run.propagate(run.output, "lrp-0"))]
        [(1, 2), (1, 3)]
        """
        if self.packing is None:
            return values
        return self.packing.like_inputs(values, values.ndim - 1)

    def propagate(
        self,
        seed: Tensor,
        composite: CompositeLike,
        start: str | Node | None = None,
        stop: str | Node | None = None,
    ) -> Tensor:
        """Carry relevance from `start` (default: the output) back to `stop` (default: the input).

        Args:
            seed: relevance at `start`, shaped like its value, or with a leading target axis K.
            composite: which rule where: a `Composite`, a list of (match, rule) pairs, or a method whose rules are
                one composite, also by name ("lrp-composite", "lrp:rule=z-plus").
            start, stop: node names or module paths (meaning the module's output).

        Returns:
            Relevance at `stop`, shaped like its value, with K in front if the seed had it.

        Raises:
            InputError: a seed of another shape, or what can't be a composite.
            UnsupportedOperatorError: relevance reaches an operator that has no rule.
        """
        return self.run(seed, composite, start=start, stop=stop).relevance

    def run(
        self,
        seed: Tensor,
        composite: CompositeLike,
        *,
        start: str | Node | None = None,
        stop: str | Node | None = None,
        record: Sequence[str | Node] = (),
        multiplier: bool = False,
        ledger: bool = True,
        release: bool = False,
    ) -> Propagation:
        """Like `propagate`, with everything that was learned on the way.

        Args:
            seed, composite, start, stop: see `propagate`.
            record: further places whose relevance is wanted.
            multiplier: seed and results are multipliers c (relevance divided by value; with gradient
                rules: derivatives) instead of relevance.
            ledger: keep the accounts.
            release: free the trace's values on the way (the trace can't be used again).
        """

        def what() -> str:
            count = len(seed) if seed.ndim > 1 else 1
            return (
                f"relevance of {count} target(s) on its way through values of {amount(self.sizes.total)} (some "
                f"four times the largest, {amount(self.sizes.largest)}, at once, and once for a further target)"
            )

        with short_of_memory(what):
            return walk(
                self, seed, composite_of(composite), start=start, stop=stop, record=record,
                multiplier=multiplier, ledger=ledger, release=release,
            )  # fmt: skip

    def plan(
        self, composite: CompositeLike, start: str | Node | None = None, stop: str | Node | None = None
    ) -> Plan:
        """Which rule applies where, before anything runs.

        Raises:
            UnsupportedOperatorError: relevance would reach an operator that has no rule.
        """
        return make_plan(
            self.graph, composite_of(composite), start, [stop] if stop is not None else [self.graph.input]
        )
