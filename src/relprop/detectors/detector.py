"""Detector: raw outputs at anchors, turned into detections that remember their anchor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from relprop.checks import check_choice
from relprop.detectors.boxes import nms
from relprop.detectors.detections import Detections, Reading
from relprop.detectors.learned import Heads, Learned
from relprop.detectors.prepare import Prepared, as_is
from relprop.detectors.suppression import Candidates
from relprop.errors import InputError
from relprop.graph import capture_lock
from relprop.methods.bounds import pixel_bounds
from relprop.methods.facts import Facts
from relprop.precision import full_precision
from relprop.tracing.values import checked_output

__all__ = ["Detector"]

_OFFSETS = ("cx", "cy", "w", "h")
# What acts otherwise while training; a module that merely holds others may be in either mode.
_MODAL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Detector:
    r"""A dense detector: a raw network, its anchors and how offsets move them.

    The score of class k at anchor a is softmax or sigmoid of its logit, times the sigmoid of the anchor's
    objectness where there is one. Scores over the threshold, the best `top_k` of them, then non-maximum
    suppression per class, then the best `most`: each detection keeps the index of its anchor all the way.

    The network is left as it is. `dataclasses.replace(detector, score_threshold=0.3)` makes a variant.

    Args:
        raw: (N, 3, h, w) normalised input → (logits (N, A, K), offsets (N, A, 4)), or with a third
            (N, A): objectness logits.
        anchors: xyxy in pixels of the input, (A, 4), or a function of the input (1, 3, h, w) that gives
            them; a list of such tables, one a level, for ``top_k_per="level"``.
        decode: (offsets (..., 4), anchors (..., 4)) → boxes (..., 4), xyxy in pixels of the input.
        offsets: names of the four offset columns.
        scores: "softmax" over the classes, or "sigmoid" of each.
        background: index of the background among the K classes, which is never a detection; or None.
        classes: K names, or None.
        prepare: picture → `Prepared`; by default the input itself is expected, a normalised tensor.
        mean, std: what `prepare` subtracted and divided by, for drawing.
        score_threshold: a detection's score is larger than this.
        top_k: candidates kept before suppression.
        top_k_per: of each "class" (SSD), or of each "level", all classes together (RetinaNet).
        nms_threshold: the largest overlap (IoU) of two detections of one class.
        most: detections kept.
        name: for titles.

    Raises:
        InputError: a setting can't be used.

    >>> from relprop.detectors import BoxCode
    >>> class Raw(nn.Module):  # one anchor, two classes: mean brightness speaks for the second
    ...     def forward(self, x):
    ...         level = x.mean((1, 2, 3)).reshape(-1, 1, 1)
    ...         return torch.cat([-level, level], 2), level * torch.ones(4)
    >>> detector = Detector(
    ...     raw=Raw().eval(), anchors=torch.tensor([[0.0, 0.0, 4.0, 4.0]]), decode=BoxCode().decode,
    ...     background=0, classes=["dark", "bright"])
    >>> found = detector(torch.ones(3, 8, 8))
    >>> found[0]
    Detection(bright 0.88, box [0, 0, 5, 5], anchor 0)
    """

    raw: nn.Module
    anchors: Tensor | Sequence[Tensor] | Callable[[Tensor], Tensor | Sequence[Tensor]]
    decode: Callable[[Tensor, Tensor], Tensor]
    offsets: tuple[str, str, str, str] = _OFFSETS
    scores: Literal["softmax", "sigmoid"] = "softmax"
    background: int | None = None
    classes: list[str] | None = None
    prepare: Callable[[Any], Prepared] = as_is
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    score_threshold: float = 0.5
    top_k: int = 400
    top_k_per: Literal["class", "level"] = "class"
    nms_threshold: float = 0.45
    most: int = 200
    name: str = "detector"
    learned: Learned = field(default_factory=Learned, init=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.raw, nn.Module):
            raise InputError(f"Expected raw to be a torch.nn.Module but got {type(self.raw).__name__}.")
        for name in ("decode", "prepare"):
            if not callable(getattr(self, name)):
                got = type(getattr(self, name)).__name__
                raise InputError(f"Expected {name} to be a function but got {got}.")
        check_choice("scores", self.scores, ("softmax", "sigmoid"))
        check_choice("top_k_per", self.top_k_per, ("class", "level"))
        if sorted(self.offsets) != sorted(_OFFSETS):
            raise InputError(f"Expected offsets to name 'cx', 'cy', 'w' and 'h' but got {self.offsets!r}.")
        for name in ("score_threshold", "nms_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"Expected {name} from 0 to 1 but got {getattr(self, name)!r}.")
        for name in ("top_k", "most"):
            if getattr(self, name) < 1:
                raise InputError(f"Expected {name} of 1 or more but got {getattr(self, name)!r}.")

    @property
    def facts(self) -> Facts:
        """What is known of the network, for methods that explain a detection."""
        return Facts(
            box=pixel_bounds(self.mean, self.std),
            multi_label=self.scores == "sigmoid",
            classes=self.classes,
        )

    @full_precision
    def __call__(self, image: Any) -> Detections:
        """Detect.

        Args:
            image: what `prepare` takes, or a `Prepared`.

        Raises:
            InputError: an image, or an output of the raw network or the anchors, that can't be used.
        """
        prepared = self.prepared(image)
        levels = self.levels(prepared.x)
        with torch.no_grad():
            logits, offsets, objectness = self.outputs(prepared.x)
            anchors = torch.cat(levels)
            if len(anchors) != logits.shape[1]:
                raise InputError(
                    f"Expected as many anchors as raw has outputs, {logits.shape[1]}, but got {len(anchors)} for "
                    f"an input of shape {tuple(prepared.x.shape)}."
                )
            every = torch.arange(len(anchors), device=anchors.device)
            first = None if objectness is None else objectness[0]
            boxes = self._decoded(offsets[0], anchors, prepared)
            reading = self._reading(every, logits[0], offsets[0], first, boxes, anchors, prepared)
            row, label = self._candidates(reading.scores, [len(level) for level in levels])
            # Suppressed in the input's pixels, as the detectors themselves do: squashing changes overlaps.
            kept = nms(boxes[row], reading.scores[row, label], label, self.nms_threshold)[: self.most]
            candidates = Candidates(
                row, label, reading.scores[row, label], boxes[row], kept, self.nms_threshold
            )
        row, label = row[kept], label[kept]
        return Detections(reading.boxes[row], label, reading.scores[row, label], row, reading, candidates)

    @full_precision
    def prepared(self, image: Any) -> Prepared:
        """The input for an image, on the network's device and in its dtype.

        Raises:
            InputError: an image that can't be used, `prepare` returns something else, or the network is in
                training mode: running it would change its statistics.
        """
        with capture_lock:  # here and below: what reads the network, or may, waits while it is captured
            return self._prepared(image)

    def _prepared(self, image: Any) -> Prepared:
        made = image if isinstance(image, Prepared) else self.prepare(image)
        self._check_mode()
        if not isinstance(made, Prepared):
            raise InputError(
                f"Expected prepare to return a relprop.detectors.Prepared but got {type(made).__name__}."
            )
        if not isinstance(made.x, Tensor) or made.x.ndim != 4 or made.x.shape[0] != 1:
            got = f"shape {tuple(made.x.shape)}" if isinstance(made.x, Tensor) else type(made.x).__name__
            raise InputError(f"Expected prepare to make an input (1, 3, h, w) but got {got}.")
        like = next(self.raw.parameters(), made.x)
        return Prepared(made.x.to(like.device, like.dtype), made.scale, made.size)

    @full_precision
    def levels(self, x: Tensor) -> list[Tensor]:
        """The anchors for an input, level by level, (A_l, 4); one level unless `anchors` tells them apart.

        Raises:
            InputError: anchors of another shape.
        """
        made = self.anchors
        if callable(made) and not isinstance(made, Tensor):
            with capture_lock, torch.no_grad():
                made = made(x)
        tables = [made] if isinstance(made, Tensor) else list(made)
        for table in tables:
            if not isinstance(table, Tensor) or table.ndim != 2 or table.shape[1] != 4:
                got = f"shape {tuple(table.shape)}" if isinstance(table, Tensor) else type(table).__name__
                raise InputError(f"Expected anchors (A, 4), xyxy in pixels of the input, but got {got}.")
        if not tables:
            raise InputError("Expected anchors (A, 4) but got an empty list.")
        return [table.to(x.device, x.dtype) for table in tables]

    @full_precision
    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the raw network says: logits (N, A, K), offsets (N, A, 4), objectness (N, A) or None.

        Raises:
            InputError: outputs of another form, NaN.
        """
        with capture_lock, torch.no_grad():
            made = self.raw(x)
        logits, offsets, objectness = checked_form(made, x.shape[0])
        checked_output(self.raw, made)
        classes = logits.shape[2]
        if self.classes is not None and len(self.classes) != classes:
            raise InputError(f"Expected {classes} class names, as raw has, but got {len(self.classes)}.")
        if self.background is not None and not 0 <= self.background < classes:
            raise InputError(f"Expected background from 0 to {classes - 1} but got {self.background}.")
        self.learned.heads = Heads(classes, objectness is not None)
        return logits, offsets, objectness

    @full_precision
    def heads(self, x: Tensor) -> Heads:
        """What the network's outputs are; it runs on `x` where that isn't known yet."""
        if self.learned.heads is None:
            self.outputs(x)
        assert self.learned.heads is not None
        return self.learned.heads

    @full_precision
    def reading(
        self, prepared: Prepared, anchor: Tensor, logits: Tensor, offsets: Tensor, objectness: Tensor | None
    ) -> Reading:
        """What raw outputs at some anchors mean.

        Args:
            prepared: the input.
            anchor: (D,) int64, which anchors.
            logits: (D, K).
            offsets: (D, 4).
            objectness: (D,) or None.
        """
        anchors = torch.cat(self.levels(prepared.x))[anchor]
        boxes = self._decoded(offsets, anchors, prepared)
        return self._reading(anchor, logits, offsets, objectness, boxes, anchors, prepared)

    def _check_mode(self) -> None:
        for path, module in self.raw.named_modules():
            if module.training and isinstance(module, _MODAL):
                raise InputError(
                    f"Expected a detector in evaluation mode but {path!r} is in training mode. Call .eval() on "
                    "the model first."
                )

    def _reading(
        self,
        anchor: Tensor,
        logits: Tensor,
        offsets: Tensor,
        objectness: Tensor | None,
        boxes: Tensor,
        anchors: Tensor,
        prepared: Prepared,
    ) -> Reading:
        scores = logits.softmax(-1) if self.scores == "softmax" else logits.sigmoid()
        if objectness is not None:
            scores = scores * objectness.sigmoid()[:, None]
        return Reading(
            anchor=anchor,
            scores=scores,
            offsets=offsets,
            boxes=prepared.on_picture(boxes),
            default_boxes=prepared.on_picture(anchors),
            names=self.classes,
            background=self.background,
        )

    def _decoded(self, offsets: Tensor, anchors: Tensor, prepared: Prepared) -> Tensor:
        """Boxes (D, 4) in input pixels, cut at the picture's edge."""
        boxes = self.decode(offsets, anchors)
        if not isinstance(boxes, Tensor) or boxes.shape != anchors.shape:
            got = f"shape {tuple(boxes.shape)}" if isinstance(boxes, Tensor) else type(boxes).__name__
            raise InputError(f"Expected decode to return boxes {tuple(anchors.shape)} but got {got}.")
        height, width = prepared.extent
        return torch.stack([boxes[:, i].clamp(0, (width, height)[i % 2]) for i in range(4)], 1)

    def _candidates(self, scores: Tensor, levels: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Anchors and labels over the threshold, the best `top_k` of each class or level."""
        over = scores > self.score_threshold
        if self.background is not None:
            over[:, self.background] = False
        # Either way the groups are parts of the (A, K) table: its columns, or blocks of its rows.
        groups: list[tuple[Tensor, Tensor]] = []
        if self.top_k_per == "class":
            for label in over.any(0).nonzero()[:, 0]:
                rows = over[:, label].nonzero()[:, 0]
                groups.append((rows, label.expand(len(rows))))
        else:
            start = 0
            for count in levels:
                rows, labels = over[start : start + count].nonzero().unbind(1)
                groups.append((rows + start, labels))
                start += count
        best = []
        for rows, labels in groups:
            top = scores[rows, labels].topk(min(self.top_k, len(rows))).indices
            best.append((rows[top], labels[top]))
        none = torch.zeros(0, dtype=torch.int64, device=scores.device)
        rows = torch.cat([none, *(r for r, _ in best)])
        return rows, torch.cat([none, *(labels for _, labels in best)])

    def __repr__(self) -> str:
        return f"Detector({self.name}, {type(self.raw).__name__})"


def checked_form(made: Any, n: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits (N, A, K), offsets (N, A, 4), and objectness (N, A) if there is one.

    Raises:
        InputError: another form; the text says what came.
    """
    form = (
        "Expected raw to return (logits (N, A, K), offsets (N, A, 4)), or with objectness (N, A) as a third,"
    )
    if not isinstance(made, (tuple, list)) or len(made) not in (2, 3):
        got = f"{len(made)} values" if isinstance(made, (tuple, list)) else type(made).__name__
        raise InputError(f"{form} but got {got}. Wrap the network in a module that returns them so.")
    if not all(isinstance(part, Tensor) and part.is_floating_point() for part in made):
        raise InputError(f"{form} but got {', '.join(type(part).__name__ for part in made)}.")
    logits, offsets = made[0], made[1]
    shapes = ", ".join(str(tuple(part.shape)) for part in made)
    fits = (
        logits.ndim == 3
        and logits.shape[0] == n
        and offsets.shape == (*logits.shape[:2], 4)
        and (len(made) == 2 or made[2].shape == logits.shape[:2])
    )
    if not fits:
        raise InputError(f"{form} but got shapes {shapes} for N = {n}.")
    return logits, offsets, made[2] if len(made) == 3 else None
