"""D-RISE: a detector asked about a picture with parts hidden at random."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.checks import Progress, check_count, check_number, check_progress, check_seed
from relprop.detectors.boxes import iou
from relprop.detectors.detections import Detection, Reading
from relprop.detectors.detector import Detector
from relprop.detectors.detector_method import DetectionRequest, DetectorMethod
from relprop.detectors.prepare import Prepared
from relprop.errors import InputError
from relprop.watch import passing

__all__ = ["DRISE", "RandomMasks", "Seen"]

_LEAST = 0.05  # score of what counts as found, where no background class says that nothing is there


class DRISE(DetectorMethod):
    r"""D-RISE: random masks, weighted by how much of a detection is still found through them.

    .. math:: R_p = \frac1M \sum_i w_i M_{ip} - \min_q \frac1M \sum_i w_i M_{iq}, \qquad
        w_i = \max_j \; \text{IoU}(L, L_{ij}) \; \cos(P, P_{ij}) \; O_{ij}

    over everything j that the detector finds in the picture times mask i: its box L_ij, its scores of all
    classes P_ij, its objectness O_ij (1 where there is none). L and P are the detection's. The network's inside is
    not looked at, and its runs are M, whatever is asked, for all detections of a picture that are asked together.

    Source: Petsiuk et al., CVPR 2021 (arXiv 2006.03204), equations 2 to 6, masks as in RISE (Petsiuk et al., BMVC
    2018, section 3.2): a coarse grid whose cells are shown at random, enlarged bilinearly to a cell more than the
    picture and cut out at a random place; what is hidden is black. They take 5,000 masks of 16 cells a side:
    ``"d-rise:masks=5000,grid=16"``; the defaults here take a fifth of the time. Ours: padding around
    the picture isn't masked; all anchors count as found, not only what suppression leaves (the maximum is
    the same or larger), above `threshold`; a class that the detection isn't has a P of 1 at that class.

    Relevance is at the input, (1, 3, h, w), each pixel's number shared by its colours. Not signed; conserves
    nothing. Maps of few masks are noisy.

    Args:
        masks: M.
        grid: cells a side.
        probability: of a cell to be shown.
        seed: of the masks.
        chunk: masked pictures that run at once; memory grows with it.
        threshold: least score of what counts as found; None: 0 with a background class, which says by itself
            that nothing is there, 0.05 without.
        progress: called with (masks done, masks).

    Raises:
        InputError: a setting out of range; a plain network; other parts of a detection than its class; layers.

    >>> from relprop.detectors import load
    >>> from relprop.datasets.demo import demo_image_path
    >>> detector = load("scenes-ssd")
    >>> ball = detector(demo_image_path())[0]
    >>> import relprop
    >>> e = relprop.explain_detection(detector, demo_image_path(), ball, method="d-rise:masks=40")
    >>> tuple(e.relevance.shape), float(e.relevance.min())
    ((1, 3, 112, 112), 0.0)
    """

    name = "d-rise"
    summary = "D-RISE: random masks weighted by how much of a detection is found through them; detectors only"
    signed = False
    reading = "Where the picture has to be seen for the detection to be found, less the least of all pixels."

    def __init__(
        self,
        *,
        masks: int = 1000,
        grid: int = 8,
        probability: float = 0.5,
        seed: int = 0,
        chunk: int = 8,
        threshold: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        check_count("masks", masks, most=1_000_000)
        check_count("grid", grid, most=1024)
        check_count("chunk", chunk, most=4096)
        check_number("probability", probability)
        if not 0 < probability < 1:
            raise InputError(f"Expected probability to be between 0 and 1 but got {probability!r}.")
        if threshold is not None:
            check_number("threshold", threshold, least=0)
        check_seed(seed)
        check_progress(progress)
        self.masks, self.grid, self.probability, self.seed = masks, grid, probability, seed
        self.chunk, self.threshold, self._progress = chunk, threshold, progress

    def maps(self, request: DetectionRequest) -> Tensor:
        prepared, found = request.prepared, request.found
        tell = self._progress or request.facts.progress
        x0, y0, x1, y1 = prepared.window
        total = torch.zeros(len(request.rows), len(found), y1 - y0, x1 - x0, dtype=torch.float64)
        done = 0
        for some in self.draws((y1 - y0, x1 - x0)).parts(self.chunk):
            passing("hiding places", done, self.masks)
            seen = Seen.through(request.detector, prepared, some)
            weights = [
                torch.stack([seen.alike(d, k, self.threshold) for d, k in zip(found, labels, strict=True)])
                for _, labels in request.rows
            ]
            total += torch.einsum("rdm,mhw->rdhw", torch.stack(weights).double().cpu(), some.double())
            done += len(some)
            if tell is not None:
                tell(done, self.masks)
        total = total / self.masks
        total -= total.amin((-2, -1), keepdim=True)
        height, width = prepared.x.shape[2:]
        return F.pad(total, (x0, width - x1, y0, height - y1)).to(prepared.x)

    def draws(self, size: tuple[int, int]) -> RandomMasks:
        """The masks for a picture of (h, w)."""
        return RandomMasks(self.masks, size, self.grid, self.probability, self.seed)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a detector finds in M variants of a picture, at all its anchors.

    Attributes:
        readings: of one or several variants each, whose rows are all anchors of each variant in turn.
        objectness: of each reading, logits (rows,) or None.
        counts: how many variants each is of.
    """

    readings: tuple[Reading, ...]
    objectness: tuple[Tensor | None, ...]
    counts: tuple[int, ...]

    @classmethod
    def through(cls, detector: Detector, prepared: Prepared, masks: Tensor) -> Seen:
        """What is found in an input through masks (M, h, w) of its picture; black where they are 0."""
        inputs = _masked(detector, prepared, masks)
        if type(detector).outputs is not Detector.outputs:  # may have other anchors for every input
            readings = []
            for x in inputs.split(1):
                one = copy(prepared)
                object.__setattr__(one, "x", x)
                readings.append(detector(one).reading)
            return cls(tuple(readings), (None,) * len(readings), (1,) * len(readings))
        logits, columns, objectness = detector.outputs(inputs)
        every = torch.arange(logits.shape[1], device=logits.device).repeat(len(inputs))
        flat = None if objectness is None else objectness.flatten()
        with torch.no_grad():
            reading = detector.reading(prepared, every, logits.flatten(0, 1), columns.flatten(0, 1), flat)
        return cls((reading,), (flat,), (len(inputs),))

    def alike(self, detection: Detection, label: int | None = None, threshold: float | None = None) -> Tensor:
        """How alike the best of what is found in each variant is to a detection: w, (M,).

        Args:
            detection: found in the whole picture.
            label: another class than its own, whose map is asked.
            threshold: as for `DRISE`.
        """
        whole = zip(self.readings, self.objectness, self.counts, strict=True)
        return torch.cat([
            _alike(reading, objectness, detection, label, threshold).reshape(count, -1).amax(1)
            for reading, objectness, count in whole
        ])  # fmt: skip


