"""Reach: how far an affine form holds, and what it misses beyond."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relprop.piecewise.decomposition import affine
from relprop.piecewise.region import distance
from relprop.precision import full_precision

__all__ = ["STEP", "Reach", "reach"]

#: Length of the random steps beyond the border, in |x|.
STEP = 0.01
_DIRECTIONS = 8


@dataclass(frozen=True)
class Reach:
    """How far a form holds.

    Attributes:
        distance: to the nearest border met, an upper bound.
        border: what changes its piece there.
        missed: at 1 % of |x| in random directions: the part of the score's changes that the form misses.
    """

    distance: float
    border: str
    missed: float


@full_precision
def reach(model: nn.Module, x: Tensor, target: int, versus: int | None = None) -> Reach:
    """Measure how far the affine form of one input holds, in float64, on a copy of the model.

    A border may be nearer than float32 can tell. The directions are seeded.

    Args:
        model: maps (1, C, *spatial) to scores (1, classes), in evaluation mode; piece-wise affine.
        x: the input.
        target: the class whose score is taken.
        versus: a class whose score is taken off.

    Raises:
        InputError: as `relprop.affine`.
        UnsupportedOperatorError: an operator that isn't piece-wise affine.

    >>> net = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    >>> net[0].weight.data, net[0].bias.data = torch.tensor([[1.0, 0.0]]), torch.tensor([-1.0])
    >>> found = reach(net, torch.tensor([[3.0, 0.0]]), 0)
    >>> found.distance, found.border, found.missed < 1e-12
    (2.0, 'relu in 1', True)
    """
    module, x = deepcopy(model).double(), x.double()
    met = distance(module, x, target)
    (flip,) = met.flips
    border = "none" if flip is None else f"{flip.operator} in {flip.module or flip.node}"
    form = affine(module, x, target, versus=versus)
    seed = torch.Generator().manual_seed(0)
    missed = moved = 0.0
    for _ in range(_DIRECTIONS):
        d = torch.randn(x.shape, generator=seed, dtype=torch.float64).to(x.device)
        there = x + d * (STEP * x.norm() / d.norm())
        with torch.no_grad():
            scores = module(there)[0]
        score = float(scores[target] - (0 if versus is None else scores[versus]))
        missed += abs(score - float(form.predict(there)))
        moved += abs(score - float(form.score))
    return Reach(float(met.distance), border, missed / moved if moved else 0.0)
