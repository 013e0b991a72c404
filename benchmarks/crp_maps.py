"""Maps of one detection by CRP, parts of CRP, gradients and random occlusion, all read the same way.

A class's map is positive where the picture speaks for the class, an offset's where it speaks for the
direction that the offset has taken: for methods that don't do so themselves, the map times the offset's sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import relprop
from relprop.detectors import Detection, DetectionUnit, Detector, Layout
from relprop.detectors.d_rise import Seen
from relprop.detectors.scene_ssd import HEADS, Head
from relprop.methods.crp import CRP
from relprop.methods.method import Request
from relprop.propagate.composite import DERIVATIVES, Composite
from relprop.propagate.question import Question
from relprop.propagate.trace import Trace
from relprop.rules import MaxPool, ZPlus
from relprop.rules.negated import Negated

__all__ = [
    "OCCLUSION",
    "PROPAGATION",
    "Maps",
    "Occlusion",
    "Propagation",
    "head_of",
    "source_of",
]

PROPAGATION = (
    "crp",
    "crp, no background",
    "crp, seed=logit",  # classes only
    "crp, no contrast",  # R[k*] alone, and the switched R[o] alone
    "crp, no switch",  # offsets only: w+ whatever the sign
    "crp, neither",  # offsets only: w+ and no subtraction
    "w+ less w−",  # offsets only: not CRP; what pushes up less what pushes down, times the sign
    "mean of the classes",  # offsets only: what CRP subtracts, which knows nothing of the offset
    "grad-cam",
    "odam",
    "gradient x activation",
    "gradient-x-input",
)
OCCLUSION = ("occlusion", "d-rise")

_BELOW = [("linear", ZPlus()), ("max_pool", MaxPool("first"))]
_PLUS = Composite(_BELOW, "positive", name="w+")
_MINUS = Composite([("last", Negated(ZPlus())), *_BELOW], "positive", name="w-")


@dataclass(frozen=True, eq=False)
class Maps:
    """Maps of one detection by method.

    Attributes:
        classes: method → (n, h, w), one map a class asked for.
        offsets: method → (4, h, w).
        reach: (h, w) bool, the rectangle outside of which the gradient is 0.
    """

    classes: dict[str, Tensor]
    offsets: dict[str, Tensor]
    reach: Tensor | None = None

    def joined(self, other: Maps) -> Maps:
        """Both."""
        reach = self.reach if self.reach is not None else other.reach
        return Maps({**self.classes, **other.classes}, {**self.offsets, **other.offsets}, reach)


def head_of(anchor: int) -> Head:
    """The head of `SceneSSD` that an anchor belongs to.

    Raises:
        ValueError: no such anchor.
    """
    for head in HEADS:
        anchor -= head.cells**2 * len(head.sides)
        if anchor < 0:
            return head
    raise ValueError(f"Expected an anchor of SceneSSD but got one {anchor + 1} beyond its last.")


def source_of(anchor: int) -> str:
    """The feature map that an anchor's head reads, as a `DetectionUnit` of a `SceneSSD` names it."""
    head = head_of(anchor)
    return "raw.norm4_2" if head is HEADS[0] else f"raw.features.{head.layer}"


class Propagation:
    """Maps by going backward through a `SceneSSD`."""

    def __init__(self, detector: Detector) -> None:
        assert detector.classes is not None
        self.detector = detector
        self.unit = DetectionUnit(detector.raw, Layout(len(detector.classes), detector.background))

    def maps(self, x: Tensor, detection: Detection, classes: Sequence[int]) -> Maps:
        """Maps (n, h, w) of classes and (4, h, w) of the offsets, for an input (1, 3, h, w)."""
        layout = self.unit.layout
        run = relprop.trace(self.unit.at(detection.anchor), x)
        parts = [layout.index("class", k) for k in classes] + [layout.index(o) for o in layout.offsets]
        n, each = len(classes), torch.eye(layout.width)[parts][:, None]  # (n + 4, 1, width)
        made: dict[str, Tensor] = {}
        asked = Question(torch.tensor(parts)[:, None], False)
        request = Request(self.unit, run, asked, release=False)
        made["crp"] = CRP().explain(request).relevance.sum(2)[:, 0]
        made["crp, no background"] = CRP(include_background=False).explain(request).relevance.sum(2)[:, 0]
        classes_only = Request(self.unit, run, Question(asked.targets[:n], False), release=False)
        weighed = CRP(seed="logit").explain(classes_only).relevance.sum(2)[:, 0]

        x_j = run.output[0, layout.classes :]
        sign = torch.where(x_j < 0, -1.0, 1.0)[:, None, None]
        average = (torch.arange(layout.width) < layout.classes).float()[None, None] / layout.classes
        plus = _walk(run, torch.cat([each, average]), _PLUS)
        minus = _walk(run, each[n:], _MINUS)
        up, mean = plus[n:-1], plus[-1]
        switched = torch.where(sign < 0, minus, up)
        made["crp, no contrast"] = torch.cat([plus[:n], switched])
        offsets = {
            "crp, no switch": up - mean,
            "crp, neither": up,
            "w+ less w−": (up - minus) * sign,
            "mean of the classes": mean.expand_as(up),
        }

        signed = each.clone()
        signed[n:] *= sign
        slopes = Request(self.unit, run, replace(asked, kind="versus", weights=signed), release=False)
        gradients, reach = _gradients(slopes, source_of(detection.anchor), n)
        made.update(gradients)
        return Maps(
            {name: m[:n] for name, m in made.items()} | {"crp, seed=logit": weighed},
            {name: m[n:] for name, m in made.items()} | offsets,
            reach,
        )


