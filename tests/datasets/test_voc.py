"""VOC folders are read as the format says; what is broken is named."""

from __future__ import annotations

import pickle
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from relprop.datasets import VOC, VOC_CLASSES
from relprop.errors import InputError, UnknownNameError

SIZE = (40, 30)  # width, height


def _object(name: str, box: tuple[object, ...], difficult: int | None = 0) -> str:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>"


def _add(root: Path, name: str, *objects: str) -> None:
    for part in ("JPEGImages", "Annotations"):
        (root / part).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, "grey").save(root / "JPEGImages" / f"{name}.jpg")
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "VOC2007"
    _add(root, "000002", _object("dog", (1, 1, 40, 30)))
    _add(
        root,
        "000001",
        _object("person", (3, 5, 12, 20)),
        _object("cat", (20, 2, 30, 9), 1),
        _object("person", (13, 5, 13, 5), None),
    )
    return root


def _write_split(root: Path, name: str, text: str) -> None:
    path = root / "ImageSets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_boxes_become_half_open_and_flags_decide_labels(root: Path) -> None:
    sample = VOC(root)[0]
    assert sample.name == "000001"
    assert sample.size == (30, 40)
    assert sample.boxes.tolist() == [[2, 4, 12, 20], [19, 1, 30, 9], [12, 4, 13, 5]]
    person, cat = VOC_CLASSES.index("person"), VOC_CLASSES.index("cat")
    assert sample.box_labels.tolist() == [person, cat, person]
    assert sample.difficult.tolist() == [False, True, False]
    assert sample.labels == (person,)  # the cat is there, but difficult
    region = sample.region(person)
    assert region is not None
    assert region.sum() == 10 * 16 + 1
    assert sample.masks is None
    assert sample.ignore is None
    assert sample.hard == {}


def test_parts_of_a_person_are_no_objects(root: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    _add(root, "000003", _object("person", (3, 5, 12, 20)).replace("</object>", part + "</object>"))
    assert VOC(root)[2].boxes.tolist() == [[2, 4, 12, 20]]


def test_names_come_from_the_split_in_its_order(root: Path) -> None:
    _write_split(root, "Main/test.txt", "000002  1\n\n000001 -1\n")
    _write_split(root, "Main/dog_test.txt", "000001 -1\n")
    _write_split(root, "Segmentation/val.txt", "000001\n")
    assert VOC(root).names == ["000002", "000001"]
    assert VOC(root, split=None).names == ["000001", "000002"]
    assert VOC(root, split="Segmentation/val").names == ["000001"]
    with pytest.raises(UnknownNameError, match=r"split but got 'val'.*Valid: Segmentation/val, test\."):
        VOC(root, split="val")
    _write_split(root, "Main/test.txt", "000002\n000002\n")
    with pytest.raises(InputError, match="'000002' is there twice"):
        VOC(root)


def test_the_folder_above_is_accepted_and_years_are_told_apart(root: Path) -> None:
    assert VOC(root.parent).folder == root
    other = root.parent / "VOC2012"
    _add(other, "2012_1", _object("dog", (1, 1, 4, 3)))
    assert VOC(root.parent, year=2012).names == ["2012_1"]
    assert VOC(root.parent, year="2007").folder == root
    with pytest.raises(InputError, match="2007, 2012"):
        VOC(root.parent)
    with pytest.raises(UnknownNameError, match=r"'2010'.*Valid: 2007, 2012"):
        VOC(root.parent, year=2010)
    with pytest.raises(InputError, match=r"VOC 2012 .*VOC2007'"):
        VOC(root, year=2012)
    kit = root.parent / "all" / "VOCdevkit"
    kit.mkdir(parents=True)
    root.rename(kit / "VOC2007")
    assert VOC(kit.parent).folder == kit / "VOC2007"


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone', which does not exist"):
        VOC(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file', which is a file"):
        VOC(tmp_path / "file")
    with pytest.raises(InputError, match="JPEGImages and Annotations"):
        VOC(tmp_path)
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(InputError, match=r"one picture in '.*JPEGImages'"):
        VOC(tmp_path)


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("not xml <", r"Expected XML but '.*000001\.xml' can't be parsed"),
        ("<annotation></annotation>", r"at least one object with a box but '.*000001\.xml' has none"),
        (
            _object("dag", (1, 1, 2, 2)),
            r"one of VOC's 20 classes but got 'dag' in object 1 of '.*000001\.xml'",
        ),
        (
            _object("dog", (5, 1, 4, 2)),
            r"a box with an area but got 4, 0, 4, 2 \(x0, y0, x1, y1\) in object 1",
        ),
        (_object("dog", (5, 1, 60, 2)), r"inside the picture of 40 x 30 but got 4, 0, 60, 2"),
        (_object("dog", (50, 1, 60, 2)), r"inside the picture of 40 x 30"),
        (_object("dog", (-5, 1, 6, 2)), r"inside the picture of 40 x 30"),
        (_object("dog", ("nan", 1, 6, 2)), r"a box with an area but got nan"),
        (_object("dog", ("one", 1, 6, 2)), r"a number for xmin but got 'one' in object 1 of '.*000001\.xml'"),
        ("<object><name>dog</name></object>", r"Expected a bndbox but object 1 of '.*000001\.xml' has none"),
        (
            _object("dog", (1, 1, 2, 2)).replace("<ymax>2</ymax>", ""),
            r"a number for ymax but got None in object 1",
        ),
    ],
)
def test_broken_annotations_are_named(root: Path, xml: str, text: str) -> None:
    body = xml if "annotation" in xml or "not" in xml else f"<annotation>{xml}</annotation>"
    (root / "Annotations" / "000001.xml").write_text(body)
    data = VOC(root)
    with pytest.raises(InputError, match=text):
        data[0]
    assert data[1].labels == (VOC_CLASSES.index("dog"),)  # the others are unharmed


