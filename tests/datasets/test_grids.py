"""Grids: which pictures become cells, where they lie, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from relprop.datasets import Grids, Viewer, load_dataset
from relprop.errors import InputError

#: File -> its class and its grey, which the network below takes for its probability in percent.
FILES = {f"{label}{k}.png": (label, grey) for label in "abcdef" for k, grey in enumerate((40, 60, 80))}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = ["file,label"]
    for name, (label, grey) in FILES.items():
        Image.new("RGB", (9, 5), (grey, grey, ord(label))).save(tmp_path / name)
        rows.append(f"{name},{label}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def viewer(unknown: str = "") -> Viewer:
    """A network of 4 × 3 pixels: its probability is the grey, and it knows the class by the blue."""

    def confidence(picture: Image.Image, label: int) -> float:
        assert picture.size == (4, 3)
        _, grey, blue = picture.getpixel((0, 0))
        letter = chr(blue)
        assert letter == "abcdef"[label]
        return 0.0 if letter in unknown else grey / 100

    return Viewer(lambda picture: picture.resize((4, 3)), confidence)


def grids(root: Path, unknown: str = "", **options: Any) -> Grids:
    made = load_dataset("grids", folder=root, **{"confident": 0.5, **options})
    assert isinstance(made, Grids)
    return made.for_viewer(viewer(unknown))


def test_cells_lie_row_by_row_and_are_their_classs_boxes(root: Path) -> None:
    data = grids(root)
    assert (data.classes, len(data)) == (tuple("abcdef"), 3)  # 12 pictures of 0.6 and 0.8
    for sample, names in zip(data, data.cells, strict=True):
        assert sample.size == (6, 8)
        assert sample.boxes.tolist() == [[0, 0, 4, 3], [4, 0, 8, 3], [0, 3, 4, 6], [4, 3, 8, 6]]
        pixels = np.asarray(sample.image)
        for (x0, y0, x1, y1), label, name in zip(sample.boxes, sample.box_labels, names, strict=True):
            letter, grey = FILES[name]
            assert "abcdef"[label] == letter
            cell = pixels[int(y0) : int(y1), int(x0) : int(x1)]
            assert (cell == (grey, grey, ord(letter))).all()
            region = sample.region(int(label))
            assert region is not None
            assert region.sum() == 12
        assert len(set(sample.box_labels.tolist())) == 4
        assert sample.labels == tuple(sorted(sample.box_labels.tolist()))


@pytest.mark.parametrize(
    ("options", "pictures", "count"),
    [
        ({"confident": 0.7}, ("2",), 1),  # 6 pictures
        ({"confident": 0.8}, ("2",), 1),  # the least counts
        ({"confident": 0}, ("0", "1", "2"), 4),  # 18 pictures of 6 classes, 2 left over
        ({"confident": 0.7, "uses": 2}, ("2",), 3),  # 12 cells
        ({"confident": 0, "n": 2}, ("0", "1", "2"), 2),
        ({"confident": 0, "unknown": "ab"}, ("0", "1", "2"), 3),  # four classes of 3
        ({"confident": 0, "side": 1}, ("0", "1", "2"), 18),
    ],
)
def test_pictures_are_confident_known_and_used_so_often(
    root: Path, options: dict[str, Any], pictures: tuple[str, ...], count: int
) -> None:
    data = grids(root, **options)
    assert len(data) == count
    used = [name for cells in data.cells for name in cells]
    assert all(name[1] in pictures and name[0] not in options.get("unknown", "") for name in used)
    assert max(used.count(name) for name in used) <= options.get("uses", 1)
    for cells in data.cells:
        assert len({name[0] for name in cells}) == len(cells)


@pytest.mark.parametrize(
    ("asked", "cells"), [("all", [0, 1, 2, 3]), ("first", [0]), ("last", [3]), ("corners", [0, 3])]
)
def test_asked_cells(root: Path, asked: str, cells: list[int]) -> None:
    data = grids(root, asked=asked)
    for sample in data:
        assert sample.labels == tuple(sorted(sample.box_labels[cells].tolist()))
        assert len(sample.boxes) == 4


def test_pictures_of_several_classes_and_damaged_ones_are_no_cells(root: Path) -> None:
    with (root / "labels.csv").open("a") as handle:
        handle.write("\na2.png,b")
    (root / "b2.png").write_bytes(b"damaged")
    used = {name for cells in grids(root, confident=0.8, side=1).cells for name in cells}
    assert used == {"c2.png", "d2.png", "e2.png", "f2.png"}


def test_seed_network_and_choice_change_the_fingerprint(root: Path) -> None:
    same = grids(root).fingerprint()
    assert grids(root).fingerprint() == same
    others = [
        grids(root, seed=1).fingerprint(),
        grids(root, unknown="a").fingerprint(),
        grids(root, asked="first").fingerprint(),
        grids(root, n=1).fingerprint(),
    ]
    assert len({same, *others}) == 5


def test_scenes_without_a_folder_follow_the_seed() -> None:
    one, two = load_dataset("grids", seed=3), load_dataset("grids", seed=4)
    assert isinstance(one, Grids)
    assert isinstance(two, Grids)
    assert one.inner.names[0] == "test-3-000000"
    assert two.inner.names[0] == "test-4-000000"
    given = load_dataset("grids", seed=3, options={"n": 5, "seed": 9})
    assert isinstance(given, Grids)
    assert given.inner.names[-1] == "test-9-000004"


def test_class_folders_are_read_where_no_list_is(root: Path) -> None:
    (root / "labels.csv").unlink()
    (root / "ant").mkdir()
    Image.new("RGB", (4, 3)).save(root / "ant" / "a.png")
    made = load_dataset("grids", folder=root)
    assert isinstance(made, Grids)
    assert made.inner.name == "class-folders"


def test_refusals(root: Path) -> None:
    with pytest.raises(InputError, match=r"at least 4 classes .* probability of at least 0.9"):
        grids(root, confident=0.9)
    with pytest.raises(InputError, match="network has chosen the cells"):
        len(load_dataset("grids", folder=root))
    for options, words in (
        ({"side": 0}, "side"),
        ({"side": 17}, "side"),
        ({"n": 0}, "n to be"),
        ({"confident": 1.5}, "from 0 to 1, but got 1.5"),
        ({"asked": "middle"}, "asked"),
        ({"seed": -1}, "seed"),
        ({"of": "grids"}, "grids of grids"),
        ({"of": "scenes"}, "made, not read"),
        ({"of": "scene"}, "Did you mean 'scenes'"),
    ):
        with pytest.raises(InputError, match=words):
            load_dataset("grids", folder=root, **options)