def _walk(run: Trace, seed: Tensor, composite: Composite) -> Tensor:
    return run.run(seed, composite, ledger=False).relevance.sum(2)[:, 0]


def _gradients(request: Request, source: str, n: int) -> tuple[dict[str, Tensor], Tensor]:
    """Methods of the gradient alone, and the reach; of offsets below 0 the derivative is that of their size."""
    run, asked = request.trace, request.ones()
    walked = run.run(asked, DERIVATIVES, record=[source], multiplier=True, ledger=False)
    gradient, at, value = walked.relevance[:, 0], walked.layers[source][:, 0], run.value(source)[0]
    size = gradient.shape[-2:]
    found = {
        "gradient x activation": _resized((at * value).sum(1), size),
        "gradient-x-input": (gradient * run.input[0]).sum(1),
    }
    for method in (relprop.GradCAM(), relprop.ODAM(seed="softmax")):
        found[method.name] = _resized(method.explain(request).relevance[:, 0, 0], size)
    seen = gradient[:n].any(0).any(0)
    rows, columns = seen.any(1), seen.any(0)
    return found, _span(rows)[:, None] & _span(columns)


def _span(seen: Tensor) -> Tensor:
    """From the first True to the last."""
    return (seen.cumsum(0) > 0) & (seen.flip(0).cumsum(0).flip(0) > 0)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


class Occlusion:
    """Maps by hiding parts of a picture at random; the network runs once a mask, whatever is asked.

    "occlusion" is the covariance of a pixel's mask with what the detection's own unit says: the class's
    probability, or an offset (times its sign). "d-rise" is `relprop.DRISE` on the same runs.

    Args:
        detector: whose input is the picture alone, without padding.
        picture: what it takes.
        method: whose masks.
        half: run the masked pictures in bfloat16, which costs a third and is far more exact than the masks.
    """

    def __init__(self, detector: Detector, picture: Any, method: relprop.DRISE, half: bool = False) -> None:
        self.method, prepared = method, detector.prepared(picture)
        parts = list(method.draws(prepared.x.shape[2:]).parts(method.chunk))
        self.masks = torch.cat(parts)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            self.seen = [Seen.through(detector, prepared, part) for part in parts]
        count = len(self.masks)
        readings = [reading for one in self.seen for reading in one.readings]
        self.probabilities = torch.cat([r.scores.float() for r in readings]).unflatten(0, (count, -1))
        self.offsets = torch.cat([r.offsets.float() for r in readings]).unflatten(0, (count, -1))

    def maps(self, detection: Detection, classes: Sequence[int]) -> Maps:
        """Maps (n, h, w) of classes and (4, h, w) of the offsets."""
        said = self.probabilities[:, detection.anchor, list(classes)].T
        sign = torch.where(detection.offsets < 0, -1.0, 1.0)
        moved = (self.offsets[:, detection.anchor] * sign).T
        threshold = self.method.threshold
        weights = [torch.cat([one.alike(detection, k, threshold) for one in self.seen]) for k in classes]
        drise = self._sum(torch.stack(weights).float())
        return Maps(
            {"occlusion": self._covariance(said), "d-rise": drise - drise.amin((-2, -1), keepdim=True)},
            {"occlusion": self._covariance(moved)},
        )

    def _sum(self, weights: Tensor) -> Tensor:
        """(n, M) → (n, h, w)."""
        return torch.einsum("nm,mhw->nhw", weights, self.masks) / len(self.masks)

    def _covariance(self, values: Tensor) -> Tensor:
        return self._sum(values - values.mean(1, keepdim=True))
