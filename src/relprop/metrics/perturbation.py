"""Perturbation: how the class's score falls as relevant pixels go, and rises as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.checks import check_choice, check_count
from relprop.errors import InputError
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.ranking import as_picture, by_relevance, model_and_input, scores_of
from relprop.precision import full_precision

__all__ = ["Curves", "Fill", "Perturbation", "area", "blurred", "perturbation_curves"]

Fill = Literal["mean", "blur"]
"""0 in normalised units (the mean colour), or the picture itself, blurred."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Probability of the class, (steps + 1,) each: at 0, 1/steps, ... 1 of the pixels.

    Attributes:
        deletion: the most relevant pixels covered.
        insertion: the most relevant pixels shown, the others covered.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]


@full_precision
def perturbation_curves(
    model: nn.Module,
    x: Tensor,
    heat: Any,
    target: int,
    *,
    steps: int = 20,
    deletion: Fill = "mean",
    insertion: Fill = "blur",
    multi_label: bool = False,
    chunk: int = 16,
) -> Curves:
    """Both curves of Petsiuk et al. 2018 (RISE).

    At step k the `round(k * n / steps)` pixels of highest (signed) relevance out of n are covered, or shown;
    equals go in reading order. All channels of a pixel go together.

    Args:
        model: (N, C, H, W) to scores (N, classes).
        x: (1, C, H, W), normalised.
        heat: (h, w) of any resolution; resized bilinearly to (H, W).
        target: the class whose probability is read.
        steps: number of steps; the paper takes one for each row of pixels, 224.
        deletion, insertion: what covers pixels in either curve.
        multi_label: sigmoid instead of softmax.
        chunk: pictures per forward run.

    Raises:
        InputError: a map that isn't finite, a target out of range.

    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1, bias=False))
    >>> net[1].weight.data = torch.tensor([[2.0, 0.0]])
    >>> x = torch.tensor([[[[1.0, 1.0]]]])
    >>> c = perturbation_curves(net, x, [[1.0, 0.0]], 0, steps=2, insertion="mean", multi_label=True)
    >>> c.deletion.round(3).tolist(), c.insertion.round(3).tolist()
    ([0.881, 0.5, 0.5], [0.5, 0.881, 0.881])
    """
    drawn = _Drawn(model, x, heat, target, steps, multi_label, chunk)
    return Curves(drawn.curve("deletion", deletion), drawn.curve("insertion", insertion))


class _Drawn:
    """Curves of one map: its pixels are ranked once."""

    def __init__(
        self, model: nn.Module, x: Tensor, heat: Any, target: int, steps: int, multi_label: bool, chunk: int
    ) -> None:
        ranks = torch.empty(x.shape[2] * x.shape[3], dtype=torch.int64)
        order = by_relevance(as_picture(heat, x))
        ranks[order] = torch.arange(len(order))
        counts = torch.tensor([round(k * len(order) / steps) for k in range(steps + 1)])
        self.first = (ranks < counts[:, None]).reshape(steps + 1, 1, *x.shape[2:]).to(x.device)
        self.model, self.x, self.target, self.multi_label, self.chunk = model, x, target, multi_label, chunk

    def curve(self, kind: str, fill: str) -> NDArray[np.float64]:
        """One curve, (steps + 1,)."""
        cover = blurred(self.x) if fill == "blur" else torch.zeros_like(self.x)
        shown = self.first if kind == "insertion" else ~self.first
        parts = [
            _probability(
                scores_of(self.model, torch.where(part, self.x, cover)), self.target, self.multi_label
            )
            for part in shown.split(self.chunk)
        ]
        return torch.cat(parts).numpy()


def _probability(scores: Tensor, target: int, multi_label: bool) -> Tensor:
    if not 0 <= target < scores.shape[1]:
        raise InputError(f"Expected a target from 0 to {scores.shape[1] - 1} but got {target}.")
    return (scores.sigmoid() if multi_label else scores.softmax(1))[:, target]


def area(curve: Any) -> float:
    """Area under a curve over 0 to 1 at even steps, by the trapezoid rule.

    >>> area([1.0, 0.5, 0.0])
    0.5
    """
    values = np.asarray(curve, dtype=np.float64)
    return float((values[1:] + values[:-1]).sum() / 2 / (len(values) - 1))


