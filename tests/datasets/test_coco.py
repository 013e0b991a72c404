"""COCO files are read as the format says; masks are pycocotools' own."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.refusals import assert_refused

from relprop.datasets import COCO
from relprop.errors import InputError

rle = pytest.importorskip("pycocotools.mask")

W, H = 20, 10
SQUARE = [2, 1, 8, 1, 8, 5, 2, 5]  # columns 2 to 7, rows 1 to 4


def _mask(*window: int) -> np.ndarray:
    mask = np.zeros((H, W), dtype=np.uint8, order="F")
    x0, y0, x1, y1 = window
    mask[y0:y1, x0:x1] = 1
    return mask


def _runs(mask: np.ndarray) -> list[int]:
    """Plain run lengths, column by column, starting with zeros."""
    flat = mask.flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *edges, flat.size]).tolist()
    return [0, *lengths] if flat[0] else lengths


def _content() -> dict[str, Any]:
    compressed = rle.encode(_mask(0, 0, 3, 3))
    return {
        "categories": [
            {"id": 90, "name": "toothbrush"},
            {"id": 1, "name": "person"},
            {"id": 13, "name": "stop sign"},
        ],
        "images": [
            {"id": 7, "file_name": "000007.jpg", "width": W, "height": H},
            {"id": 3, "file_name": "000003.jpg", "width": W, "height": H},
            {"id": 5, "file_name": "000005.jpg", "width": W, "height": H},
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 90,
                "iscrowd": 0,
                "bbox": [2, 1, 6, 4],
                "segmentation": [SQUARE],
            },
            {
                "id": 2,
                "image_id": 7,
                "category_id": 90,
                "iscrowd": 1,
                "bbox": [10.5, 2, 4.25, 6],
                "segmentation": {"size": [H, W], "counts": _runs(_mask(11, 2, 14, 8))},
            },
            {
                "id": 3,
                "image_id": 7,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [0, 0, 3, 3],
                "segmentation": {"size": [H, W], "counts": compressed["counts"].decode()},
            },
            {
                "id": 4,
                "image_id": 3,
                "category_id": 13,
                "iscrowd": 0,
                "bbox": [0, 0, 20, 10],
                "segmentation": [[0, 0, 20, 0, 20, 10, 0, 10], SQUARE],
            },
        ],
    }


def _write(folder: Path, content: Any, name: str = "val2017") -> Path:
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    path = folder / "annotations" / f"instances_{name}.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    _write(tmp_path, _content())
    (tmp_path / "val2017").mkdir()
    for number in (3, 5, 7):
        Image.new("RGB", (W, H)).save(tmp_path / "val2017" / f"{number:06d}.jpg")
    return tmp_path


def test_classes_names_boxes_and_masks(root: Path) -> None:
    data = COCO(root)
    assert data.classes == ("person", "stop sign", "toothbrush")  # in the order of their ids
    assert data.names == ["000003", "000007"]  # 5 has no annotation
    sample = data[1]
    assert sample.boxes.tolist() == [[2, 1, 8, 5], [10.5, 2, 14.75, 8], [0, 0, 3, 3]]
    assert sample.box_labels.tolist() == [2, 2, 0]
    assert sample.labels == (0, 2)
    assert not sample.difficult.any()  # crowds neither
    assert sample.masks is not None
    assert (sample.masks[2] == (_mask(2, 1, 8, 5) | _mask(11, 2, 14, 8))).all()
    assert (sample.masks[0] == _mask(0, 0, 3, 3)).all()
    assert data[0].masks is not None
    assert data[0].masks[1].all()
    assert data[-1].name == "000007"
    assert [s.name for s in data] == data.names


@pytest.mark.parametrize("place", ["val2017", "images/val2017", "images", "."])
def test_pictures_are_found(root: Path, place: str) -> None:
    (root / "val2017").rename(root / "moved")
    (root / place).mkdir(parents=True, exist_ok=True)
    for file in (root / "moved").glob("*.jpg"):
        file.rename(root / place / file.name)
    assert COCO(root)[0].size == (H, W)


def test_one_instance_file_is_chosen(root: Path) -> None:
    other = _content()
    other["annotations"] = other["annotations"][:1]
    path = _write(root, other, "train2017")
    assert COCO(root, split="val").names == ["000003", "000007"]
    assert COCO(root, split="val", year=2017).names == ["000003", "000007"]
    (root / "train2017").mkdir()
    Image.new("RGB", (W, H)).save(root / "train2017" / "000007.jpg")
    assert COCO(root, split="train").names == ["000007"]
    (root / "images").symlink_to(root / "val2017")
    assert COCO(root, annotations=path.rename(root / "mine.json")).names == ["000007"]
    _write(root, other, "val2014")
    assert_refused(
        InputError,
        (lambda: COCO(root, split="val"), r"instances_val2014\.json, instances_val2017\.json 2 fit"),
        (lambda: COCO(root), "Pass split and year"),
        (lambda: COCO(root, split="test", year=2017), r"test 2017 .*none fits"),
    )


def test_unusable_folders_are_refused(root: Path, tmp_path: Path) -> None:
    assert_refused(
        InputError,
        (lambda: COCO(root / "gone"), "gone', which does not exist"),
        (lambda: COCO(root / "val2017"), r"instances_\*\.json in .*there is none"),
        (lambda: COCO(root, annotations="none.json"), r"none\.json', which does not exist"),
    )
    for file in (root / "val2017").glob("*.jpg"):
        file.unlink()
    with pytest.raises(InputError, match="in val2017, images/val2017"):
        COCO(root)


@pytest.mark.parametrize(
    "content",
    [[], {}, {"images": []}, {"images": 3}, {"categories": [], "images": [], "annotations": [{"id": 1}]}],
)
def test_other_json_is_refused(root: Path, content: Any) -> None:
    _write(root, content)
    with pytest.raises(InputError, match="something else"):
        COCO(root)


def test_no_json_and_no_annotation_at_all(root: Path) -> None:
    path = _write(root, {**_content(), "annotations": []})
    with pytest.raises(InputError, match="one picture"):
        COCO(root)
    path.write_text("{")
    with pytest.raises(InputError, match=r"JSON .*can't be parsed"):
        COCO(root)


def _square(**changes: Any) -> dict[str, Any]:
    return {**_content()["annotations"][0], **changes}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"category_id": 2}, "categories but got 2 in annotation 1 of picture '000007' in '.*json'"),
        ({"bbox": [1, 2, 3]}, r"bbox of four numbers .* but got \[1, 2, 3\] in annotation 1"),
        ({"bbox": [1, 2, 0, 4]}, "box with an area but got 1, 2, 1, 6 .* in annotation 1"),
        ({"bbox": [1, 2, 30, 4]}, "box inside the picture of 20 x 10 but got 1, 2, 31, 6"),
        ({"segmentation": None}, "for 20 x 10 pixels but annotation 1 .* can't be used: it is None"),
        ({"segmentation": []}, "can't be used: there is no polygon"),
        ({"segmentation": [[1, 1, 5, 5]]}, "can't be used: a polygon has fewer than three corners"),
        ({"segmentation": [[1, 1, 5, 5, 3, 4, 2]]}, "or half a corner"),
        ({"segmentation": [[1, 1, 5, 5, 3, float("nan")]]}, "lies far outside, or is NaN"),
        ({"segmentation": [[1, 1, 5, 5, 3, 1e9]]}, "lies far outside, or is NaN"),
        ({"segmentation": [["a", 1, 5, 5, 3, 4]]}, "can't be used: could not convert string to float"),
        ({"segmentation": {"size": [H, W]}}, "can't be used: 'counts' is missing"),
        ({"segmentation": {"size": [W, H], "counts": [200]}}, r"it is of size \[20, 10\]"),
        ({"segmentation": {"size": [H, W], "counts": [3, 4]}}, "2 runs don't cover the picture"),
        ({"segmentation": {"size": [H, W], "counts": [-5, 205]}}, "2 runs don't cover the picture"),
        ({"segmentation": {"size": [H, W], "counts": ""}}, "0 runs don't cover the picture"),
        ({"segmentation": {"size": [H, W], "counts": "52203"}}, "5 runs don't cover the picture"),
        ({"segmentation": {"size": [H, W], "counts": "é"}}, "can't be used: its run lengths hold characters"),
    ],
)
def test_broken_annotations_are_named(root: Path, changes: dict[str, Any], text: str) -> None:
    content = _content()
    content["annotations"][0] = _square(**changes)
    _write(root, content)
    data = COCO(root)
    with pytest.raises(InputError, match=text):
        data[1]
    assert data[0].labels == (1,)  # the others are unharmed


def test_missing_and_misfit_pictures_are_named(root: Path) -> None:
    data = COCO(root)
    (root / "val2017" / "000007.jpg").unlink()
    with pytest.raises(InputError, match=r"000007\.jpg', which does not exist"):
        data[1]
    Image.new("RGB", (H, W)).save(root / "val2017" / "000003.jpg")
    with pytest.raises(InputError, match=r"20 x 10 .*000003\.jpg' has 10 x 20"):
        data[0]


def test_a_copy_in_another_process_reads_the_same(root: Path) -> None:
    data = COCO(root)
    text = pickle.dumps(data)
    assert b"segmentation" not in text  # workers parse the file themselves
    again = pickle.loads(text)
    assert again.names == data.names
    assert again.fingerprint() == data.fingerprint()
    first, second = data[1], again[1]
    assert (first.boxes == second.boxes).all()
    assert first.masks is not None
    assert second.masks is not None
    assert all((first.masks[c] == second.masks[c]).all() for c in (0, 2))


def test_fingerprint_changes_with_what_is_read(root: Path) -> None:
    before = COCO(root).fingerprint()
    content = copy.deepcopy(_content())
    content["annotations"][0]["bbox"] = [2, 1, 6, 5]
    _write(root, content)
    after = COCO(root).fingerprint()
    assert after != before
    Image.new("RGB", (40, 50)).save(root / "val2017" / "000007.jpg")
    assert COCO(root).fingerprint() != after


@pytest.mark.parametrize("name", ["000007", "000007.jpg", "7"])
def test_difficult_list(root: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "hard.txt"
    path.write_text(f"{name}\t0\t0\t1\n")
    data = COCO(root, difficult=path)
    assert data[1].hard == {0: False, 1: False, 2: True}
    assert data[0].hard == {0: True, 1: True, 2: True}


def test_pycocotools_is_named_where_it_is_missing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(InputError, match=r"pycocotools.*'relprop\[coco\]'"):
        COCO(root)


@pytest.mark.parametrize("seed", range(3))
def test_compressed_masks_are_read_as_pycocotools_writes_them(seed: int) -> None:
    from relprop.datasets.coco import _decode, _run_lengths

    rng = np.random.default_rng(seed)
    mask = np.asfortranarray((rng.random((37, 53)) < 0.02 + 0.4 * seed).astype(np.uint8))
    mask[4:20, 7:30] = seed % 2
    written = rle.encode(mask)
    assert _run_lengths(written["counts"]) == _runs(mask)
    assert (_decode(written, (37, 53), "") == mask).all()
    assert (_decode({"size": [37, 53], "counts": _runs(mask)}, (37, 53), "") == mask).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
@pytest.mark.parametrize("seed", range(5))
def test_polygons_are_filled_as_pycocotools_fills_them(seed: int) -> None:
    from relprop.datasets.coco import _decode

    polygons = [np.random.default_rng(seed + i).uniform(-2, 55, 8).tolist() for i in (0, 100)]
    expected = rle.decode(rle.merge(rle.frPyObjects(polygons, 37, 53)))
    assert expected.any()
    assert (_decode(polygons, (37, 53), "") == expected).all()


def test_nothing_is_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    COCO(root)[1]
    assert capsys.readouterr() == ("", "")


def test_real_pictures(assets: Path) -> None:
    data = COCO(assets / "coco")
    content = json.loads((assets / "coco" / "annotations" / "instances_val2017.json").read_text())
    assert (len(data), len(data.classes)) == (79, 80)
    assert (data.classes[0], data.classes[79]) == ("person", "toothbrush")
    names = {c["id"]: c["name"] for c in content["categories"]}
    boxes = 0
    for sample in data:
        own = [a for a in content["annotations"] if a["image_id"] == int(sample.name)]
        boxes += len(own)
        assert [data.classes[i] for i in sample.box_labels] == [names[a["category_id"]] for a in own]
        found = sample.boxes.copy()
        found[:, 2:] -= found[:, :2]
        assert np.abs(found - np.array([a["bbox"] for a in own])).max() < 1e-9
        assert sample.masks is not None
        assert tuple(sample.masks) == sample.labels
        for a in own:  # each object's own area, as COCO states it, fits into its class's union
            area = int(sample.masks[data.classes.index(names[a["category_id"]])].sum())
            assert area > 0.9 * a["area"] - 20
    assert boxes == len(content["annotations"]) == 624