def test_a_pixel_over_the_edge_is_cut_off(root: Path) -> None:
    _add(root, "000003", _object("dog", (0, 0, 41, 31)), _object("dog", ("1.5", 1, 3, 3)))
    assert VOC(root)[2].boxes.tolist() == [[0, 0, 40, 30], [0.5, 0, 3, 3]]
    _add(root, "000003", _object("dog", (0, 0, "41.5", 31)))
    with pytest.raises(InputError, match="inside the picture"):
        VOC(root)[2]


def test_missing_and_broken_files_are_named(root: Path) -> None:
    data = VOC(root)
    (root / "Annotations" / "000001.xml").unlink()
    with pytest.raises(InputError, match=r"000001\.xml', which does not exist"):
        data[0]
    whole = (root / "JPEGImages" / "000002.jpg").read_bytes()
    (root / "JPEGImages" / "000002.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"000002\.jpg"):
        data[1]
    (root / "JPEGImages" / "000002.jpg").unlink()
    with pytest.raises(InputError, match=r"000002\.jpg', which does not exist"):
        data[1]


def _mask(path: Path, mode: str, size: tuple[int, int] = SIZE) -> np.ndarray:
    path.parent.mkdir(exist_ok=True)
    numbers = np.zeros(size[::-1], dtype=np.uint8)
    numbers[4:10, 2:8] = 15
    numbers[4:10, 8] = 255
    numbers[20:22, :] = 20
    image = Image.fromarray(numbers)
    if mode == "P":
        image.putpalette([i % 256 for i in range(768)])
        assert image.mode == "P"
    image.save(path)
    return numbers


@pytest.mark.parametrize(("folder", "mode"), [("SegmentationClass", "P"), ("SegmentationClassAug", "L")])
def test_class_masks(root: Path, folder: str, mode: str) -> None:
    numbers = _mask(root / folder / "000001.png", mode)
    data = VOC(root)
    sample = data[0]
    assert sample.masks is not None
    assert sample.ignore is not None
    assert sorted(sample.masks) == [14, 19]
    assert (sample.masks[14] == (numbers == 15)).all()
    assert (sample.masks[19] == (numbers == 20)).all()
    assert (sample.ignore == (numbers == 255)).all()
    assert data[1].masks is None  # no mask file for it


def test_which_mask_folder(root: Path) -> None:
    _mask(root / "SegmentationClassAug" / "000001.png", "L")
    _mask(root / "SegmentationClass" / "000002.png", "P")
    assert VOC(root)[0].masks is None
    assert VOC(root, masks="SegmentationClassAug")[0].masks is not None
    with pytest.raises(InputError, match="Mine' does not exist"):
        VOC(root, masks="Mine")


def test_broken_masks_are_named(root: Path) -> None:
    path = root / "SegmentationClass" / "000001.png"
    _mask(path, "P", (30, 40))
    data = VOC(root)
    with pytest.raises(InputError, match=r"40 x 30 .*000001\.png' is 30 x 40"):
        data[0]
    Image.fromarray(np.full((30, 40), 21, dtype=np.uint8)).save(path)
    with pytest.raises(InputError, match=r"000001\.png' holds 21"):
        data[0]
    Image.new("RGB", SIZE).save(path)
    with pytest.raises(InputError, match="mode RGB"):
        data[0]
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"000001\.png', which no picture format fits"):
        data[0]


