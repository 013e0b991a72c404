"""Variants: what one output unit of a detector says when parts of the picture are taken away."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from relprop.checks import check_count
from relprop.detectors.detections import Detection
from relprop.detectors.detector import EDGES, Detector
from relprop.detectors.filling import filled
from relprop.detectors.prepare import Prepared
from relprop.errors import InputError, unknown_name
from relprop.graph import capture_lock
from relprop.precision import full_precision
from relprop.watch import passing

__all__ = ["Said", "ask", "inside", "pushed"]


@dataclass(frozen=True, eq=False)
class Said:
    """What a detection's own output unit says of M inputs.

    Attributes:
        label: the detection's class.
        names: of the O offsets.
        softmax: whether the classes' scores are a softmax of their logits.
        logits: (M, K).
        scores: (M, K), 0 to 1.
        offsets: (M, O).
        objectness: (M,) logits, or None.
        edges: (M, 4), the decoded box x1, y1, x2, y2 in pixels of the picture, not cut at its edge.
        pushed: (O + 4,), what the network's outputs add to each offset and edge of the input itself, to first
            order (slope × output): its sign is the way that it went.
    """

    label: int
    names: tuple[str, ...]
    softmax: bool
    logits: Tensor
    scores: Tensor
    offsets: Tensor
    objectness: Tensor | None
    edges: Tensor
    pushed: Tensor

    @property
    def parts(self) -> tuple[str, ...]:
        """What `of` can tell."""
        own = () if self.objectness is None else ("objectness",)
        return ("class", "margin", "score", *own, *self.names, *EDGES)

    def of(self, part: str, label: int | None = None) -> Tensor:
        r"""A part of the detection in each input, (M,).

        Args:
            part: "class": a class's logit; "margin": the log-odds of a softmax, logit_k less
                :math:`\log \sum_{j \ne k} e^{logit_j}`, and the logit itself without softmax; "score"; an offset's
                name; "x1", "y1", "x2" or "y2"; "objectness" where there is one.
            label: the class of "class", "margin" and "score"; None: the detection's own.

        Raises:
            UnknownNameError: no such part.
        """
        k = self.label if label is None else label
        if part == "class" or (part == "margin" and not self.softmax):
            return self.logits[:, k]
        if part == "margin":
            others = self.logits.clone()
            others[:, k] = -torch.inf
            return self.logits[:, k] - others.logsumexp(1)
        if part == "score":
            return self.scores[:, k]
        if part == "objectness" and self.objectness is not None:
            return self.objectness
        if part in EDGES:
            return self.edges[:, EDGES.index(part)]
        if part in self.names:
            return self.offsets[:, self.names.index(part)]
        raise unknown_name("part of a detection", part, self.parts)

    def went_up(self, part: str) -> bool:
        """Whether the network made an offset or an edge larger than it is where all its outputs are 0."""
        return bool(self.pushed[[*self.names, *EDGES].index(part)] >= 0)

    def rows(self, index: Tensor) -> Said:
        """Some of the M inputs, or some more than once."""
        objectness = None if self.objectness is None else self.objectness[index]
        some = {name: getattr(self, name)[index] for name in ("logits", "scores", "offsets", "edges")}
        return replace(self, objectness=objectness, **some)


@full_precision
@torch.no_grad()
def ask(
    detector: Detector,
    prepared: Prepared,
    detection: Detection,
    masks: Tensor,
    fills: Sequence[str],
    batch: int = 8,
) -> Said:
    """Ask a detection's own output unit of the input, then with pixels taken away, once for each mask and fill.

    Args:
        detector: what made the detection.
        prepared: the input it was found in.
        detection: whose anchor is asked.
        masks: (M, h, w) bool, True where pixels of the input are taken away.
        fills: F ways to fill, as `filled`.
        batch: pictures that run at once.

    Returns:
        1 + F M rows: the input itself, the first fill with each mask, the second, …

    Raises:
        InputError: masks of another size, an unknown fill, a detection from another picture.
    """
    check_count("batch", batch)
    unit = detector.unit(prepared, [detection])
    rows = []
    total = math.ceil((1 + len(fills) * len(masks)) / batch)
    for i, inputs in enumerate(_batches(prepared, masks, fills, batch)):
        passing("hiding places", i, total)
        with capture_lock:
            rows.append(unit(inputs))
    table = torch.cat(rows)
    k, b = unit.layout.classes, len(unit.layout.offsets)
    logits, columns = table[:, :k], table[:, k : k + b]
    objectness = table[:, -1] if unit.layout.objectness else None
    anchors = detector.places(prepared, [detection]).expand(len(table), -1)
    offsets, boxes = _placed(detector, prepared, detection, columns, anchors)
    _check_same(detection, offsets[0])
    said = Said(
        label=detection.label,
        names=tuple(detector.offsets),
        softmax=detector.scores == "softmax",
        logits=logits,
        scores=detector.scored(logits, objectness),
        offsets=offsets,
        objectness=objectness,
        edges=boxes,
        pushed=pushed(detector, prepared, detection, columns[:1], anchors[:1]),
    )
    if not all(bool(v.isfinite().all()) for v in (said.scores, said.offsets, said.edges)):
        raise InputError(
            f"Expected finite outputs at anchor {detection.anchor} when parts of the picture are filled by "
            f"{', '.join(map(repr, fills))} but got NaN or infinity. Use another fill."
        )
    return said


def _placed(
    detector: Detector, prepared: Prepared, detection: Detection, columns: Tensor, anchors: Tensor
) -> tuple[Tensor, Tensor]:
    """Offsets (M, O) and edges (M, 4) on the picture, of the detection's class where each has a box of its own."""
    offsets = detector.measured(columns)
    boxes = prepared.on_picture(detector.decoded(offsets, anchors))
    if offsets.ndim == 3:
        return offsets[:, detection.label], boxes[:, detection.label]
    return offsets, boxes