def _alike(
    reading: Reading,
    objectness: Tensor | None,
    detection: Detection,
    label: int | None,
    threshold: float | None,
) -> Tensor:
    """IoU × cosine of scores × objectness for each row of a reading."""
    scores, background = reading.scores, reading.background
    k = detection.label if label is None else label
    own = detection.scores.to(scores)
    if k != detection.label:
        own = torch.zeros_like(own).index_fill(0, torch.tensor(k, device=own.device), 1.0)
    boxes = reading.boxes if reading.boxes.ndim == 2 else reading.boxes[:, k]
    found = iou(boxes, detection.box.to(boxes)[None])[:, 0] * (
        F.normalize(scores, dim=1) @ F.normalize(own, dim=0)
    )
    if objectness is not None:
        found = found * objectness.sigmoid()
    if threshold is None:
        threshold = _LEAST if background is None else 0.0
    likely = scores.clone()
    if background is not None:
        likely[:, background] = 0.0
    return found * (likely.amax(1) >= threshold)


class RandomMasks:
    """Smooth random masks in 0-1; the same for a seed, however many are made at once.

    Args:
        count: M.
        size: (h, w).
        grid: cells a side.
        probability: of a cell to be 1.
        seed: of the draws, which leave the global random state alone.

    >>> masks = torch.cat(list(RandomMasks(6, (8, 12), 3, 0.5, seed=1).parts(4)))
    >>> tuple(masks.shape), bool(((0 <= masks) & (masks <= 1)).all())
    ((6, 8, 12), True)
    """

    def __init__(self, count: int, size: tuple[int, int], grid: int, probability: float, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.size, self.cell = size, tuple(math.ceil(n / grid) for n in size)
        self.coarse = (torch.rand(count, 1, grid, grid, generator=generator) < probability).float()
        self.shift = torch.stack([torch.randint(c, (count,), generator=generator) for c in self.cell], 1)

    def parts(self, chunk: int) -> Iterator[Tensor]:
        """(chunk, h, w) at a time, float32."""
        height, width = self.size
        grid = self.coarse.shape[-1]
        enlarged = tuple((grid + 1) * c for c in self.cell)
        for coarse, shift in zip(self.coarse.split(chunk), self.shift.split(chunk), strict=True):
            fine = F.interpolate(coarse, size=enlarged, mode="bilinear", align_corners=False)[:, 0].clamp_(
                max=1.0
            )
            places = zip(fine, shift.tolist(), strict=True)
            yield torch.stack([mask[y : y + height, x : x + width] for mask, (y, x) in places])


def _masked(detector: Detector, prepared: Prepared, masks: Tensor) -> Tensor:
    """The input with the picture times each mask, (M, C, h, w): black where it is 0."""
    x = prepared.x
    mean, std = (x.new_tensor(list(v)).reshape(-1, 1, 1) for v in (detector.mean, detector.std))
    black = -mean / std
    x0, y0, x1, y1 = prepared.window
    inputs = x.repeat(len(masks), 1, 1, 1)
    shown = masks[:, None].to(x)
    inputs[:, :, y0:y1, x0:x1] = black + shown * (x[:, :, y0:y1, x0:x1] - black)
    return inputs