def test_difficult_list(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "hard.txt"
    path.write_text("000001.jpg\t" + "\t".join("1" if c == "cat" else "0" for c in VOC_CLASSES) + "\n")
    data = VOC(root, difficult=path)
    person, cat, dog = (VOC_CLASSES.index(c) for c in ("person", "cat", "dog"))
    # Without a list the persons would be hard: small, and a cat is there.
    assert VOC(root)[0].is_hard(person)
    assert (data[0].is_hard(person), data[0].is_hard(cat)) == (False, True)
    assert not VOC(root)[1].is_hard(dog)
    assert data[1].is_hard(dog)  # not on the list


def test_fingerprint_changes_with_what_is_read(root: Path, tmp_path: Path) -> None:
    before = VOC(root).fingerprint()
    assert VOC(root).fingerprint() == before
    _add(root, "000001", _object("person", (3, 5, 12, 21)), _object("cat", (20, 2, 30, 9)))
    after = VOC(root).fingerprint()
    assert after != before
    _mask(root / "SegmentationClass" / "000001.png", "P")
    with_masks = VOC(root).fingerprint()
    assert with_masks != after
    Image.new("RGB", (80, 60), "grey").save(root / "JPEGImages" / "000001.jpg")
    assert VOC(root).fingerprint() != with_masks
    moved = root.rename(tmp_path / "elsewhere")
    assert VOC(moved).fingerprint() == VOC(moved).fingerprint() != before


def test_a_copy_in_another_process_reads_the_same(root: Path) -> None:
    data = VOC(root)
    copy = pickle.loads(pickle.dumps(data))
    assert copy.names == data.names
    assert copy.fingerprint() == data.fingerprint()
    assert copy[0].boxes.tolist() == data[0].boxes.tolist()


def test_real_pictures(assets: Path) -> None:
    data = VOC(assets / "voc", split=None)
    assert len(data) == 50
    boxes, hard_boxes, with_masks, inside, drawn = 0, 0, 0, 0, 0
    for sample in data:
        tree = ElementTree.parse(assets / "voc" / "Annotations" / f"{sample.name}.xml")
        corners = [
            [int(item.find("bndbox").findtext(k)) for k in ("xmin", "ymin", "xmax", "ymax")]  # type: ignore[union-attr, arg-type]
            for item in tree.findall("object")
        ]
        assert np.add(sample.boxes, [1, 1, 0, 0]).tolist() == corners
        boxes += len(sample.boxes)
        hard_boxes += int(sample.difficult.sum())
        if sample.masks is None:
            continue
        with_masks += 1
        for label, mask in sample.masks.items():
            region = sample.region(label)
            assert region is not None, (sample.name, label)
            drawn += int(mask.sum())
            inside += int((mask & region).sum())
    assert with_masks == len(list((assets / "voc" / "SegmentationClassAug").glob("*.png"))) == 44
    text = "".join(p.read_text() for p in (assets / "voc" / "Annotations").glob("*.xml"))
    assert boxes == text.count("<object>")
    assert hard_boxes == text.count("<difficult>1</difficult>") > 0
    # Boxes shifted by a few pixels, or masks under wrong classes, would leave more outside.
    assert inside / drawn > 0.99
