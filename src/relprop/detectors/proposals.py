"""The first stage of a two-stage detector: a region proposal network, as a dense detector of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from relprop.detectors.boxes import nms
from relprop.detectors.detections import Detections
from relprop.detectors.detector import Detector
from relprop.detectors.torchvision_entry import Anchors, Transform, feature_maps
from relprop.graph import capture_lock
from relprop.precision import full_precision

__all__ = ["RPN", "ProposalNetwork"]


class ProposalNetwork(nn.Module):
    """Backbone and RPN of a torchvision model, its own modules: nothing is copied, none of their modes is changed.

    (N, 3, h, w) → (logits (N, A, 1), offsets (N, A, 4)).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.training = model.training
        self.backbone, self.rpn = model.backbone, model.rpn

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, offsets = self.by_level(list(feature_maps(self.backbone, x).values()))
        return torch.cat(logits, 1), torch.cat(offsets, 1)

    def by_level(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (N, A_l, 1) and offsets (N, A_l, 4) of each level, anchors as torchvision counts them."""
        objectness, deltas = self.get_submodule("rpn.head")(maps)
        return (
            [level.permute(0, 2, 3, 1).flatten(1)[..., None] for level in objectness],
            [level.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for level in deltas],
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class RPN(Detector):
    """A region proposal network: a dense detector of one class, "object". What it finds are the proposals.

    Of each level the best `top_k` anchors by their logits, none below the threshold, suppression within each
    level, then the best `most` of all: torchvision's `RegionProposalNetwork`.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015, section 3.1; with levels Lin et al., Feature Pyramid Networks
    for Object Detection, CVPR 2017, section 4.1.
    """

    @classmethod
    def of(cls, model: Any) -> RPN:
        """The RPN of a torchvision model, with the model's own thresholds."""
        rpn = model.rpn

        def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
            boxes: Tensor = rpn.box_coder.decode_single(offsets, anchors)
            return boxes

        return cls(
            raw=ProposalNetwork(model),
            anchors=Anchors(model.backbone, rpn.anchor_generator),
            decode=decode,
            scores="sigmoid",
            classes=["object"],
            prepare=Transform(model),
            mean=tuple(model.transform.image_mean),
            std=tuple(model.transform.image_std),
            score_threshold=rpn.score_thresh,
            top_k=rpn.pre_nms_top_n(),
            top_k_per="level",
            least_side=rpn.min_size,
            nms_threshold=rpn.nms_thresh,
            most=rpn.post_nms_top_n(),
            name=f"{type(model).__name__}'s RPN",
        )

    @full_precision
    def __call__(self, image: Any) -> Detections:
        """Propose: the boxes that the second stage judges, best first.

        Args:
            image: what `prepare` takes, or a `Prepared`.
        """
        prepared = self.prepared(image)
        levels = self.levels(prepared.x)
        with torch.no_grad():
            logits, offsets, _ = self.outputs(prepared.x)
            anchors = torch.cat(levels)
            every = torch.arange(len(anchors), device=anchors.device)
            reading = self._reading(every, logits[0], offsets[0], None, anchors, prepared)
            row, _ = self.proposed(logits[0], offsets[0], levels, prepared.window)
        label = torch.zeros_like(row)
        return Detections(reading.boxes[row], label, reading.scores[row, 0], row, reading)

    def proposed(
        self, logits: Tensor, offsets: Tensor, levels: Sequence[Tensor], window: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """The proposals, best first: which anchors (P,), and boxes (P, 4) in pixels of the input.

        Args:
            logits: (A, 1).
            offsets: (A, 4).
            levels: the anchors of each level.
            window: x0, y0, x1, y1 of the picture in the input, at which boxes are cut.
        """
        counts = [len(level) for level in levels]
        boxes = self.decoded(offsets, torch.cat(list(levels)))
        boxes = torch.stack([boxes[:, i].clamp(window[i % 2], window[i % 2 + 2]) for i in range(4)], 1)
        rows, groups, start = [], [], 0
        for number, count in enumerate(counts):
            best = logits[start : start + count, 0].topk(min(self.top_k, count)).indices + start
            rows.append(best)
            groups.append(torch.full_like(best, number))
            start += count
        row, level = torch.cat(rows), torch.cat(groups)
        scores = logits[row, 0].sigmoid()
        # Not below the threshold, where other detectors' scores are above it.
        fits = (scores >= self.score_threshold) & (boxes[row, 2:] - boxes[row, :2] >= self.least_side).all(1)
        row, level, scores = row[fits], level[fits], scores[fits]
        kept = row[nms(boxes[row], scores, level, self.nms_threshold)[: self.most]]
        return kept, boxes[kept]

    @full_precision
    def of_maps(
        self, maps: dict[str, Tensor], x: Tensor, window: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The proposals of known maps: anchor (P,), boxes (P, 4), logits (P, 1), offsets and anchors (P, 4)."""
        assert isinstance(self.raw, ProposalNetwork)
        assert isinstance(self.anchors, Anchors)
        with capture_lock:
            logits, offsets = self.raw.by_level(list(maps.values()))
            levels = self.anchors.on(x, [(m.shape[2], m.shape[3]) for m in maps.values()])
        every, moved, anchors = torch.cat(logits, 1)[0], torch.cat(offsets, 1)[0], torch.cat(levels)
        row, boxes = self.proposed(every, moved, [level.to(x) for level in levels], window)
        return row, boxes, every[row], moved[row], anchors.to(x)[row]
