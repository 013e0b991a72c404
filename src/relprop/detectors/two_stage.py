"""torchvision's two-stage detectors: Faster, Mask and Keypoint R-CNN, class and box of each proposal."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from relprop.detectors.detections import Detection, Reading
from relprop.detectors.detector import Detector, anchors_of
from relprop.detectors.prepare import Prepared
from relprop.detectors.proposals import RPN
from relprop.detectors.roi_align import RoIAlign, samples_of
from relprop.detectors.torchvision_entry import Transform, feature_maps
from relprop.detectors.unit import DetectionUnit
from relprop.errors import InputError
from relprop.graph import capture_lock
from relprop.precision import full_precision
from relprop.propagate.layout import Layout

__all__ = ["ProposalUnit", "Proposed", "TwoStage", "from_two_stage"]

_MOST = 1_000_000  # candidates: torchvision's second stage has no limit of its own before suppression


def from_two_stage(model: nn.Module) -> Detector | None:
    """A torchvision Faster, Mask or Keypoint R-CNN as a detector; None for anything else.

    It detects what `model([picture])` does, with the model's own thresholds.
    """
    if "torchvision" not in sys.modules:
        return None  # then it can't be one of its models
    from torchvision.models.detection import FasterRCNN

    if not isinstance(model, FasterRCNN):  # Mask and Keypoint R-CNN are derived from it
        return None
    transform, heads = model.transform, model.roi_heads
    raw = Stages(model)

    def measure(columns: Tensor) -> Tensor:
        return columns.unflatten(-1, (-1, 4))

    def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
        each = anchors.expand_as(offsets).reshape(-1, 4)
        boxes: Tensor = heads.box_coder.decode_single(offsets.reshape(-1, 4), each)
        return boxes.reshape(offsets.shape)

    return TwoStage(
        raw=raw,
        rpn=RPN.of(model),
        anchors=raw.unplaced,
        decode=decode,
        measure=measure,
        scores="softmax",
        background=0,
        prepare=Transform(model),
        mean=tuple(transform.image_mean),
        std=tuple(transform.image_std),
        score_threshold=heads.score_thresh,
        top_k=_MOST,
        top_k_per="all",
        least_side=1e-2,  # as roi_heads.postprocess_detections has it
        nms_threshold=heads.nms_thresh,
        most=heads.detections_per_img,
        name=type(model).__name__,
    )


class Stages(nn.Module):
    """A two-stage detector's own modules, under their own names: nothing is copied, no mode is changed."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.training = model.training
        self.backbone, self.rpn, self.roi_heads = model.backbone, model.rpn, model.roi_heads

    def forward(self, x: Tensor) -> Tensor:
        raise InputError(
            "Expected to be asked through the detector, which knows the proposals, but the raw network was "
            "called. Call detector(picture), or detector.unit(prepared, detections)(x)."
        )

    def unplaced(self, x: Tensor) -> Tensor:
        """Stands for the anchors, which `TwoStage.levels` gives: they depend on more than the input."""
        raise InputError("Expected to be asked for proposals through the detector. Call detector.levels(x).")

    def pooled_maps(self, x: Tensor) -> dict[str, Tensor]:
        """The maps that proposals are read from, by name, in the model's order."""
        names: Any = self.get_submodule("roi_heads.box_roi_pool").featmap_names
        return {name: level for name, level in feature_maps(self.backbone, x).items() if name in names}

    def pool(self) -> Any:
        """A copy of the model's pooling: running it would write the maps' scales to the model."""
        return copy.copy(self.get_submodule("roi_heads.box_roi_pool"))

    def judged(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (P, K) and columns (P, 4 K) of pooled maps (P, C, rows, columns)."""
        logits, columns = self.get_submodule("roi_heads.box_predictor")(
            self.get_submodule("roi_heads.box_head")(pooled)
        )
        if columns.shape[1] != 4 * logits.shape[1]:
            raise InputError(
                f"Expected a box predictor with four offsets a class, {4 * logits.shape[1]} columns, but it has "
                f"{columns.shape[1]}. Repeat a box that all classes share in the predictor's forward."
            )
        return logits, columns


@dataclass(frozen=True, eq=False, repr=False)
class Proposed(Detection):
    """A detection that a second stage made of a proposal.

    Attributes:
        proposal: the first stage's detection: the RPN's anchor, its objectness and its box, which is this
            detection's `default_box`. Explain it with the detector's `rpn`.
    """

    proposal: Detection

    def as_dict(self) -> dict[str, Any]:
        """Plain values without `scores`, as JSON holds them."""
        return {**super().as_dict(), "proposal": self.proposal.as_dict()}


@dataclass(frozen=True, eq=False)
class ProposalReading(Reading):
    """What the second stage said of proposals.

    Attributes:
        proposals: what the first stage said of them, row by row.
    """

    proposals: Reading

    def detection(self, row: int, label: int | None = None, index: int | None = None) -> Proposed:
        """The detection that a row makes, with its proposal; no label: its best class besides the background."""
        made = super().detection(row, label, index)
        return Proposed(**vars(made), proposal=self.proposals.detection(row))


@dataclass(frozen=True, eq=False)
class _Read:
    """What both stages said of an input.

    Attributes:
        state: of the input and the weights; another one would say something else.
        boxes: the proposals, (P, 4), in pixels of the input.
        logits, columns: of the second stage, (P, K) and (P, 4 K).
        row, objectness, offsets, anchors: of the first, at the proposals: (P,), (P, 1), (P, 4), (P, 4).
    """

    state: tuple[Any, ...]
    boxes: Tensor
    logits: Tensor
    columns: Tensor
    row: Tensor
    objectness: Tensor
    offsets: Tensor
    anchors: Tensor


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class TwoStage(Detector):
    """A detector that judges the proposals of an `RPN`: its anchors are the proposals, best first.

    Which proposals there are depends on the picture. To an explanation they are constants: it tells why the
    network says this of this part of the picture, not why the part was proposed (`explain_detection` with `rpn`
    and a detection's `proposal` does).

    Args:
        rpn: the first stage.

    Source: Ren et al., Faster R-CNN, NeurIPS 2015; He et al., Mask R-CNN, ICCV 2017.
    """

    rpn: RPN
    known: _Known = field(default_factory=lambda: _Known(), init=False, compare=False)

    def _prepared(self, image: Any) -> Prepared:
        ready = super()._prepared(image)
        self.known.windows[ready.x] = ready.window
        return ready

    @property
    def stages(self) -> Stages:
        """The raw network."""
        assert isinstance(self.raw, Stages)
        return self.raw

    @full_precision
    def levels(self, x: Tensor) -> list[Tensor]:
        """The proposals for an input, (P, 4), as one level."""
        return [self._read(x).boxes]

    @full_precision
    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the second stage says of one input: logits (1, P, K), columns of the boxes (1, P, 4 K)."""
        read = self._read(x)
        return self._checked((read.logits[None], read.columns[None]), 1)

    @full_precision
    def places(self, prepared: Prepared, chosen: Sequence[Detection | int]) -> Tensor:
        """The proposals of these, (D, 4), in pixels of the input; a detection brings its own."""
        boxes = [one.default_box for one in chosen if isinstance(one, Detection)]
        if len(boxes) < len(chosen):
            return super().places(prepared, chosen)
        return prepared.in_input(torch.stack([box for box in boxes if box is not None]).to(prepared.x))

    @full_precision
    def unit(self, prepared: Prepared, chosen: Sequence[Detection | int]) -> DetectionUnit:
        """The second stage at these proposals, in the shape of a classifier.

        Views share their graphs where as many proposals are read from the same maps.
        """
        places, heads = self.places(prepared, chosen), self.heads(prepared.x)
        aligns = self._aligns(prepared, places)
        key = (len(chosen), aligns)
        if key not in self.learned.units:
            names = tuple(f"column {i}" for i in range(heads.columns))
            layout = Layout(heads.classes, self.background, names, anchors=len(chosen))
            self.learned.units.setdefault(key, ProposalUnit(self.stages, layout, aligns))
        unit = self.learned.units[key]
        assert isinstance(unit, ProposalUnit)
        return unit.on(places, anchors_of(chosen))

    def _reading(
        self,
        anchor: Tensor,
        logits: Tensor,
        offsets: Tensor,
        objectness: Tensor | None,
        anchors: Tensor,
        prepared: Prepared,
    ) -> Reading:
        made = super()._reading(anchor, logits, offsets, objectness, anchors, prepared)
        read = self._read(prepared.x)
        first = self.rpn._reading(
            read.row[anchor],
            read.objectness[anchor],
            read.offsets[anchor],
            None,
            read.anchors[anchor],
            prepared,
        )
        return ProposalReading(**vars(made), proposals=first)

    def _read(self, x: Tensor) -> _Read:
        """What the stages say of an input; known as long as neither it nor the weights change."""
        if len(x) != 1:
            raise InputError(
                f"Expected one input (1, 3, h, w), which has proposals of its own, but got {len(x)}. Ask for one "
                "at a time, or use detector.unit(prepared, detections), which holds the proposals."
            )
        state = (_state(x), *map(_state, (*self.raw.parameters(), *self.raw.buffers())))
        known = self.known.reads.get(x)
        if known is None or known.state != state:
            with capture_lock, torch.no_grad():
                known = self.known.reads[x] = self._asked(x, state)
        found: _Read = known
        return found

    def _asked(self, x: Tensor, state: tuple[Any, ...]) -> _Read:
        left, top, right, low = window = self.known.windows.get(x, (0, 0, x.shape[3], x.shape[2]))
        maps = feature_maps(self.stages.backbone, x)
        row, boxes, objectness, offsets, anchors = self.rpn.of_maps(maps, x, window)
        pooled = self.stages.pool()(maps, [boxes], [(low - top, right - left)])
        return _Read(state, boxes, *self.stages.judged(pooled), row, objectness, offsets, anchors)

    def _aligns(self, prepared: Prepared, places: Tensor) -> tuple[tuple[int, RoIAlign], ...]:
        """From which map each proposal is read, and how."""
        x, pool = prepared.x, self.stages.pool()
        if x.shape[2:] not in self.known.sizes:
            with capture_lock, torch.no_grad():
                maps = self.stages.pooled_maps(x)
            self.known.sizes[x.shape[2:]] = {name: m.shape[2:] for name, m in maps.items()}
        sizes = self.known.sizes[x.shape[2:]]
        left, top, right, low = prepared.window
        # On maps of zeros with one channel: it finds scales and levels by sizes alone.
        blank = {name: x.new_zeros(1, 1, *size) for name, size in sizes.items()}
        with torch.no_grad():
            pool(blank, [places[:0]], [(low - top, right - left)])
            levels = [0] * len(places) if len(sizes) == 1 else pool.map_levels([places]).tolist()
        size, ratio = tuple(pool.output_size), pool.sampling_ratio
        return tuple(
            (level, RoIAlign(size, samples_of(place, size, ratio, pool.scales[level]), pool.scales[level]))
            for level, place in zip(levels, places, strict=True)
        )


class _Known:
    """What is kept of inputs, as long as they live, and of their sizes.

    Attributes:
        reads: what the stages said of an input.
        windows: where the picture lies in it, x0, y0, x1, y1.
        sizes: of the maps that proposals are read from, by name, for each size of input.
    """

    def __init__(self) -> None:
        self.reads: Any = WeakTensorKeyDictionary()
        self.windows: Any = WeakTensorKeyDictionary()
        self.sizes: dict[torch.Size, dict[str, torch.Size]] = {}


def _state(tensor: Tensor) -> tuple[int, int, int]:
    """Another one after every change in place that PyTorch counts."""
    return id(tensor), tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


class ProposalUnit(DetectionUnit):
    """View of a two-stage detector at one or several proposals, so that every method can explain it.

    Only these proposals are judged. They are a buffer, so that one captured graph serves all that are read from
    the same maps in the same way.

    Args:
        raw: the detector's modules.
        layout: of the second stage's outputs.
        aligns: for each proposal the map that it is read from and how.

    Attributes:
        places: the proposals, (D, 4), in pixels of the input.
    """

    places: Tensor

    def __init__(self, raw: Stages, layout: Layout, aligns: tuple[tuple[int, RoIAlign], ...]) -> None:
        super().__init__(raw, layout)
        self.aligns = aligns
        with capture_lock:
            like = next(raw.parameters())
            self.register_buffer("places", like.new_zeros(len(aligns), 4))

    def at(self, anchors: int | Sequence[int] | Tensor) -> DetectionUnit:
        """Not for proposals, whose boxes depend on the picture.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"Expected proposals with their boxes but got {anchors!r}. Take detector.unit(prepared, detections)."
        )

    def on(self, places: Tensor, anchors: Sequence[int]) -> ProposalUnit:
        """A view of the same detector at these proposals; this one stays as it is.

        Args:
            places: (D, 4).
            anchors: their numbers.
        """
        assert isinstance(self.raw, Stages)
        view = ProposalUnit(self.raw, self.layout, self.aligns)
        view.places.copy_(places)
        view.anchors.copy_(torch.as_tensor(anchors))
        view.aimed = True
        vars(view)["graphs_of"] = vars(self).get("graphs_of", self)  # see `DetectionUnit.at`
        return view

    def forward(self, x: Tensor) -> Tensor:
        """Logits and columns of the boxes at the proposals: (N, D * layout.width)."""
        if not self.aimed:
            raise InputError(
                "Expected a view of chosen proposals but none were chosen. Take "
                "detector.unit(prepared, detections)."
            )
        assert isinstance(self.raw, Stages)
        maps = list(self.raw.pooled_maps(x).values())
        each = [align(maps[level], self.places[d]) for d, (level, align) in enumerate(self.aligns)]
        pooled = each[0] if len(each) == 1 else torch.stack(each, 1).flatten(0, 1)
        return torch.cat(self.raw.judged(pooled), 1).reshape(-1, self.layout.anchors * self.layout.width)
