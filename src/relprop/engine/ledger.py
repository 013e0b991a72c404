"""Ledger: where the relevance went, operator by operator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Ledger", "Row", "dot_sums", "plain_sums"]

_BLOCK = 1 << 17  # elements: products of this size stay in a core's cache


@dataclass(frozen=True)
class Row:
    """The accounts of one operator, summed over targets and samples where not said otherwise.

    Attributes:
        node, module, operator, rule: which operator, and how relevance crossed it.
        arrived: relevance that came to the operator's output.
        passed: relevance handed on to its inputs.
        bias: relevance absorbed by the bias.
        stabiliser: relevance absorbed by the stabiliser.
        lost: relevance that had nowhere to go under the rule (a unit active through its bias alone).
        absolute: sum of |relevance| at the output.
        error: largest |arrived - passed - bias - stabiliser - lost| / absolute, per target and sample.
    """

    node: str
    module: str
    operator: str
    rule: str
    arrived: float
    passed: float
    bias: float
    stabiliser: float
    lost: float
    absolute: float
    error: float


@dataclass(frozen=True)
class Ledger:
    """All rows of one propagation, from the start backward.

    Attributes:
        rows: one per operator that relevance crossed.
        start: total relevance of the seed.
        end: total relevance that arrived at the stop (the input by default).
        tolerance: what counts as rounding at the precision used: 1e-6 (float32), 1e-13 (float64).
    """

    rows: tuple[Row, ...]
    start: float
    end: float
    tolerance: float
    absolute_start: float

    @property
    def max_error(self) -> float:
        """The largest error of a row, relative to the sum of |relevance| there."""
        return max((r.error for r in self.rows), default=0.0)

    @property
    def closes(self) -> bool:
        """Whether every row balances up to rounding."""
        return self.max_error <= self.tolerance

    @property
    def bias(self) -> float:
        """Relevance absorbed by biases."""
        return sum(r.bias for r in self.rows)

    @property
    def stabiliser(self) -> float:
        """Relevance absorbed by stabilisers."""
        return sum(r.stabiliser for r in self.rows)

    @property
    def lost(self) -> float:
        """Relevance that had nowhere to go."""
        return sum(r.lost for r in self.rows)

    @property
    def growth(self) -> float:
        """The largest sum of |relevance| at any operator, relative to the start's."""
        if not self.absolute_start:
            return 0.0
        return max((r.absolute for r in self.rows), default=0.0) / self.absolute_start

    def summary(self) -> dict[str, float | bool]:
        """The accounts in one line, as plain numbers."""
        return {
            "start": self.start,
            "input": self.end,
            "bias": self.bias,
            "stabiliser": self.stabiliser,
            "lost": self.lost,
            "growth": self.growth,
            "max_error": self.max_error,
            "closes": self.closes,
        }

    def __str__(self) -> str:
        head = f"{'operator':<22}{'module':<28}{'rule':<24}{'in':>12}{'out':>12}{'bias':>12}{'stab.':>11}{'lost':>11}{'error':>9}"
        lines = [head]
        for r in self.rows:
            lines.append(
                f"{r.operator:<22.21}{r.module:<28.27}{r.rule:<24.23}{r.arrived:>12.5g}{r.passed:>12.5g}{r.bias:>12.5g}"
                f"{r.stabiliser:>11.3g}{r.lost:>11.3g}{r.error:>9.1e}"
            )
        verdict = "closes" if self.closes else "DOES NOT CLOSE"
        lines.append(
            f"start {self.start:.6g} = input {self.end:.6g} + bias {self.bias:.6g} + stabiliser {self.stabiliser:.3g}"
            f" + lost {self.lost:.3g}; {verdict} (largest error {self.max_error:.1e}, allowed {self.tolerance:.0e});"
            f" sum of |R| grows to {self.growth:.3g} x start"
        )
        return "\n".join(lines)


def plain_sums(part: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and sum of absolute values of relevance (k, N, ...), as float64 (k, N) each."""
    flat = part.reshape(part.shape[0], part.shape[1], -1) if part.ndim > 1 else part.reshape(-1, 1, 1)
    if not flat.is_cuda and flat.numel() > _BLOCK:
        return _blocked(flat, None)
    return flat.sum(-1).double(), flat.abs().sum(-1).double()


def dot_sums(part: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """`plain_sums` of c * value for a multiplier (k, N, ...) without making the product."""
    if part.ndim < 2:
        return plain_sums(part * value)
    flat = part.reshape(part.shape[0], part.shape[1], -1)
    other = value.reshape(1, value.shape[0], -1)
    if flat.is_cuda or flat.numel() <= _BLOCK:
        return plain_sums(flat * other)
    return _blocked(flat, other)


def _blocked(flat: Tensor, other: Tensor | None) -> tuple[Tensor, Tensor]:
    k, n, m = flat.shape
    step = max(1, _BLOCK // (k * n))
    # float32 inside a block, float64 between blocks: as exact as needed at the price of one read.
    total = torch.zeros(k, n, dtype=torch.float64)
    size = torch.zeros(k, n, dtype=torch.float64)
    buffer = flat.new_empty(k, n, min(step, m))
    for begin in range(0, m, step):
        block = flat[..., begin : begin + step]
        out = buffer[..., : block.shape[-1]]
        if other is None:
            total += block.sum(-1)
            torch.abs(block, out=out)
        else:
            torch.mul(block, other[..., begin : begin + step], out=out)
            total += out.sum(-1)
            out.abs_()
        size += out.sum(-1)
    return total, size
