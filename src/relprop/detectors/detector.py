"""Detector: raw outputs at anchors, turned into detections that remember their anchor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from relprop.checks import check_choice
from relprop.detectors.boxes import nms
from relprop.detectors.detections import Detection, Detections, Reading
from relprop.detectors.learned import Heads, Learned
from relprop.detectors.prepare import Prepared, as_is, thumbnail
from relprop.detectors.suppression import Candidates
from relprop.detectors.unit import DetectionUnit
from relprop.errors import InputError
from relprop.graph import capture_lock
from relprop.methods.bounds import pixel_bounds
from relprop.methods.facts import Facts
from relprop.precision import full_precision
from relprop.propagate.layout import Layout
from relprop.tracing.values import checked_output
from relprop.watch import passing

__all__ = ["EDGES", "Detector", "anchors_of"]

#: The decoded box's left, top, right and bottom edge.
EDGES = ("x1", "y1", "x2", "y2")

_OFFSETS = ("cx", "cy", "w", "h")
_TAKEN = ("class", "objectness", *EDGES)  # what `explain_detection(of=)` means otherwise
_SCORES = ("softmax", "sigmoid")
# What acts otherwise while training; a module that merely holds others may be in either mode.
_MODAL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Detector:
    r"""A dense detector: a raw network, its anchors and how offsets move them.

    The score of class k at anchor a is softmax or sigmoid of its logit, times the sigmoid of the anchor's
    objectness where there is one; or what a function of yours makes of them. Scores over the threshold, the
    best `top_k` of them, then non-maximum suppression per class, then the best `most`: each detection keeps the
    index of its anchor all the way.

    The network is left as it is. `dataclasses.replace(detector, score_threshold=0.3)` makes a variant.

    Args:
        raw: (N, 3, h, w) normalised input → (logits (N, A, K), offsets (N, A, 4)), or with a third
            (N, A): objectness logits.
        anchors: xyxy in pixels of the input, (A, 4), or a function of the input (1, 3, h, w) that gives
            them; a list of such tables, one a level, for ``top_k_per="level"``.
        decode: (offsets (..., 4), anchors (..., 4)) → boxes (..., 4), xyxy in pixels of the input.
        offsets: names of the offsets, such as ("left", "top", "right", "bottom").
        measure: where `raw` gives other numbers for a box than its offsets: (columns (..., B)) → offsets (..., 4),
            such as the mean of a distribution over distances. Or → (..., K, 4) where each class has a box of its
            own; `decode` then gets anchors (..., 1, 4).
        default_boxes: False: an anchor is no box that gets moved, its detections have no default box (DETR).
        scores: "softmax" over the classes, "sigmoid" of each, or a function (logits (..., K), objectness (...) or
            None) → scores (..., K) from 0 to 1.
        background: index of the background among the K classes, which is never a detection; or None.
        classes: K names, or None.
        prepare: picture → `Prepared`; by default the input itself is expected, a normalised tensor.
        mean, std: what `prepare` subtracted and divided by, for drawing.
        score_threshold: a detection's score is larger than this.
        top_k: candidates kept before suppression.
        top_k_per: of each "class" (SSD), of each "level", all classes together (RetinaNet), or of "all" (YOLO).
        per_anchor: "every" class over the threshold is a candidate, or only an anchor's "best" (YOLO).
        least_side: boxes narrower or lower than so many pixels of the input are no detections.
        nms_threshold: the largest overlap (IoU) of two detections of one class.
        cut_first: boxes are cut at the picture's edge before overlaps are measured (SSD, FCOS); False: after that
            (YOLO).
        most: detections kept.
        name: for titles.
        unlike: see `relprop.methods.facts.Facts`: says that a picture is unlike all that the network knows.

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
    offsets: tuple[str, ...] = _OFFSETS
    measure: Callable[[Tensor], Tensor] | None = None
    default_boxes: bool = True
    scores: Literal["softmax", "sigmoid"] | Callable[[Tensor, Tensor | None], Tensor] = "softmax"
    background: int | None = None
    classes: list[str] | None = None
    prepare: Callable[[Any], Prepared] = as_is
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    score_threshold: float = 0.5
    top_k: int = 400
    top_k_per: Literal["class", "level", "all"] = "class"
    per_anchor: Literal["every", "best"] = "every"
    least_side: float = 0.0
    nms_threshold: float = 0.45
    cut_first: bool = True
    most: int = 200
    name: str = "detector"
    unlike: Callable[[Tensor], str] | None = None
    learned: Learned = field(default_factory=Learned, init=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.raw, nn.Module):
            raise InputError(f"Expected raw to be a torch.nn.Module but got {type(self.raw).__name__}.")
        for name in ("decode", "prepare", *(["measure"] if self.measure is not None else [])):
            if not callable(getattr(self, name)):
                got = type(getattr(self, name)).__name__
                raise InputError(f"Expected {name} to be a function but got {got}.")
        if not callable(self.scores):
            check_choice("scores", self.scores, _SCORES)
        check_choice("top_k_per", self.top_k_per, ("class", "level", "all"))
        check_choice("per_anchor", self.per_anchor, ("every", "best"))
        self._check_offsets()
        for name in ("score_threshold", "nms_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"Expected {name} from 0 to 1 but got {getattr(self, name)!r}.")
        for name in ("top_k", "most"):
            if getattr(self, name) < 1:
                raise InputError(f"Expected {name} of 1 or more but got {getattr(self, name)!r}.")

    def _check_offsets(self) -> None:
        names = self.offsets
        fits = isinstance(names, (tuple, list)) and names and all(isinstance(n, str) and n for n in names)
        if not fits or len(set(names)) < len(names):
            raise InputError(f"Expected offsets to be different names, one a column, but got {names!r}.")
        taken = next((name for name in names if name in _TAKEN), None)
        if taken is not None:
            raise InputError(
                f"Expected names of offsets other than {', '.join(_TAKEN)}, which stand for other parts of a "
                f"detection, but got {taken!r}. Rename it."
            )

    @property
    def facts(self) -> Facts:
        """What is known of the network, for methods that explain a detection."""
        return Facts(
            box=pixel_bounds(self.mean, self.std),
            multi_label=self.scores != "softmax",
            classes=self.classes,
            unlike=self.unlike,
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
            reading = self._reading(every, logits[0], self.measured(offsets[0]), first, anchors, prepared)
            row, label = self._candidates(reading.scores, [len(level) for level in levels])
            boxes = reading.boxes[row, label] if reading.class_boxes else reading.boxes[row]
            if self.least_side > 0:
                sides = (boxes[:, 2:] - boxes[:, :2]) / boxes.new_tensor(prepared.scale)
                wide = (sides >= self.least_side).all(1)
                row, label, boxes = row[wide], label[wide], boxes[wide]
            scores = reading.scores[row, label]
            # Overlaps are those in the input's pixels: scaling an axis changes both areas alike.
            whole = boxes
            if not self.cut_first:
                whole = prepared.on_picture(self.decoded(reading.offsets[row], anchors[row]))
                whole = whole if whole.ndim == 2 else whole[torch.arange(len(row), device=row.device), label]
            kept = nms(whole, scores, label, self.nms_threshold)[: self.most]
            candidates = Candidates(row, label, scores, whole, kept, self.nms_threshold)
        row, label = row[kept], label[kept]
        scores, picture = reading.scores[row, label], thumbnail(prepared, self.mean, self.std)
        return Detections(boxes[kept], label, scores, row, reading, candidates, picture)

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
        ready = copy(made)  # of the caller's own class, which may map boxes in a way of its own
        object.__setattr__(ready, "x", made.x.to(like.device, like.dtype))
        return ready

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
        """What the raw network says: logits (N, A, K), columns of the boxes (N, A, B), objectness (N, A) or None.

        The columns are the offsets, unless `measure` makes those of them.

        Raises:
            InputError: outputs of another form, NaN.
        """
        passing("running the network")
        with capture_lock, torch.no_grad():
            made = self.raw(x)
        return self._checked(made, len(x))

    def _checked(self, made: Any, n: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """The parts of what the raw network returned for n inputs; what they are is remembered."""
        logits, columns, objectness = checked_form(
            made, n, len(self.offsets) if self.measure is None else None
        )
        checked_output(self.raw, made)
        classes = logits.shape[2]
        if self.classes is not None and len(self.classes) != classes:
            raise InputError(f"Expected {classes} class names, as raw has, but got {len(self.classes)}.")
        if self.background is not None and not 0 <= self.background < classes:
            raise InputError(f"Expected background from 0 to {classes - 1} but got {self.background}.")
        self.learned.heads = Heads(classes, columns.shape[2], objectness is not None)
        return logits, columns, objectness

    @full_precision
    def heads(self, x: Tensor) -> Heads:
        """What the network's outputs are; it runs on `x` where that isn't known yet."""
        if self.learned.heads is None:
            self.outputs(x)
        assert self.learned.heads is not None
        return self.learned.heads

    @full_precision
    def reading(
        self, prepared: Prepared, anchor: Tensor, logits: Tensor, columns: Tensor, objectness: Tensor | None
    ) -> Reading:
        """What raw outputs at some anchors mean.

        Args:
            prepared: the input.
            anchor: (D,) int64, which anchors.
            logits: (D, K).
            columns: (D, B), of the boxes.
            objectness: (D,) or None.
        """
        anchors = torch.cat(self.levels(prepared.x))[anchor]
        return self._reading(anchor, logits, self.measured(columns), objectness, anchors, prepared)

    def measured(self, columns: Tensor) -> Tensor:
        """The offsets that raw columns (..., B) mean: (..., O), or (..., K, O) where each class has its own.

        Raises:
            InputError: `measure` returns something else.
        """
        if self.measure is None:
            return columns
        offsets = self.measure(columns)
        lead, count = columns.shape[:-1], len(self.offsets)
        fits = isinstance(offsets, Tensor) and offsets.shape[-1] == count
        if (
            not fits
            or offsets.shape[: len(lead)] != lead
            or offsets.ndim not in (len(lead) + 1, len(lead) + 2)
        ):
            got = f"shape {tuple(offsets.shape)}" if isinstance(offsets, Tensor) else type(offsets).__name__
            raise InputError(
                f"Expected measure to return offsets {(*lead, count)}, or {(*lead, 'K', count)}, of columns "
                f"{tuple(columns.shape)} but got {got}."
            )
        return offsets

    def decoded(self, offsets: Tensor, anchors: Tensor) -> Tensor:
        """Boxes in input pixels, not cut anywhere: (D, 4), or (D, K, 4) of offsets (D, K, O).

        Raises:
            InputError: `decode` returns something else.
        """
        each = anchors[:, None] if offsets.ndim == 3 else anchors
        boxes = self.decode(offsets, each)
        shape = (*offsets.shape[:-1], 4)
        if not isinstance(boxes, Tensor) or boxes.shape != shape:
            got = f"shape {tuple(boxes.shape)}" if isinstance(boxes, Tensor) else type(boxes).__name__
            raise InputError(f"Expected decode to return boxes {shape} but got {got}.")
        return boxes

    def scored(self, logits: Tensor, objectness: Tensor | None) -> Tensor:
        """Scores (..., K) of logits (..., K) and objectness (...) or None.

        Raises:
            InputError: a function of the user's returns something else.
        """
        if callable(self.scores):
            made = self.scores(logits, objectness)
            if not isinstance(made, Tensor) or made.shape != logits.shape:
                got = f"shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
                raise InputError(f"Expected scores to return {tuple(logits.shape)} but got {got}.")
            return made
        scores = logits.softmax(-1) if self.scores == "softmax" else logits.sigmoid()
        return scores if objectness is None else scores * objectness.sigmoid()[..., None]

    @full_precision
    def localised(self, prepared: Prepared, detection: Detection) -> Tensor:
        """A detection's box as decoded, (4,) in picture pixels: not cut at the picture's edge."""
        anchors = self.places(prepared, [detection])
        with torch.no_grad():
            return prepared.on_picture(self.decoded(detection.offsets[None].to(anchors), anchors))[0]

    @full_precision
    def places(self, prepared: Prepared, chosen: Sequence[Detection | int]) -> Tensor:
        """The anchors of these detections, or those with these numbers, (D, 4), in pixels of the input.

        Raises:
            InputError: no such anchor.
        """
        table = torch.cat(self.levels(prepared.x))
        anchors = anchors_of(chosen)
        for anchor in anchors:
            if not 0 <= anchor < len(table):
                raise InputError(
                    f"Expected an anchor from 0 to {len(table) - 1} but got {anchor}. Detections belong to the "
                    "detector and the size of picture that they came from."
                )
        return table[anchors]

    @full_precision
    def unit(self, prepared: Prepared, chosen: Sequence[Detection | int]) -> DetectionUnit:
        """The output units of these detections, or at these anchors, in the shape of a classifier.

        That is what is explained. All views of equally many anchors share their graphs.
        """
        heads, units = self.heads(prepared.x), self.learned.units
        count, anchors = len(chosen), anchors_of(chosen)
        if count not in units:
            names = self.offsets
            if self.measure is not None:
                names = tuple(f"column {i}" for i in range(heads.columns))
            layout = Layout(heads.classes, self.background, tuple(names), heads.objectness, count)
            units.setdefault(count, DetectionUnit(self.raw, layout))
        return units[count].at(anchors)

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
        anchors: Tensor,
        prepared: Prepared,
    ) -> Reading:
        boxes = prepared.on_picture(self.decoded(offsets, anchors))
        height, width = prepared.size
        return Reading(
            anchor=anchor,
            scores=self.scored(logits, objectness),
            offsets=offsets,
            boxes=torch.stack([boxes[..., i].clamp(0, (width, height)[i % 2]) for i in range(4)], -1),
            default_boxes=prepared.on_picture(anchors) if self.default_boxes else None,
            names=self.classes,
            background=self.background,
        )

    def _candidates(self, scores: Tensor, levels: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Anchors and labels over the threshold, the best `top_k` of each class or level."""
        over = scores > self.score_threshold
        if self.background is not None:
            over[:, self.background] = False
        if self.per_anchor == "best":
            # The first of equal classes, of those that can be a detection.
            best = scores.masked_fill(~over, -1.0).argmax(1, keepdim=True)
            over &= torch.zeros_like(over).scatter_(1, best, True)
        # Either way the groups are parts of the (A, K) table: its columns, or blocks of its rows.
        groups: list[tuple[Tensor, Tensor]] = []
        if self.top_k_per == "all":
            levels = [len(scores)]
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
        kept = []
        for rows, labels in groups:
            top = scores[rows, labels].topk(min(self.top_k, len(rows))).indices
            kept.append((rows[top], labels[top]))
        none = torch.zeros(0, dtype=torch.int64, device=scores.device)
        rows = torch.cat([none, *(r for r, _ in kept)])
        return rows, torch.cat([none, *(labels for _, labels in kept)])

    def __repr__(self) -> str:
        return f"Detector({self.name}, {type(self.raw).__name__})"


def anchors_of(chosen: Sequence[Detection | int]) -> list[int]:
    """The number of each detection's anchor; numbers stay as they are."""
    return [one.anchor if isinstance(one, Detection) else one for one in chosen]


def checked_form(made: Any, n: int, columns: int | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits (N, A, K), columns of the boxes (N, A, B), and objectness (N, A) if there is one.

    Args:
        made: what the raw network returned.
        n: N.
        columns: B; None: any number.

    Raises:
        InputError: another form; the text says what came.
    """
    count = "B" if columns is None else columns
    form = (
        f"Expected raw to return (logits (N, A, K), offsets (N, A, {count})), or with objectness (N, A) as a "
        "third,"
    )
    if not isinstance(made, (tuple, list)) or len(made) not in (2, 3):
        got = f"{len(made)} values" if isinstance(made, (tuple, list)) else type(made).__name__
        raise InputError(f"{form} but got {got}. Wrap the network in a module that returns them so.")
    if not all(isinstance(part, Tensor) and part.is_floating_point() for part in made):
        raise InputError(f"{form} but got {', '.join(type(part).__name__ for part in made)}.")
    logits, boxes = made[0], made[1]
    shapes = ", ".join(str(tuple(part.shape)) for part in made)
    fits = (
        logits.ndim == boxes.ndim == 3
        and logits.shape[0] == n
        and boxes.shape[:2] == logits.shape[:2]
        and (boxes.shape[2] == columns if columns is not None else boxes.shape[2] > 0)
        and (len(made) == 2 or made[2].shape == logits.shape[:2])
    )
    if not fits:
        raise InputError(f"{form} but got shapes {shapes} for N = {n}.")
    return logits, boxes, made[2] if len(made) == 3 else None
