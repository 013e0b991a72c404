"""Removal: what a detection loses when parts of the picture around its box are taken away, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_number
from relprop.detectors.detections import Detection
from relprop.detectors.detector import EDGES, Detector
from relprop.detectors.filling import check_fill, fill_words
from relprop.detectors.moves import direction, part_title, pixels
from relprop.detectors.variants import Said, ask, inside
from relprop.errors import InputError

__all__ = ["BANDS", "Effects", "measured_effects"]

#: The parts of ``cells="bands"``, in order.
BANDS = ("left", "right", "top", "bottom")
_LEAST = 0.02  # of the box's side: an edge that moves less stays where it is


@dataclass(frozen=True, eq=False)
class Effects:
    """What each of C parts of the picture does to a detection: measured by taking it away.

    An effect is what the detection says with the part less what it says without it: a positive one raises the
    logit, or lays the edge further right or down.

    Attributes:
        detection: what was asked.
        cells: (rows, columns) of the grid, or "bands".
        boxes: (C, 4), the parts in pixels of the picture, cut at its edge; row by row, or as `BANDS`.
        masks: (C, h, w) bool, the same in pixels of the input; a part that lies outside of the picture has none.
        names: of the parts: "upper left", "middle", "left", …
        said: the detection with all parts, then without each: C + 1 rows.
        fill: how parts were taken away.
        runs: pictures that the network saw.
    """

    detection: Detection
    cells: tuple[int, int] | Literal["bands"]
    boxes: Tensor
    masks: Tensor
    names: tuple[str, ...]
    said: Said
    fill: str
    runs: int

    def of(self, part: str, label: int | None = None) -> Tensor:
        """The effects (C,) on a part of the detection, in the part's own unit; edges in pixels of the picture.

        Args:
            part: as `Said.of`: "class", "margin", "score", an offset, "x1", "y1", "x2", "y2", "objectness".
            label: another class than the detection's, for the first three.

        Raises:
            UnknownNameError: no such part.
        """
        values = self.said.of(part, label)
        return values[0] - values[1:]

    def heatmap(self, part: str, label: int | None = None) -> Tensor:
        """The effects as a map (h, w) on the input's pixels; each pixel has the effect of the part it lies in.

        Bands overlap at the box's corners: there it is the mean of the two.
        """
        effects = self.of(part, label).cpu()
        masks = self.masks.to(effects.dtype)
        return torch.einsum("c,chw->hw", effects, masks) / masks.sum(0).clamp(min=1)

    def strongest(self, part: str, label: int | None = None) -> int:
        """Which of the C parts has the largest effect, either way."""
        return int(self.of(part, label).abs().argmax())

    @property
    def moves(self) -> Tensor:
        """How far each of the C parts moves the box: what its four edges move, added up, in pixels."""
        return torch.stack([self.of(edge).abs() for edge in EDGES]).sum(0)

    def words(self, part: str) -> str:
        """Where the box is from, one of its edges, or the class: one sentence.

        Args:
            part: "box", "x1", "y1", "x2", "y2", "class", "margin" or "score".

        Raises:
            InputError: another part.
        """
        k = int(self.moves.argmax()) if part == "box" else self.strongest(part)
        kind = "quarter" if self.cells == "bands" else "part"
        place = f"the {self.names[k]} {kind}" if self.names[k] != "middle" else "the middle"
        if part == "box":
            edges = [(edge, float(self.of(edge)[k])) for edge in EDGES]
            moved = [
                f"the {part_title(edge)} {pixels(abs(v))} px {direction(edge, v < 0)}"
                for edge, v in edges
                if abs(v) >= self._least(edge)
            ]
            if not moved:
                return f"None of the parts alone moves an edge by {_LEAST:.0%} of the box."
            return f"{place.capitalize()} moves the box most; without it: {', '.join(moved)}."
        effect = float(self.of(part)[k])
        if part in ("class", "margin", "score"):
            change = f"{'lower' if effect > 0 else 'higher'} by {abs(effect):.2g}"
            what = "score" if part == "score" else "logit"
            return f"{place.capitalize()} matters most: without it the {what} would be {change}."
        if part not in EDGES:
            valid = ", ".join(map(repr, ("box", *EDGES, "class", "margin", "score")))
            raise InputError(f"Expected one of {valid} for a sentence but got {part!r}. Read .of({part!r}).")
        edge = part_title(part)
        if abs(effect) < self._least(part):
            return f"None of the parts alone moves the {edge} by {_LEAST:.0%} of the box."
        way = direction(part, effect < 0)  # the effect is with the part less without
        return (
            f"The {edge} lies where it does mostly because of {place}: without it the edge would lie "
            f"{pixels(abs(effect))} px further {way}."
        )

    def _least(self, edge: str) -> float:
        """From how many pixels on an edge counts as moved."""
        x0, y0, x1, y1 = self.said.edges[0].tolist()
        return _LEAST * (x1 - x0 if edge[0] == "x" else y1 - y0)

    @property
    def summary(self) -> str:
        """The box, and each edge that some part moves, in sentences; and how they were measured."""
        moved = [edge for edge in EDGES if float(self.of(edge).abs().max()) >= self._least(edge)]
        how = f"{len(self.names)} parts, each replaced by {fill_words(self.fill)}; {self.runs} runs."
        return " ".join([*(self.words(part) for part in ("box", *moved)), f"Measured: {how}"])


def measured_effects(
    detector: Detector,
    image: Any,
    detection: Detection,
    cells: tuple[int, int] | Literal["bands"] = (5, 5),
    reach: float = 1.25,
    fill: str = "inpaint",
    batch: int = 8,
) -> Effects:
    """Take the cells of a grid over a detection's box away, one after the other, and see what it does.

    The detection's own output unit is asked each time, so one box is followed and not whatever is found
    then. Nothing is propagated: it is a measurement, of what removal does with this fill.

    Args:
        detector: what made the detection.
        image: the picture it was found in, or the `Prepared` of it.
        detection: one of ``detector(image)``.
        cells: (rows, columns); or "bands": the left, right, top and bottom quarter of the box, in four runs.
        reach: the grid covers the box enlarged by this about its centre; bands always lie in the box.
        fill: what a cell is replaced by: "inpaint", "blur" or "mean", see `relprop.detectors.filling`.
        batch: pictures that run at once.

    Raises:
        InputError: settings that can't be used, or the box has no pixel in the picture.

    Source: as occlusion in M. D. Zeiler, R. Fergus, Visualizing and Understanding Convolutional Networks, ECCV
    2014, section 4.2, on a grid that follows the box.

    >>> from relprop.datasets import Scenes
    >>> from relprop.detectors import load
    >>> scene = Scenes(n=1, seed=2, split="test")[0]
    >>> detector = load()
    >>> found = measured_effects(detector, scene.image, detector(scene.image)[0], cells="bands")
    >>> found.names, found.of("x2").shape, found.runs
    (('left', 'right', 'top', 'bottom'), torch.Size([4]), 5)
    """
    check_fill("fill", fill)
    check_number("reach", reach, least=0)
    if isinstance(cells, str):
        if cells != "bands":
            raise InputError(f"Expected cells of (rows, columns) or 'bands' but got {cells!r}.")
    elif len(cells) != 2 or not all(isinstance(n, int) and n >= 1 for n in cells):
        raise InputError(f"Expected cells of (rows, columns), 1 or more each, but got {cells!r}.")
    prepared = detector.prepared(image)
    box = prepared.in_input(detection.box.to("cpu", torch.float64))
    if isinstance(cells, str):
        boxes, names = _bands(box), list(BANDS)
    else:
        boxes, names = _grid(box, cells[0], cells[1], reach), _places(cells[0], cells[1])
    masks = inside(boxes, prepared)
    if not bool(masks.any()):
        raise InputError(
            f"Expected a box with pixels in the picture but got {[round(v, 1) for v in detection.box.tolist()]}."
        )
    # A cell that lies outside of the picture changes nothing, and needs no run.
    seen = masks.any((1, 2)).nonzero()[:, 0]
    said = ask(detector, prepared, detection, masks[seen], [fill], batch)
    row = torch.zeros(len(masks) + 1, dtype=torch.int64)
    row[1 + seen] = torch.arange(1, len(seen) + 1)
    height, width = prepared.size
    on_picture = prepared.on_picture(boxes)
    limit = on_picture.new_tensor([width, height, width, height])
    return Effects(
        detection=detection,
        cells=cells if isinstance(cells, str) else (cells[0], cells[1]),
        boxes=torch.minimum(on_picture.clamp(min=0), limit),
        masks=masks,
        names=tuple(names),
        said=said.rows(row),
        fill=fill,
        runs=len(seen) + 1,
    )


def _grid(box: Tensor, rows: int, columns: int, reach: float) -> Tensor:
    """(rows * columns, 4) cells, row by row, over a box (4,) enlarged about its centre."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * reach / 2
    x, y = (
        torch.linspace(float(centre[i] - half[i]), float(centre[i] + half[i]), n + 1, dtype=torch.float64)
        for i, n in ((0, columns), (1, rows))
    )
    top, left = (t.flatten() for t in torch.meshgrid(y[:-1], x[:-1], indexing="ij"))
    bottom, right = (t.flatten() for t in torch.meshgrid(y[1:], x[1:], indexing="ij"))
    return torch.stack([left, top, right, bottom], 1)


def _bands(box: Tensor) -> Tensor:
    """(4, 4): the left, right, top and bottom quarter of a box (4,)."""
    x0, y0, x1, y1 = box.tolist()
    w, h = (x1 - x0) / 4, (y1 - y0) / 4
    parts = [(x0, y0, x0 + w, y1), (x1 - w, y0, x1, y1), (x0, y0, x1, y0 + h), (x0, y1 - h, x1, y1)]
    return torch.tensor(parts, dtype=torch.float64)


def _places(rows: int, columns: int) -> list[str]:
    """What the cells of a grid are called, by the third of the grid that their middle lies in.

    >>> _places(1, 3), _places(2, 2)
    (['left', 'middle', 'right'], ['upper left', 'upper right', 'lower left', 'lower right'])
    """

    def third(i: int, count: int, words: Sequence[str]) -> str:
        return words[min(int(3 * (i + 0.5) / count), 2)]

    made = []
    for i in range(rows):
        for j in range(columns):
            down = third(i, rows, ("upper", "", "lower"))
            across = third(j, columns, ("left", "", "right"))
            made.append(" ".join(w for w in (down, across) if w) or "middle")
    return made
