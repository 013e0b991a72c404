"""Annotations of many pictures: found by the names of files, crowds and difficult objects kept apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from relprop.datasets.truth import read_truth
from relprop.datasets.voc import VOC_CLASSES
from relprop.errors import InputError

SIZE = (20, 30)


def instances(folder: Path, files: list[str], annotations: list[dict[str, Any]]) -> Path:
    path = folder / "instances.json"
    path.write_text(
        json.dumps(
            {
                "images": [
                    {"id": k, "file_name": f, "height": SIZE[0], "width": SIZE[1]}
                    for k, f in enumerate(files)
                ],
                "annotations": [{"id": n, **a} for n, a in enumerate(annotations)],
                "categories": [{"id": 90, "name": "cup"}, {"id": 3, "name": "dog"}],
            }
        )
    )
    return path


def xml(folder: Path, name: str, *objects: tuple[str, int]) -> None:
    rows = "".join(
        f"<object><name>{kind}</name><difficult>{hard}</difficult><part><name>head</name></part>"
        "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>10</xmax><ymax>12</ymax></bndbox></object>"
        for kind, hard in objects
    )
    (folder / f"{name}.xml").write_text(f"<annotation>{rows}</annotation>")


def test_coco(tmp_path: Path) -> None:
    box = [1.0, 2.0, 10.0, 5.0]
    truth = read_truth(
        instances(
            tmp_path,
            ["a.jpg", "empty.jpg"],
            [
                {"image_id": 0, "category_id": 90, "bbox": box, "iscrowd": 1},
                {"image_id": 0, "category_id": 3, "bbox": box},
            ],
        )
    )
    assert truth.kind == "COCO"
    assert truth.classes == ("dog", "cup")  # by their ids
    assert truth.count == 2
    found = truth.of(Path("somewhere/a.jpg"), SIZE)
    assert found.names == ["cup", "dog"]
    assert found.boxes.tolist() == [[1.0, 2.0, 11.0, 7.0]] * 2
    assert found.crowd.tolist() == [True, False]
    assert not found.difficult.any()
    # A picture that is listed without annotations holds nothing, which is a truth; others aren't known.
    assert truth.of(Path("empty.jpg"), SIZE).boxes.shape == (0, 4)
    assert truth.key(Path("b.jpg")) is None
    with pytest.raises(InputError, match="30 x 20 pixels"):
        truth.of(Path("a.jpg"), (30, 20))


def test_the_longest_end_of_a_path_counts(tmp_path: Path) -> None:
    truth = read_truth(instances(tmp_path, ["one/a.jpg", "two/a.jpg", "b.jpg", "two/c.jpg"], []))
    assert truth.key(Path("/data/two/a.jpg")) == "two/a.jpg"
    assert truth.key(Path("/data/one/a.jpg")) == "one/a.jpg"
    assert truth.key(Path("/data/a.jpg")) is None  # it might be either
    assert truth.key(Path("/data/x/b.jpg")) == "b.jpg"
    assert truth.key(Path("c.jpg")) == "two/c.jpg"


def test_voc(tmp_path: Path) -> None:
    folder = tmp_path / "Annotations"
    folder.mkdir()
    xml(folder, "a", ("dog", 1), ("cat", 0))
    xml(folder, "none")
    truth = read_truth(tmp_path)
    assert truth.kind == "VOC"
    assert truth.count == 2
    assert tuple(truth.classes) == VOC_CLASSES  # all are marked in VOC, those that don't occur too
    found = truth.of(Path("pictures/a.jpeg"), SIZE)
    assert found.names == ["dog", "cat"]
    assert found.difficult.tolist() == [True, False]
    assert found.boxes.tolist() == [[1.0, 2.0, 10.0, 12.0]] * 2  # from corners that count from 1
    assert truth.of(Path("none.jpg"), SIZE).names == []
    before = truth.digest()
    xml(folder, "none", ("bolt", 0))
    again = read_truth(folder)  # the folder itself does as well
    assert again.digest() != before
    assert again.classes == ["bolt", "cat", "dog"]  # somebody's own classes: those that occur


def test_a_damaged_annotation_is_told_of_with_its_picture(tmp_path: Path) -> None:
    xml(tmp_path, "a", ("dog", 0))
    (tmp_path / "b.xml").write_text("<annotation><object>")
    xml(tmp_path, "c", ("", 0))
    truth = read_truth(tmp_path)
    assert truth.of(Path("a.jpg"), SIZE).names == ["dog"]
    with pytest.raises(InputError, match="can't be parsed"):
        truth.of(Path("b.jpg"), SIZE)
    with pytest.raises(InputError, match="a name but object 1"):
        truth.of(Path("c.jpg"), SIZE)
