"""Bias by depth: the bias's part of the score at every layer, over many inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import length_hint

import torch
from torch import Tensor, nn

from relprop.bar import draws_bar
from relprop.checks import Progress
from relprop.errors import InputError
from relprop.piecewise.decomposition import affine_by_layer
from relprop.precision import full_precision

__all__ = ["BiasByDepth", "DepthRow", "bias_ratio_by_depth"]


DepthRow = dict[str, str | int | float | None]


@dataclass(frozen=True, eq=False)
class BiasByDepth:
    """Bias ratio and bias share of n inputs at every layer.

    Attributes:
        layers: names in order of execution, the input first.
        ratio: b / F, (n, layers) float64; NaN for scores of 0.
        share: |b| / (|b| + sum |W * X|), likewise; NaN where both are 0.
        targets: the class of each input, int64 (n,).
    """

    layers: tuple[str, ...]
    ratio: Tensor
    share: Tensor
    targets: Tensor

    def table(self) -> list[DepthRow]:
        """A row a layer, as plain values: mean, median and quartiles of the ratio, and of the share ("bounded").

        n counts the inputs whose ratio is a number; statistics are taken over those, None without any.
        """
        rows: list[DepthRow] = []
        for i, layer in enumerate(self.layers):
            ratio, share = (v[~v.isnan()] for v in (self.ratio[:, i], self.share[:, i]))
            mean = float(ratio.mean()) if len(ratio) else None
            row: DepthRow = {"layer": layer, "n": len(ratio), "mean": mean}
            rows.append(row | _quartiles("", ratio) | _quartiles("bounded_", share))
        return rows


@draws_bar("inputs")
@full_precision
def bias_ratio_by_depth(
    model: nn.Module,
    inputs: Tensor | Iterable[Tensor],
    targets: int | Sequence[int] | Tensor | None = None,
    layers: Sequence[str] | None = None,
    *,
    progress: Progress | bool | None = None,
) -> BiasByDepth:
    """How much of the score the affine form leaves to biases, from the input and from each layer on.

    Source: Chen et al. on the piece-wise affine representation, its figure of bias ratios over depth. The share is
    ours: ratios have no bound, and a mean of them is ruled by scores near 0.

    Args:
        model: maps (N, C, *spatial) to scores (N, classes), in evaluation mode; piece-wise affine.
        inputs: a batch (N, C, *spatial), or anything that gives inputs (1, C, *spatial) one after the other.
        targets: a class for all, one for each input, or None for each input's top class.
        layers: modules or nodes; None: `block_outputs`. The input always comes first.
        progress: True for a bar in a notebook or on a terminal; or a function of (inputs done, their number
            or 0 where that isn't known).

    Raises:
        InputError: no inputs, too few targets, or as `affine`.
        UnsupportedOperatorError: an operator that isn't piece-wise affine.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> net[0].weight.data, net[0].bias.data = torch.eye(2), torch.tensor([1.0, 0.0])
    >>> net[2].weight.data, net[2].bias.data = torch.tensor([[1.0, -1.0]]), torch.tensor([2.0])
    >>> found = bias_ratio_by_depth(net, torch.tensor([[3.0, 1.0], [1.0, 0.0]]))
    >>> found.layers, [[round(v, 3) for v in row] for row in found.ratio.tolist()]
    (('input', '1'), [[0.6, 0.4], [0.75, 0.5]])
    """
    total = len(inputs) if isinstance(inputs, Tensor) else length_hint(inputs)
    ratios: list[Tensor] = []
    shares: list[Tensor] = []
    classes: list[Tensor] = []
    names: tuple[str, ...] = ()
    for x in inputs.split(1) if isinstance(inputs, Tensor) else inputs:
        if not isinstance(x, Tensor) or len(x) != 1:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"Expected inputs (1, C, *spatial) one after the other but got {got}.")
        forms = affine_by_layer(model, x, _target(targets, len(ratios)), layers)
        names, found = tuple(forms), list(forms.values())
        ratios.append(torch.cat([f.bias_ratio for f in found]))
        shares.append(torch.cat([f.bias_share for f in found]))
        classes.append(found[0].targets)
        if callable(progress):
            progress(len(ratios), total)
    if not ratios:
        raise InputError("Expected at least one input but got none.")
    return BiasByDepth(names, torch.stack(ratios), torch.stack(shares), torch.cat(classes))


def _target(targets: int | Sequence[int] | Tensor | None, i: int) -> int | None:
    if targets is None or isinstance(targets, int):
        return targets
    if i >= len(targets):
        raise InputError(f"Expected a target for each input but got {len(targets)} for more inputs.")
    return int(targets[i])


def _quartiles(prefix: str, values: Tensor) -> DepthRow:
    found: list[float | None] = [None] * 3
    if len(values):
        found = [float(v) for v in values.quantile(values.new_tensor([0.25, 0.5, 0.75]))]
    return dict(zip([prefix + "lower", prefix + "median", prefix + "upper"], found, strict=True))