def blurred(x: Tensor, size: int = 11, sigma: float = 5.0) -> Tensor:
    """The picture (N, C, H, W) under a Gaussian of `size` pixels, edges repeated.

    Size and sigma are those of RISE's code.

    >>> blurred(torch.ones(1, 3, 4, 4)).allclose(torch.ones(1, 3, 4, 4))
    True
    """
    at = torch.arange(size, dtype=x.dtype, device=x.device) - size // 2
    weights = torch.exp(-(at**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    padded = F.pad(x, (size // 2,) * 4, mode="replicate")
    flat = padded.reshape(-1, 1, *padded.shape[2:])
    flat = F.conv2d(F.conv2d(flat, weights.reshape(1, 1, 1, -1)), weights.reshape(1, 1, -1, 1))
    return flat.reshape(x.shape)


_KINDS = ("deletion", "insertion")
_FILLS: tuple[Fill, ...] = ("mean", "blur")


class Perturbation(Metric):
    """Areas under the deletion and the insertion curve, and how far they lie apart; see `perturbation_curves`.

    Args:
        steps: number of steps, each the same share of the pixels.
        deletion: what covers deleted pixels: "mean" or "blur".
        insertion: what covers pixels that aren't shown yet: "mean" or "blur".
        fills: also report both curves under each of these, as `deletion-blur` and so on: what a fill itself does
            to the network is in both curves, and falls out of their difference.
        curves: also report each point, as `deletion@07` for step 7 (as many digits as the last step has).
        chunk: pictures per forward run.

    Raises:
        InputError: steps not from 1 to 10,000, chunk not from 1 to 4096, another fill.
    """

    name = "perturbation"
    needs = "model"
    summary = "Perturbation: areas under the deletion and insertion curves of the class's probability"
    outcomes = (
        Outcome("deletion", "Deletion AUC", better="lower", average="pair"),
        Outcome("insertion", "Insertion AUC", average="pair"),
        Outcome("difference", "Insertion − deletion", average="pair"),
        Outcome("deletion-mean", "Deletion AUC, mean", better="lower", average="pair"),
        Outcome("insertion-mean", "Insertion AUC, mean", average="pair"),
        Outcome("difference-mean", "Insertion − deletion, mean", average="pair"),
        Outcome("deletion-blur", "Deletion AUC, blur", better="lower", average="pair"),
        Outcome("insertion-blur", "Insertion AUC, blur", average="pair"),
        Outcome("difference-blur", "Insertion − deletion, blur", average="pair"),
    )

    def __init__(
        self,
        *,
        steps: int = 20,
        deletion: Fill = "mean",
        insertion: Fill = "blur",
        fills: Sequence[Fill] = (),
        curves: bool = False,
        chunk: int = 16,
    ) -> None:
        check_count("steps", steps, most=10_000)
        check_count("chunk", chunk, most=4096)
        check_choice("deletion", deletion, _FILLS)
        check_choice("insertion", insertion, _FILLS)
        if isinstance(fills, str):
            raise InputError(f"Expected fills to be a list of fills but got {fills!r}.")
        for fill in fills:
            check_choice("fills", fill, _FILLS)
        self.steps, self.deletion, self.insertion, self.fills = steps, deletion, insertion, tuple(fills)
        self.curves, self.chunk = curves, chunk

    def measure(self, case: Case) -> dict[str, float]:
        model, x = model_and_input(case, self.name)
        published = {"deletion": self.deletion, "insertion": self.insertion}
        wanted = {*published.items(), *((kind, fill) for kind in _KINDS for fill in self.fills)}
        drawn = _Drawn(model, x, case.map, case.target, self.steps, case.multi_label, self.chunk)
        curves = {which: drawn.curve(*which) for which in sorted(wanted)}
        areas = {which: area(curve) for which, curve in curves.items()}
        found = {kind: areas[kind, fill] for kind, fill in published.items()}
        found["difference"] = found["insertion"] - found["deletion"]
        for fill in self.fills:
            found |= {f"{kind}-{fill}": areas[kind, fill] for kind in _KINDS}
            found[f"difference-{fill}"] = areas["insertion", fill] - areas["deletion", fill]
        if self.curves:
            digits = len(str(self.steps))
            places = [(kind, curves[kind, fill]) for kind, fill in published.items()]
            places += [(f"{kind}-{fill}", curves[kind, fill]) for fill in self.fills for kind in _KINDS]
            for key, values in places:
                found |= {f"{key}@{k:0{digits}}": float(v) for k, v in enumerate(values)}
        return found

    def reported(self) -> tuple[Outcome, ...]:
        asked = {f"{what}-{fill}" for what in (*_KINDS, "difference") for fill in self.fills}
        # What stands under its fill needn't be looked at twice.
        twice = {self.deletion, self.insertion} <= set(self.fills)
        return tuple(
            replace(o, detail=twice) if "-" not in o.key else o
            for o in self.outcomes
            if "-" not in o.key or o.key in asked
        )
