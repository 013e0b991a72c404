"""AffineForm: a score as weights times values plus a bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.glance import Entry, framed, table_html
from relprop.precision import full_precision
from relprop.rules.owning import Owner

__all__ = ["AffineForm", "Deviation"]

_MOST = 6  # scores that a notebook shows


@dataclass(frozen=True, eq=False, repr=False)
class AffineForm:
    r"""The affine piece of a score around an input: F(Y) = W · Y + b for all Y of the same piece.

    Shapes are for one target; a list of K targets puts K in front (`value` and `outputs` excepted).

    Attributes:
        weight: W, the derivative of the score by each value at the layer, (N, C, *spatial).
        bias: b = F - sum(W * X), (N,) float64.
        score: F, (N,) float64: the target's score, less the rival's where there is one.
        value: X, the layer's values, (N, C, *spatial).
        at: the layer; "input" for the network's input.
        targets: the classes explained, int64 (N,).
        versus: the rivals whose score is taken off, int64 (N,), or None.
        outputs: what the model returned.
        exact: the network is piece-wise affine behind the layer; else W and b hold at X only.
        owners: whose bias it is (`Owner`), in order of execution; None where it wasn't asked.
        error: how far the linearisation is off nearby; None for exact forms, and where it wasn't measured.
    """

    weight: Tensor
    bias: Tensor
    score: Tensor
    value: Tensor
    at: str
    targets: Tensor
    versus: Tensor | None
    outputs: Any
    exact: bool
    owners: tuple[Owner, ...] | None = None
    error: Deviation | None = None

    @property
    def contribution(self) -> Tensor:
        """W * X, signed, shaped like `weight`; the total is score - bias."""
        return self.weight * self.value

    @property
    def map(self) -> Tensor:
        """The contribution summed over channels, (N, *spatial)."""
        return self.contribution.sum(self.targets.ndim)

    @property
    def magnitude(self) -> Tensor:
        """Sum of |W * X|, (N,) float64."""
        return _wide(self.contribution.abs(), self.targets.ndim)

    @property
    def bias_ratio(self) -> Tensor:
        """B / F, unbounded; NaN for a score of 0."""
        return torch.where(self.score == 0, torch.nan, self.bias / self.score)

    @property
    def bias_share(self) -> Tensor:
        """|b| / (|b| + sum |W * X|), from 0 to 1; NaN where both are 0."""
        return self.bias.abs() / (self.bias.abs() + self.magnitude)

    @property
    def residual(self) -> Tensor | None:
        """|sum(W * X) + sum of owners - F| / (sum |W * X| + sum |owners|), (N,); None without owners.

        An independent check: the owners are added up from the network's parameters, not from F.
        """
        if self.owners is None:
            return None
        amounts = torch.stack([torch.zeros_like(self.score), *[o.amount for o in self.owners]])
        total = _wide(self.weight.double() * self.value.double(), self.targets.ndim) + amounts.sum(0)
        size = self.magnitude + amounts.abs().sum(0)
        return torch.where(size == 0, 0.0, (total - self.score).abs() / size)

    @full_precision
    def predict(self, value: Tensor) -> Tensor:
        """W · Y + b for other values Y at the layer, (N,) float64.

        Args:
            value: (N, C, *spatial), or anything that broadcasts to it.

        Raises:
            InputError: another shape.
        """
        try:
            value = value.expand_as(self.value)
        except RuntimeError:
            raise InputError(
                f"Expected values shaped like {self.at!r}, {tuple(self.value.shape)}, but got "
                f"{tuple(value.shape)}."
            ) from None
        return _wide(self.weight.double() * value.double(), self.targets.ndim) + self.bias

    def _repr_html_(self) -> str:
        """What the score is made of, for notebooks: the values for and against, and the bias."""
        terms = (self.weight * self.value).flatten(self.targets.ndim).double()
        parts = [terms.clamp(min=0).sum(-1), terms.clamp(max=0).sum(-1), self.bias, self.score]
        scores = torch.stack([part.detach().cpu().flatten() for part in parts], 1).tolist()
        names = ("W · X for it", "W · X against it", "b", "score")
        rows: list[tuple[str, list[list[Entry | str]]]] = []
        for values, target in zip(scores[:_MOST], self.targets.flatten().tolist(), strict=False):
            most = max(map(abs, values)) or 1.0
            numbers = [Entry(f"{v:.3f}".replace("-", "−"), bar=v / most) for v in values]
            rows.append((f"class {target}", [[name, one] for name, one in zip(names, numbers, strict=True)]))
        kind = "exact for inputs of the same piece" if self.exact else "linearised: holds at this input alone"
        said = [f"score = W · X + b at {self.at!r}, {kind}. b is the part that no value there has a part in."]
        if len(scores) > _MOST:
            said.append(f"The first {_MOST} of {len(scores)} scores are shown.")
        return framed("A score taken apart", table_html(["", "value"], rows), said)

    def __repr__(self) -> str:
        lead = "×".join(map(str, self.targets.shape))
        kind = "exact" if self.exact else "linearised"
        return f"AffineForm({lead} scores at {self.at!r}, {kind})"


@dataclass(frozen=True, eq=False)
class Deviation:
    """How far a linearisation is off beside the point it was made at.

    The score is computed again at X + d, for d along the gradient and along random directions.

    Attributes:
        size: |d| / |X|.
        missed: |F(X + d) - W · (X + d) - b|, (D, N) or (D, K, N); the gradient's direction first.
        moved: |F(X + d) - F(X)|, likewise.
    """

    size: float
    missed: Tensor
    moved: Tensor

    @property
    def relative(self) -> Tensor:
        """Sum of what was missed by sum of the score's changes, (N,) or (K, N): 0 where the form is exact."""
        return self.missed.sum(0) / self.moved.sum(0)


def _wide(terms: Tensor, lead: int) -> Tensor:
    """Sum over all but the leading (K,) N axes, in float64."""
    return terms.double().flatten(lead).sum(-1) if terms.ndim > lead else terms.double()
