"""Region: how far an affine form holds along a direction, exactly, and which unit ends it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from relprop.checks import check_count, check_seed, place_name, refuses_old_spellings
from relprop.errors import InputError
from relprop.graph import Node
from relprop.piecewise.decomposition import started, value_at, weights
from relprop.piecewise.kinks import steps_to_kink
from relprop.piecewise.operators import refusal, unfit
from relprop.piecewise.replay import replay
from relprop.precision import full_precision
from relprop.propagate.trace import Trace, trace
from relprop.quiet import no_warnings
from relprop.tracing.values import checked_output

__all__ = ["Crossing", "Distance", "Flip", "crossing", "distance"]

_dual_level = threading.Lock()  # the process has one level of dual numbers, for all threads


@dataclass(frozen=True)
class Flip:
    """A unit that changes its piece.

    Attributes:
        node, module, operator: which operator.
        index: the unit in the operator's output, without the sample: (channel, *position).
    """

    node: str
    module: str
    operator: str
    index: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Crossing:
    """Where a ray from X leaves the piece of X.

    Attributes:
        step: the smallest t at which some unit changes its piece at X + t * d, (N,) float64; infinite for never.
        flips: that unit, one a sample; None for never.
    """

    step: Tensor
    flips: tuple[Flip | None, ...]


@dataclass(frozen=True, eq=False)
class Distance:
    """The nearest border of the piece of X that was met.

    Attributes:
        distance: an upper bound of the Euclidean distance from X to the border, (N,) float64; infinite where no
            direction met one.
        direction: the unit vector along which it was met, shaped like X.
        flips: the unit that changes its piece there.
    """

    distance: Tensor
    direction: Tensor
    flips: tuple[Flip | None, ...]


@full_precision
@refuses_old_spellings
def crossing(model: nn.Module, x: Tensor, direction: Tensor, at: str | None = None) -> Crossing:
    r"""How far from X along d the affine form of X holds, exactly.

    Inside the piece each value is affine: :math:`z(X + td) = z + t\, J d`, with J d from one forward run in
    forward mode. A ReLU ends it at :math:`t = -z / (Jd)` where that is positive, a clamp at its bounds, a max pool
    where another element of a window overtakes the winner; the smallest t over all units is exact. Units
    that the score doesn't depend on count too: the form may hold further, never less far.

    A unit exactly on its kink is in the piece that PyTorch's derivative takes (a ReLU at 0 is off, a clamp on
    its bounds is on, a maximum of equals is in neither): moving out of it ends the piece at t = 0, moving into it
    or not at all doesn't count. Take float64: t is as exact as z is.

    Args:
        model: as for `relprop.affine`.
        x: (N, C, *spatial).
        direction: d, shaped like x (or like the values there), or anything that broadcasts to it.
        at: a module or node whose values are X; None: the input.

    Raises:
        InputError: a direction of another shape, NaN or infinity.
        UnsupportedOperatorError: an operator that isn't piece-wise affine.

    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU())
    >>> net[0].weight.data, net[0].bias.data = torch.tensor([[-2.0]]), torch.tensor([6.0])
    >>> found = crossing(net, torch.tensor([[1.0]]), torch.tensor([[1.0]]))
    >>> found.step.tolist(), found.flips[0]
    ([2.0], Flip(node='relu', module='1', operator='relu', index=(0,)))
    """
    run = trace(model, x)
    checked_output(model, run.output)
    name = place_name("at", at)
    place = run.graph.input if name is None else run.graph.find(name)
    found = unfit(run.graph, place)
    if found:
        raise refusal(found)
    return _crossing(run, place, _checked(direction, value_at(run, place, name)))


@full_precision
def distance(
    model: nn.Module,
    x: Tensor,
    target: int | Tensor | Sequence[int | Tensor] | None = None,
    *,
    samples: int = 16,
    seed: int = 0,
) -> Distance:
    """The nearest border met along random directions and along the gradient: an upper bound of the distance.

    Every direction is exact (`crossing`), but the nearest border may lie between them: in many dimensions it is
    often much nearer.

    Args:
        model, x: as for `relprop.affine`.
        target: whose gradient, both ways; as for `relprop.affine`.
        samples: random directions, the same for every sample of a batch.
        seed: of the directions.

    Raises:
        InputError: samples not from 1 to 100,000, bad input or target.
        UnsupportedOperatorError: an operator that isn't piece-wise affine.
    """
    check_count("samples", samples, most=100_000)
    check_seed(seed)
    run, targets, _ = started(model, x, target)
    at = run.graph.input
    found = unfit(run.graph, at)
    if found:
        raise refusal(found)
    generator = torch.Generator().manual_seed(seed)
    # float32 whatever the dtype: other dtypes would draw other numbers.
    draws = [torch.randn(run.input.shape[1:], generator=generator).to(run.input) for _ in range(samples)]
    gradients = weights(run, targets)
    best = torch.full((run.batch,), torch.inf, dtype=torch.float64, device=run.input.device)
    nearest = torch.zeros_like(run.input)
    flips: list[Flip | None] = [None] * run.batch
    for d in [*[draw.expand_as(run.input) for draw in draws], *gradients, *(-gradients)]:
        length = d.flatten(1).norm(dim=1).reshape(-1, *[1] * (d.ndim - 1))
        d = d / length.masked_fill(length == 0, 1)
        met = _crossing(run, at, d)
        closer = met.step < best
        best = torch.where(closer, met.step, best)
        nearest[closer] = d[closer]
        flips = [new if c else old for c, new, old in zip(closer.tolist(), met.flips, flips, strict=True)]
    return Distance(best, nearest, tuple(flips))


def _checked(direction: Tensor, value: Tensor) -> Tensor:
    try:
        direction = direction.detach().to(value).expand_as(value)
    except RuntimeError:
        raise InputError(
            f"Expected a direction shaped like the values, {tuple(value.shape)}, but got {tuple(direction.shape)}."
        ) from None
    if not bool(torch.isfinite(direction).all()):
        raise InputError("Expected a finite direction but it holds NaN or infinity.")
    return direction


def _crossing(run: Trace, at: Node, direction: Tensor) -> Crossing:
    n = run.batch
    run.check_rows(run.graph.output)
    best = torch.full((n,), torch.inf, dtype=torch.float64, device=direction.device)
    flips: list[Flip | None] = [None] * n
    with _dual_level, torch.no_grad(), torch.inference_mode(False), forward_ad.dual_level():
        with no_warnings():  # of torch's own, at its first dual tensor: that it uses torch.jit.script
            ray = forward_ad.make_dual(run.value(at).clone(), direction.contiguous())
        for node, found in replay(run, at, ray):
            steps = steps_to_kink(node, partial(_unpacked, found, run), _output(found[node]))
            if steps is None:
                continue
            if n > 1 and not node.per_sample:
                raise InputError(
                    f"Expected the samples on axis 0 at {node.where()} but the batch is folded into another axis "
                    "there. Ask for one sample at a time."
                )
            first, where = steps.reshape(n, -1).min(1)
            for i in (first < best).nonzero().flatten().tolist():
                shape = steps.shape[1:] if steps.shape[0] == n else steps.shape
                index = torch.unravel_index(where[i], shape)
                flips[i] = Flip(node.name, node.module, node.op, tuple(int(v) for v in index))
            best = torch.minimum(best, first.double())
    return Crossing(best, tuple(flips))


def _unpacked(found: dict[Node, Any], run: Trace, argument: Any) -> tuple[Tensor, Tensor]:
    """Value and rate of an argument: a number and what doesn't move have rate 0."""
    if isinstance(argument, Node):
        argument = found[argument] if argument in found else run.value(argument)
    if not isinstance(argument, Tensor):
        argument = torch.as_tensor(argument, dtype=run.input.dtype, device=run.input.device)
    return _parts(argument)


def _output(value: Any) -> tuple[Tensor, Tensor]:
    """Of operators with several results (max pools with indices) the first."""
    first = value[0] if isinstance(value, (list, tuple)) else value
    return _parts(first) if isinstance(first, Tensor) else (torch.zeros(()), torch.zeros(()))


def _parts(value: Tensor) -> tuple[Tensor, Tensor]:
    primal, tangent = forward_ad.unpack_dual(value)
    return primal, torch.zeros_like(primal) if tangent is None else tangent
