"""Maps of one detection by CRP, parts of CRP, gradients and random occlusion, all read the same way.

A class's map is positive where the picture speaks for the class, an offset's where it speaks for the
direction that the offset has taken: for methods that don't do so themselves, the map times the offset's sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import relprop
from relprop.detectors import Detection, DetectionUnit, Detector, Layout, iou
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
    "random_masks",
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
        gradients, reach = _gradients(run, signed, source_of(detection.anchor), n)
        made.update(gradients)
        return Maps(
            {name: m[:n] for name, m in made.items()} | {"crp, seed=logit": weighed},
            {name: m[n:] for name, m in made.items()} | offsets,
            reach,
        )


def _walk(run: Trace, seed: Tensor, composite: Composite) -> Tensor:
    return run.run(seed, composite, ledger=False).relevance.sum(2)[:, 0]


def _gradients(run: Trace, seed: Tensor, source: str, n: int) -> tuple[dict[str, Tensor], Tensor]:
    """Grad-CAM at the source, gradient times activation there, gradient times input; and the reach."""
    walked = run.run(seed, DERIVATIVES, record=[source], multiplier=True, ledger=False)
    gradient, at, value = walked.relevance[:, 0], walked.layers[source][:, 0], run.value(source)[0]
    size = gradient.shape[-2:]
    cam = (at.mean((-2, -1), keepdim=True) * value).sum(1).clamp(min=0)
    found = {
        "grad-cam": _resized(cam, size),
        "gradient x activation": _resized((at * value).sum(1), size),
        "gradient-x-input": (gradient * run.input[0]).sum(1),
    }
    seen = gradient[:n].any(0).any(0)
    rows, columns = seen.any(1), seen.any(0)
    return found, _span(rows)[:, None] & _span(columns)


def _span(seen: Tensor) -> Tensor:
    """From the first True to the last."""
    return (seen.cumsum(0) > 0) & (seen.flip(0).cumsum(0).flip(0) > 0)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def random_masks(count: int, size: int, grid: int, seed: int) -> Tensor:
    """Smooth random masks, (count, size, size) in [0, 1], each cell of a coarse grid shown with chance 1/2.

    Source: Petsiuk et al., RISE, BMVC 2018, section 3.2: a random binary grid, enlarged bilinearly to a little
    more than the picture and cut out at a random place.
    """
    generator = torch.Generator().manual_seed(seed)
    cell = math.ceil(size / grid)
    coarse = (torch.rand(count, 1, grid, grid, generator=generator) < 0.5).float()
    fine = F.interpolate(coarse, size=((grid + 1) * cell,) * 2, mode="bilinear", align_corners=False)[:, 0]
    shift = torch.randint(cell, (count, 2), generator=generator).tolist()
    return torch.stack([m[y : y + size, x : x + size] for m, (y, x) in zip(fine, shift, strict=True)])


class Occlusion:
    """Maps by hiding parts of a picture at random; the network runs once a mask, whatever is asked.

    "occlusion" is the covariance of a pixel's mask with what the detection's own unit says: the class's
    probability, or an offset (times its sign). "d-rise" is the published one: masks weighted by the best
    anchor's IoU with the detection times cosine of the class probabilities (of the asked class alone, for
    another than the detection's own), less the map's minimum.

    Source: Petsiuk et al., Black-box Explanation of Object Detectors via Saliency Maps (D-RISE), CVPR 2021,
    equations 3 to 6; hidden parts are black, as there.

    Args:
        detector: whose input has the picture's size.
        picture: (3, h, w) in 0-1.
        masks: (M, h, w) in 0-1.
        batch: pictures that run at once.
        half: run the masked pictures in bfloat16, which costs a third and is far more exact than the masks.
    """

    def __init__(
        self, detector: Detector, picture: Tensor, masks: Tensor, batch: int = 25, half: bool = False
    ) -> None:
        mean, std = (torch.tensor(v)[:, None, None] for v in (detector.mean, detector.std))
        self.masks = masks
        probabilities, offsets = [], []
        with torch.no_grad():
            for part in masks.split(batch):
                x = ((part[:, None] * picture - mean) / std).to(memory_format=torch.channels_last)
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    logits, moved, _ = detector.outputs(x)
                probabilities.append(logits.float().softmax(-1))
                offsets.append(moved.float())
            self.probabilities, self.offsets = torch.cat(probabilities), torch.cat(offsets)
            (anchors,) = detector.levels(picture[None])
            self.boxes = detector.decode(self.offsets, anchors.expand_as(self.offsets))

    def maps(self, detection: Detection, classes: Sequence[int]) -> Maps:
        """Maps (n, h, w) of classes and (4, h, w) of the offsets."""
        said = self.probabilities[:, detection.anchor, list(classes)].T
        sign = torch.where(detection.offsets < 0, -1.0, 1.0)
        moved = (self.offsets[:, detection.anchor] * sign).T
        target = torch.stack([
            detection.scores if k == detection.label else torch.eye(len(detection.scores))[k] for k in classes
        ])  # fmt: skip
        alike = F.normalize(self.probabilities, dim=-1) @ F.normalize(target, dim=-1).T  # (M, A, n)
        overlap = iou(self.boxes.flatten(0, 1), detection.box[None]).view(alike.shape[:2])
        weights = (overlap[..., None] * alike).amax(1).T
        drise = self._sum(weights)
        return Maps(
            {"occlusion": self._covariance(said), "d-rise": drise - drise.amin((-2, -1), keepdim=True)},
            {"occlusion": self._covariance(moved)},
        )

    def _sum(self, weights: Tensor) -> Tensor:
        """(n, M) → (n, h, w)."""
        return torch.einsum("nm,mhw->nhw", weights, self.masks) / len(self.masks)

    def _covariance(self, values: Tensor) -> Tensor:
        return self._sum(values - values.mean(1, keepdim=True))
