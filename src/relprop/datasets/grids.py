"""Grids: pictures put together from pictures of another data set, each of another class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from relprop.checks import check_choice, check_count, check_number
from relprop.datasets._drawn import integer
from relprop.datasets._files import digest
from relprop.datasets.data_set import DataSet, Viewer
from relprop.datasets.sample import Sample
from relprop.errors import InputError
from relprop.files import expanded

__all__ = ["Asked", "Grids"]

Asked = Literal["all", "first", "last", "corners"]

_MOST = 16  # cells a side
_DRAWN = 20_000  # scenes to choose from; each is drawn when it is looked at


@dataclass(frozen=True)
class _Cell:
    picture: int  # index in the other data set
    label: int


class Grids(DataSet):
    """Grids of side × side pictures of distinct classes: where does an explanation of one class look?

    Each cell is what the network would see of a picture alone, at the size of its input, so a grid is `side`
    times as high and wide; a recipe shows it as it is (`geometry = "native"`). A class's box is its cell. Only
    pictures of a single class are taken, only such as the network classifies rightly, and only with a
    probability of at least `confident`; so the grids depend on the network (`for_viewer`).

    The other set's pictures are gone through in a random order, and every grid takes the first that are left, one
    a class.

    Source: Böhle et al. 2021 (CVPR, CoDA nets), the localisation metric; Rao et al. 2022 (CVPR), GridPG, whose
    choice (probabilities of at least 0.99, drawn at random, each picture once) is the default.

    Args:
        of: the other data set, by name. "auto": `scenes` of this seed without a folder; else `folder` where the
            folder holds labels.csv, and `class-folders` where it doesn't.
        options: of the other data set.
        folder: where the other data set's files are.
        side: cells a side, from 1.
        n: grids at most; fewer where pictures run out.
        confident: the least probability; 0 takes all that are classified rightly.
        uses: how many grids a picture may be part of.
        asked: which cells' classes are explained: all, the first (upper left), the last (lower right), or these
            two (Rao et al. ask them in DiFull and DiPart).
        seed: of the order.

    Raises:
        InputError: what the other data set refuses; a number out of range.
    """

    name = "grids"
    summary = "grids of pictures of another data set, each cell another class (GridPG)"
    places: ClassVar[tuple[str, ...]] = ("folder",)
    native: ClassVar[bool] = True

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        of: str = "auto",
        options: Mapping[str, Any] | None = None,
        side: int = 2,
        n: int = 50,
        confident: float = 0.99,
        uses: int = 1,
        asked: Asked = "all",
        seed: int = 0,
    ) -> None:
        check_count("side", side, most=_MOST)
        check_count("n", n)
        check_count("uses", uses)
        check_number("confident", confident, least=0)
        if confident > 1:
            raise InputError(f"Expected confident to be a probability, from 0 to 1, but got {confident}.")
        check_choice("asked", asked, ("all", "first", "last", "corners"))
        self.seed = integer("seed", seed, 0)
        self.side, self.n, self.uses, self.confident, self.asked = side, n, uses, confident, asked
        self.inner = _inner(of, folder, dict(options or {}), seed)
        self.classes: Sequence[str] = self.inner.classes
        self._grids: list[tuple[_Cell, ...]] | None = None
        self._viewer: Viewer | None = None

    @property
    def names(self) -> Sequence[str]:  # type: ignore[override]
        """Of the grids, by number.

        Raises:
            InputError: no network has chosen the cells yet.
        """
        return [f"grid-{self.side}x{self.side}-{self.seed}-{k:05d}" for k in range(len(self._chosen()))]

    @property
    def cells(self) -> list[list[str]]:
        """Names of each grid's pictures, row by row."""
        return [[self.inner.names[cell.picture] for cell in grid] for grid in self._chosen()]

    def for_viewer(self, viewer: Viewer) -> Grids:
        """The grids that a network is judged on.

        Raises:
            InputError: not even one grid can be filled with pictures that the network knows.
        """
        fitted = copy(self)
        fitted._viewer = viewer
        fitted._grids = _filled(self._candidates(viewer), self.side**2, self.n)
        if not fitted._grids:
            raise InputError(
                f"Expected pictures of at least {self.side**2} classes that the network classifies rightly with a "
                f"probability of at least {self.confident} but {self.inner.name} has fewer. Lower confident or "
                "side, or give more pictures."
            )
        return fitted

    def __getitem__(self, index: int) -> Sample:
        """Put one grid together."""
        grid, viewer = self._chosen()[index], self._viewer
        assert viewer is not None
        pictures = [viewer.cut(self.inner[cell.picture].image) for cell in grid]
        width, height = pictures[0].size
        whole = Image.new("RGB", (self.side * width, self.side * height))
        corners = [(k % self.side * width, k // self.side * height) for k in range(len(grid))]
        for picture, corner in zip(pictures, corners, strict=True):
            whole.paste(picture, corner)
        labels = [cell.label for cell in grid]
        wanted = {"all": range(len(grid)), "first": [0], "last": [-1], "corners": [0, -1]}[self.asked]
        return Sample(
            name=self.names[index],
            image=whole,
            boxes=np.array([[x, y, x + width, y + height] for x, y in corners], dtype=np.float64),
            box_labels=np.array(labels, dtype=np.int64),
            difficult=np.zeros(len(grid), dtype=bool),
            labels=tuple(sorted({labels[k] for k in wanted})),
        )

    def fingerprint(self) -> str:
        """Changes with the other set, and with the cells that were chosen."""
        return digest(self.name, [self.inner.fingerprint(), self.side, self.asked, self._chosen()])

    def _chosen(self) -> list[tuple[_Cell, ...]]:
        if self._grids is None:
            raise InputError(
                "Expected grids that a network has chosen the cells of but got none yet. Take "
                "grids.for_viewer(...), as a benchmark does."
            )
        return self._grids

    def _candidates(self, viewer: Viewer) -> Iterator[_Cell]:
        """Pictures that may be cells, in a random order, `uses` times over."""
        random = np.random.Generator(np.random.PCG64(self.seed))
        known: dict[int, _Cell | None] = {}
        for _ in range(self.uses):
            for picture in random.permutation(len(self.inner)).tolist():
                if picture not in known:
                    known[picture] = self._candidate(picture, viewer)
                cell = known[picture]
                if cell is not None:
                    yield cell

    def _candidate(self, picture: int, viewer: Viewer) -> _Cell | None:
        try:
            sample = self.inner[picture]
        except InputError:  # damaged: no cell
            return None
        shown = {*sample.labels, *sample.box_labels.tolist()}
        if len(shown) != 1 or len(sample.labels) != 1:
            return None
        label = sample.labels[0]
        probability = viewer.confidence(viewer.cut(sample.image), label)
        return _Cell(picture, label) if probability and probability >= self.confident else None


def _filled(cells: Iterator[_Cell], count: int, most: int) -> list[tuple[_Cell, ...]]:
    """Grids of `count` cells of distinct classes; each takes the first cells that are left."""
    grids: list[tuple[_Cell, ...]] = []
    waiting: list[_Cell] = []
    while len(grids) < most:
        grid: dict[int, _Cell] = {}
        later: list[_Cell] = []
        for cell in waiting:
            if cell.label in grid or len(grid) == count:
                later.append(cell)
            else:
                grid[cell.label] = cell
        waiting = later
        while len(grid) < count:
            fresh = next(cells, None)
            if fresh is None:
                return grids
            if fresh.label in grid:
                waiting.append(fresh)
            else:
                grid[fresh.label] = fresh
        grids.append(tuple(grid.values()))
    return grids


def _inner(of: str, folder: str | Path | None, options: dict[str, Any], seed: int) -> DataSet:
    from relprop.datasets.registry import DATASETS, load_dataset

    if of == "auto" and folder is None:
        of, options = "scenes", {"n": _DRAWN, "seed": seed, **options}
    elif of == "auto":
        assert folder is not None
        of = "folder" if (expanded(folder) / "labels.csv").is_file() else "class-folders"
    if of == Grids.name:
        raise InputError("Expected grids of another data set but got grids of grids.")
    if folder is not None:
        place = next(iter(getattr(DATASETS.find(of), "places", ())), None)
        if place is None:
            raise InputError(f"Expected no folder, for the data set {of} is made, not read.")
        options[place] = folder
    return load_dataset(of, **options)
