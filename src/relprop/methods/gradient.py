"""Gradients: plain, times input, and averaged over noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from relprop.checks import Progress, check_count, check_number, check_progress, check_seed
from relprop.errors import InputError
from relprop.methods.method import SCORES, Method, Request, Result
from relprop.propagate.composite import DERIVATIVES
from relprop.propagate.trace import trace

__all__ = ["Gradient", "GradientXInput", "SmoothGrad", "weighted_gradient"]


class Gradient(Method):
    r"""The derivative of the target's score by the input, signed.

    .. math:: R = \frac{\partial f_c}{\partial x}

    Source: Simonyan et al. 2014, sec. 3, who draw :math:`\max_{channels} |R|`; the numbers here keep
    sign and channels. At a kink the derivative is PyTorch's (0 for a ReLU at 0, the first maximum of a
    window). Shapes: (N, C, *spatial), and the layers' own. Conserves nothing: it is a rate, in units of
    score per unit of input.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU())
    >>> net[0].weight.data = torch.tensor([[2.0, -1.0], [1.0, -3.0]])
    >>> x = torch.tensor([[3.0, 2.0]])
    >>> relprop.explain(net, x, target=[0, 1], method="gradient").relevance.tolist()
    [[[2.0, -1.0]], [[0.0, 0.0]]]
    """

    name = "gradient"
    takes = SCORES
    summary = "Gradient: how fast the score changes with each input value (a rate, nothing adds up)"

    def explain(self, request: Request) -> Result:
        run = request.propagate(request.ones(), DERIVATIVES, multiplier=True, ledger=False)
        return Result.of(run)


class GradientXInput(Method):
    r"""Gradient times input: each value's part in the local linear map.

    .. math:: R_i = x_i \frac{\partial f_c}{\partial x_i}

    Source: Shrikumar et al. 2016. Equal to LRP-0 on networks of affine maps, ReLUs and max pools. At a
    layer it is gradient times the layer's value. Shapes: (N, C, *spatial). The total is the score less
    what the biases contribute (piecewise linear networks); elsewhere it is the score's first-order part.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1)
    >>> net.weight.data, net.bias.data = torch.tensor([[2.0, -1.0]]), torch.tensor([0.5])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 2.0]]), target=0, method="gradient-x-input")
    >>> e.relevance.tolist(), e.outputs.tolist()  # 6 - 2 + 0.5 from the bias
    ([[6.0, -2.0]], [[4.5]])
    """

    name = "gradient-x-input"
    takes = SCORES
    summary = "Gradient x input: contributions of the local linear map, biases left out"

    def explain(self, request: Request) -> Result:
        values = {name: request.trace.value(name) for name in request.layers}
        x = request.trace.input
        run = request.propagate(request.ones(), DERIVATIVES, multiplier=True, ledger=False)
        layers = {name: g * values[name] for name, g in run.layers.items()}
        return Result(run.relevance * x, layers, run.plan)


class SmoothGrad(Method):
    r"""SmoothGrad: the gradient averaged over noisy copies of the input.

    .. math:: R = \frac1n \sum_{k=1}^n \frac{\partial f_c}{\partial x}(x + ε_k), \quad
        ε_k \sim N(0, σ^2), \quad σ = \text{noise} \cdot (\max x - \min x)

    Source: Smilkov et al. 2017, sec. 3 (σ as a share of the input's range: 10-20 %). σ is each
    sample's own. The draws come from a generator of this call, seeded with `seed`, on the CPU; every
    sample of a batch meets the same draws, scaled by its σ, so that row i of a batch is the single
    run of sample i. The global random state is neither read nor moved.

    Shapes: (N, C, *spatial); layers hold the averaged gradient there. Conserves nothing.

    Args:
        samples: number of noisy copies, n.
        noise: σ as a share of the input's range.
        seed: of the noise.
        chunk: rows (samples times copies) that run at once; memory grows with it, numbers don't change.
        progress: called with (copies done, n).

    Raises:
        InputError: samples not from 1 to 100,000, chunk not from 1 to 4096, noise < 0, no whole seed.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU())
    >>> net[0].weight.data, net[0].bias.data = torch.tensor([[2.0]]), torch.tensor([0.0])
    >>> e = relprop.explain(net, torch.tensor([[3.0]]), target=0, method=SmoothGrad(samples=8))
    >>> e.relevance.tolist()  # one value has no range, so no noise
    [[2.0]]
    """

    name = "smoothgrad"
    takes = SCORES
    summary = "SmoothGrad: gradient averaged over noisy copies of the input (seeded)"

    def __init__(
        self,
        *,
        samples: int = 25,
        noise: float = 0.15,
        seed: int = 0,
        chunk: int = 16,
        progress: Progress | None = None,
    ) -> None:
        check_count("samples", samples, most=100_000)
        check_count("chunk", chunk, most=4096)
        check_number("noise", noise, least=0)
        check_seed(seed)
        check_progress(progress)
        self.samples, self.noise, self.seed, self.chunk = samples, noise, seed, chunk
        self._progress = progress

    def explain(self, request: Request) -> Result:
        x = request.trace.input
        dims = tuple(range(1, x.ndim))
        sigma = self.noise * (x.amax(dims, keepdim=True) - x.amin(dims, keepdim=True))
        generator = torch.Generator().manual_seed(self.seed)

        def point(_: int) -> Tensor:
            # float32 whatever the input's dtype: other dtypes would draw other numbers.
            return x + sigma * torch.randn(x.shape[1:], generator=generator, dtype=torch.float32).to(x)

        weights = [1 / self.samples] * self.samples
        tell = self._progress or request.facts.progress
        mean, layers = weighted_gradient(request, point, weights, self.chunk, tell, request.layers)
        return Result(mean, layers, request.trace.plan(DERIVATIVES))


def weighted_gradient(
    request: Request,
    point: Callable[[int], Tensor],
    weights: Sequence[float],
    chunk: int,
    progress: Progress | None = None,
    layers: Sequence[str] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over k of weights[k] * gradient at point(k): (K, N, C, *spatial), and the same at layers.

    Args:
        request: whose model and targets.
        point: k -> input (N, C, *spatial), called once for each k, in order.
        weights: one a point.
        chunk: rows that run at once; at least one whole batch.
        progress: called with (points done, points).
        layers: places whose gradient is wanted too.
    """
    n, total = request.trace.batch, len(weights)
    # A model that fixes its batch size, or mixes what is in a batch, can't take several points at once.
    alone = request.trace.graph.static_batch is not None or request.trace.meeting() is not None
    many = 1 if alone else max(1, chunk // n)
    found: Tensor | None = None
    at: dict[str, Tensor] = {}
    for begin in range(0, total, many):
        ks = range(begin, min(begin + many, total))
        run = trace(request.model, torch.cat([point(k) for k in ks]).to(request.trace.dtype))
        start = None if request.start is None else request.start.name
        seed = request.asked.slopes(request.output_of(run))
        walked = run.run(
            seed, DERIVATIVES, start=start, record=layers, multiplier=True, ledger=False, release=True
        )
        part = _fold(walked.relevance, weights[begin : ks.stop], n)
        found = part if found is None else found.add_(part)
        for name, g in walked.layers.items():
            part = _fold(g, weights[begin : ks.stop], n)
            at[name] = part if name not in at else at[name].add_(part)
        if progress is not None:
            progress(ks.stop, total)
    if found is None:
        raise InputError("Expected at least one point to take the gradient at.")
    return found, at


def _fold(gradient: Tensor, weights: Sequence[float], n: int) -> Tensor:
    """(K, points * N, ...) -> weighted sum over points, (K, N, ...)."""
    apart = gradient.unflatten(1, (len(weights), n))
    factors = torch.tensor(list(weights), dtype=gradient.dtype, device=gradient.device)
    return (apart * factors.reshape(1, -1, *[1] * (apart.ndim - 2))).sum(1)
