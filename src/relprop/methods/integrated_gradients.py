"""Integrated gradients."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from relprop.checks import Progress, check_choice, check_count, check_progress
from relprop.errors import InputError
from relprop.methods.gradient import weighted_gradient
from relprop.methods.method import SCORES, Method, Request, Result
from relprop.propagate.composite import DERIVATIVES
from relprop.propagate.trace import trace
from relprop.tracing.values import checked_output

__all__ = ["IntegratedGradients"]


class IntegratedGradients(Method):
    r"""Integrated gradients: the gradient averaged along the straight line from a baseline to the input.

    .. math:: R_i = (x_i - x'_i) \int_0^1 \frac{\partial f_c}{\partial x_i}(x' + t (x - x'))\, dt

    Source: Sundararajan et al. 2017, eq. 1. Shapes: (N, C, *spatial); there is no relevance at layers.
    The exact integral is complete: :math:`\sum R = f_c(x) - f_c(x')`. The sum over steps misses that by
    the completeness gap, which is reported for every target and sample.

    ``extras`` hold ``"completeness_gap"`` = f(x) - f(x') - total and ``"reference_difference"`` =
    f(x) - f(x'), (N,) or (K, N), in units of the score.

    Args:
        baseline: x', in the units the network sees: a number, or a tensor that broadcasts to the input
            ((C, 1, 1) gives a colour). 0 is the mean colour of a network with normalised input, not black.
        steps: points on the line.
        quadrature: "gauss-legendre", or "midpoint" (t = (k + 1/2) / steps, equal weights).
        chunk: rows (samples times steps) that run at once; memory grows with it, numbers don't change.
        progress: called with (steps done, steps).

    Raises:
        InputError: a baseline that doesn't fit, steps not from 1 to 1000 (midpoint: 100,000), layers asked for.

    >>> import torch, relprop
    >>> class Product(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x[:, :1] * x[:, 1:]
    >>> e = relprop.explain(Product(), torch.tensor([[3.0, 2.0]]), 0, IntegratedGradients(steps=4))
    >>> [round(v, 4) for v in e.relevance[0].tolist()], e.extras["reference_difference"].tolist()
    ([3.0, 3.0], [6.0])
    """

    name = "integrated-gradients"
    takes = SCORES - {"start"}
    summary = (
        "Integrated gradients: gradient averaged from a baseline to the input, with its completeness gap"
    )

    def __init__(
        self,
        *,
        baseline: float | Tensor = 0.0,
        steps: int = 50,
        quadrature: Literal["gauss-legendre", "midpoint"] = "gauss-legendre",
        chunk: int = 16,
        progress: Progress | None = None,
    ) -> None:
        check_choice("quadrature", quadrature, ("gauss-legendre", "midpoint"))
        # The points of Gauss and Legendre are the eigenvalues of a matrix of (steps, steps).
        check_count("steps", steps, most=1000 if quadrature == "gauss-legendre" else 100_000)
        check_count("chunk", chunk, most=4096)
        check_progress(progress)
        if not isinstance(baseline, (int, float, Tensor)) or isinstance(baseline, bool):
            raise InputError(
                f"Expected baseline to be a number or a tensor but got {type(baseline).__name__}."
            )
        if not bool(torch.isfinite(torch.as_tensor(baseline)).all()):
            raise InputError("Expected a finite baseline but it holds NaN or infinity.")
        self.baseline, self.steps, self.quadrature, self.chunk = baseline, steps, quadrature, chunk
        self._progress = progress

    def explain(self, request: Request) -> Result:
        if request.layers:
            raise InputError(
                "Expected no layers for integrated-gradients but got "
                f"{', '.join(map(repr, request.layers))}: the path is drawn in the input. Use gradient-x-input or "
                "an LRP method for relevance at layers."
            )
        x = request.trace.input
        start = self._start(x)
        ts, weights = _quadrature(self.quadrature, self.steps)

        def point(k: int) -> Tensor:
            return start + ts[k] * (x - start)

        mean, _ = weighted_gradient(
            request, point, weights, self.chunk, self._progress or request.facts.progress
        )
        relevance = mean * (x - start)
        difference = request.asked.score(request.output) - request.asked.score(self._at(request, start))
        gap = difference - relevance.flatten(2).double().sum(-1)
        extras: dict[str, Any] = {"completeness_gap": gap, "reference_difference": difference}
        extras = {name: v[0] if request.single else v for name, v in extras.items()}
        return Result(relevance, plan=request.trace.plan(DERIVATIVES), extras=extras)

    def _start(self, x: Tensor) -> Tensor:
        # A Python number takes the input's precision: float32 of 0.3 would leak into float64.
        baseline = torch.as_tensor(self.baseline, dtype=x.dtype, device=x.device)
        try:
            return baseline.expand_as(x)
        except RuntimeError:
            raise InputError(
                f"Expected a baseline that broadcasts to {tuple(x.shape)}, the input's shape, but got "
                f"{tuple(baseline.shape)}."
            ) from None

    def _at(self, request: Request, x: Tensor) -> Tensor:
        output: Tensor = trace(request.model, x.contiguous().to(request.trace.dtype)).output
        checked_output(request.model, output)
        return output


def _quadrature(name: str, steps: int) -> tuple[list[float], list[float]]:
    """Points in (0, 1) and weights that sum to 1."""
    if name == "midpoint":
        return [(k + 0.5) / steps for k in range(steps)], [1 / steps] * steps
    z, w = np.polynomial.legendre.leggauss(steps)
    return [float(v) for v in (1 + z) / 2], [float(v) for v in w / 2]
