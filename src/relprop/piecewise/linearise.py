"""How far a linearisation is off beside the point that it was made at."""

from __future__ import annotations

import torch
from torch import Tensor

from relprop.graph import Node
from relprop.piecewise.form import AffineForm, Deviation
from relprop.piecewise.replay import replayed_output
from relprop.propagate.trace import Trace

__all__ = ["deviation"]

SIZE = 0.01
"""|d| / |X|."""

DRAWS = 4
"""Random directions."""


def deviation(run: Trace, at: Node, form: AffineForm, seed: Tensor) -> Deviation:
    """Compare the form with the network at X + d, for d along W and along `DRAWS` seeded directions.

    Args:
        run: the forward run, with its values.
        at: the form's layer.
        seed: what the score is of the output, (K, N, classes, ...).
    """
    x = form.value
    weights = form.weight if form.targets.ndim == 2 else form.weight[None]
    bias = form.bias.reshape(len(weights), -1)
    generator = torch.Generator().manual_seed(0)
    # float32 whatever the dtype: other dtypes would draw other numbers.
    draws = [torch.randn(x.shape[1:], generator=generator).to(x).expand_as(x) for _ in range(DRAWS)]
    missed = bias.new_empty(1 + DRAWS, *bias.shape)
    moved = torch.empty_like(missed)
    for k, (w, s) in enumerate(zip(weights, seed, strict=True)):
        score = _scores(s, run.output)
        for i, direction in enumerate([w, *draws]):
            length = _norm(direction)
            step = SIZE * _norm(x) / length.masked_fill(length == 0, 1)
            y = x + direction * step
            there = _scores(s, replayed_output(run, at, y))
            missed[i, k] = (there - (w.double() * y.double()).flatten(1).sum(-1) - bias[k]).abs()
            moved[i, k] = (there - score).abs()
    lead = (1 + DRAWS, *form.targets.shape)
    return Deviation(SIZE, missed.reshape(lead), moved.reshape(lead))


def _scores(seed: Tensor, output: Tensor) -> Tensor:
    return (seed.double() * output.double()).flatten(1).sum(-1)


def _norm(value: Tensor) -> Tensor:
    """Of each sample, (N, 1, ...)."""
    return value.flatten(1).norm(dim=1).reshape(-1, *[1] * (value.ndim - 1))