def pushed(
    detector: Detector, prepared: Prepared, detection: Detection, columns: Tensor, anchors: Tensor
) -> Tensor:
    """How far the network's outputs pushed each offset and edge, to first order: (O + 4,), in the unit of each.

    Slope times column, added up, as `relprop.methods.CRP` counts it to tell which way red pushes.

    Args:
        detector: what made the detection.
        prepared: the input it was found in.
        detection: of whose class the box is.
        columns: (1, B), what the network said of the box.
        anchors: (1, 4), in the input's pixels.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = columns.detach().clone().requires_grad_()
        values = torch.cat(_placed(detector, prepared, detection, leaf, anchors.clone()), 1)[0]
        if not values.requires_grad:
            return values.detach()  # through a function of the user's that can't be derived
        slopes = [torch.autograd.grad(v, leaf, retain_graph=True)[0] for v in values]
        return torch.stack([(slope * leaf).sum() for slope in slopes]).detach()


def _batches(prepared: Prepared, masks: Tensor, fills: Sequence[str], batch: int) -> Iterator[Tensor]:
    """The input, then each fill with each mask; `batch` pictures at a time, the last ones fewer."""
    pending = prepared.x
    for fill in fills:
        for some in masks.split(batch):
            pending = torch.cat([pending, filled(prepared.x, some, fill, prepared.window)])
            if len(pending) >= batch:
                yield pending[:batch]
                pending = pending[batch:]
    if len(pending):
        yield pending


def _check_same(detection: Detection, now: Tensor) -> None:
    """The detection's offsets are a fingerprint of the picture and the network it came from."""
    # Another batch size, device or library version rounds otherwise; another picture differs by far more.
    if not torch.allclose(detection.offsets.to(now), now, rtol=1e-2, atol=1e-2):
        raise InputError(
            f"Expected a detection from this picture and detector but anchor {detection.anchor} gives other "
            "offsets here than in the detection. Detect again."
        )


def inside(boxes: Tensor, prepared: Prepared) -> Tensor:
    """The input's pixels whose centres lie in boxes (n, 4) in pixels of the input, without padding: (n, h, w)."""
    x0, y0, x1, y1 = prepared.window
    height, width = prepared.x.shape[2:]
    boxes = boxes.to("cpu", torch.float64)
    x, y = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (width, height))
    across = (x >= boxes[:, :1]) & (x < boxes[:, 2:3]) & (x > x0) & (x < x1)
    down = (y >= boxes[:, 1:2]) & (y < boxes[:, 3:]) & (y > y0) & (y < y1)
    return down[:, :, None] & across[:, None, :]
