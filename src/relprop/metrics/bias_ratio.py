"""Bias ratio: how much of a score the local linear map leaves to biases, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from relprop.checks import layer_names
from relprop.errors import InputError
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.ranking import model_and_input
from relprop.piecewise.decomposition import block_outputs, by_layer
from relprop.precision import full_precision
from relprop.propagate.trace import trace

__all__ = ["AffinePart", "BiasRatio", "affine_parts", "block_outputs"]


@dataclass(frozen=True)
class AffinePart:
    """A score as the local linear map of a layer's values, plus a bias: score = weighted + bias.

    Attributes:
        layer: the module or node whose value it is; "input" for the network's input.
        score: F, the explained score.
        bias: b = F - sum(W * X).
        absolute: sum of |W * X|.
    """

    layer: str
    score: float
    bias: float
    absolute: float

    @property
    def ratio(self) -> float | None:
        """Bias by score, b / F; None for a score of 0."""
        return self.bias / self.score if self.score else None

    @property
    def bounded(self) -> float | None:
        """|b| / (|b| + sum |W * X|), from 0 to 1; None where both are 0."""
        total = abs(self.bias) + self.absolute
        return abs(self.bias) / total if total else None


@full_precision
def affine_parts(
    model: nn.Module, x: Tensor, target: int, layers: Sequence[str] | None = None
) -> list[AffinePart]:
    r"""The score as an affine function of the input, and of each layer's values.

    .. math:: F_c = \sum_i W_i X_i + b, \qquad W = \frac{\partial F_c}{\partial X}

    Exact inside the linear region of X for networks of affine maps, ReLUs and max or average pools in
    evaluation mode. Source: the piece-wise affine representation, its figure of bias ratios.
    At a layer that other ways pass by (one branch of several), b also holds what comes along those.

    Args:
        model: (N, C, H, W) to scores (N, classes), in evaluation mode.
        x: (1, C, H, W).
        target: class c.
        layers: modules or nodes; None: `block_outputs`. The input always comes first.

    Raises:
        InputError: a target out of range, more than one input.
        UnknownNameError: no layer of that name.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> net[0].weight.data, net[0].bias.data = torch.eye(2), torch.tensor([1.0, 0.0])
    >>> net[2].weight.data, net[2].bias.data = torch.tensor([[1.0, -1.0]]), torch.tensor([2.0])
    >>> [(p.layer, p.score, p.bias) for p in affine_parts(net, torch.tensor([[3.0, 1.0]]), 0, ["1"])]
    [('input', 5.0, 3.0), ('1', 5.0, 2.0)]
    """
    run = trace(model, x)
    if run.batch != 1:
        raise InputError(f"Expected one input (1, C, H, W) but got shape {tuple(x.shape)}.")
    output = run.output
    if not isinstance(output, Tensor) or output.ndim != 2:
        raise InputError("Expected a model that returns one tensor of scores (1, classes).")
    if not 0 <= target < output.shape[1]:
        raise InputError(f"Expected a target from 0 to {output.shape[1] - 1} but got {target}.")
    targets = torch.full((1, 1), target, device=output.device)
    # Other networks have a bias of this kind too: what their tangent leaves over.
    forms = by_layer(run, targets, layers, single=True, linearise=True)
    return [AffinePart(n, float(f.score), float(f.bias), float(f.magnitude)) for n, f in forms.items()]


class BiasRatio(Metric):
    """The bias's share of the score in the local linear map: from the input on, and from each layer on.

    It is a fact about the network, the picture and the class; the method has no part in it. "ratio" (b / F,
    unbounded, left out for a score of 0) and "bounded" (|b| / (|b| + sum |W * X|)) are those of the input;
    `ratio@01 features.4` those of the layers, numbered in order of execution. Source: see `affine_parts`.

    Args:
        layers: modules or nodes; None: `block_outputs`.
    """

    name = "bias-ratio"
    of_model = True
    needs = "model"
    summary = "Bias ratio: the share of the score that the local linear map leaves to biases, per layer"
    outcomes = (
        Outcome("ratio", "Bias / score", better="", average="pair", percent=False),
        Outcome("bounded", "Bias share", better="", average="pair"),
    )

    def __init__(self, *, layers: Sequence[str] | None = None) -> None:
        self.layers = None if layers is None else layer_names(layers)

    def measure(self, case: Case) -> dict[str, float]:
        model, x = model_and_input(case, self.name)
        found: dict[str, float] = {}
        for index, part in enumerate(affine_parts(model, x, case.target, self.layers)):
            suffix = f"@{index:02} {part.layer}" if index else ""
            for key, value in (("ratio", part.ratio), ("bounded", part.bounded)):
                if value is not None:
                    found[key + suffix] = value
        return found
