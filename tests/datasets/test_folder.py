"""A folder with a CSV: rows become samples, and errors name file and line."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.refusals import assert_refused

from relprop.datasets import Folder
from relprop.errors import InputError

SIZE = (12, 8)

ROWS = """file,label,x0,y0,x1,y1,mask
b.png,wolf,0,0,4,4,masks/b1.png
b.png,ant,2.5,1,12,8,
sub/a.jpg,wolf,,,,,
b.png,wolf,5,5,7,8,masks/b2.png
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "labels.csv").write_text(ROWS)
    (tmp_path / "sub").mkdir()
    (tmp_path / "masks").mkdir()
    Image.new("RGB", SIZE).save(tmp_path / "b.png")
    Image.new("RGB", SIZE).save(tmp_path / "sub" / "a.jpg")
    for name, window in (("b1", np.s_[0:4, 0:4]), ("b2", np.s_[5:8, 5:7])):
        mask = np.zeros(SIZE[::-1], dtype=np.uint8)
        mask[window] = 1 if name == "b1" else 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def test_rows_become_samples(root: Path) -> None:
    data = Folder(root)
    assert data.classes == ("ant", "wolf")
    assert data.names == ["b.png", "sub/a.jpg"]
    sample = data[0]
    assert sample.boxes.tolist() == [[0, 0, 4, 4], [2.5, 1, 12, 8], [5, 5, 7, 8]]
    assert sample.box_labels.tolist() == [1, 0, 1]
    assert sample.labels == (0, 1)
    assert not sample.difficult.any()
    assert sample.masks is not None
    assert list(sample.masks) == [1]
    expected = np.zeros(SIZE[::-1], dtype=bool)
    expected[0:4, 0:4] = expected[5:8, 5:7] = True
    assert (sample.masks[1] == expected).all()
    other = data[1]
    assert (other.labels, other.boxes.shape, other.masks) == ((1,), (0, 4), None)


def test_other_names_and_short_headers(root: Path) -> None:
    (root / "sub" / "mine.csv").write_text("\ufefflabel, file\nant, b.png\n", encoding="utf-8")
    data = Folder(root, csv="sub/mine.csv")
    assert data[0].labels == (0,)
    assert Folder(root, csv=root / "sub" / "mine.csv").names == ["b.png"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", r"the column file in line 1 of '.*labels\.csv' but it has none"),
        ("file,label\n", r"at least one picture in '.*labels\.csv' but it is empty"),
        ("file,class\na,b\n", r"the column label in line 1 of '.*labels\.csv' but it has file, class"),
        ("file,label,x0,y0,x1\n", "the column y1 in line 1"),
        ("file,label,note\n", "each once, in line 1 of '.*' but got 'note'"),
        ("file,label,file\n", "each once, in line 1 of '.*' but got 'file'"),
        ("file,label\nb.png\n", r"Expected 2 cells but line 2 of '.*labels\.csv' has more or fewer"),
        ("file,label\nb.png,ant\nb.png,ant,3\n", "Expected 2 cells but line 3 of"),
        ("file,label\nb.png,ant\n ,ant\n", "Expected a file but line 3 of '.*' has none"),
        ("file,label\nb.png,\n", "Expected a label but line 2 of '.*' has none"),
        (
            "file,label,x0,y0,x1,y1\nb.png,ant,1,2,3,\n",
            "or nothing, but line 2 of '.*' has '1', '2', '3', ''",
        ),
        (
            "file,label,x0,y0,x1,y1\nb.png,ant,1,2,3,z\n",
            "four numbers for x0, y0, x1, y1, or nothing, but line 2",
        ),
    ],
)
def test_unusable_lines_are_named(root: Path, text: str, error: str) -> None:
    (root / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=error):
        Folder(root)


def test_unusable_files_are_refused(root: Path) -> None:
    (root / "labels.csv").write_bytes(b"file,label\n\xff\xfe,ant\n")
    with pytest.raises(InputError, match=r"UTF-8 but .*labels\.csv' has another encoding"):
        Folder(root)
    (root / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"labels\.csv', which does not exist"):
        Folder(root)
    with pytest.raises(InputError, match="gone', which does not exist"):
        Folder(root / "gone")


def test_what_is_wrong_with_one_picture(root: Path) -> None:
    rows = "b.png,ant,0,0,0,1,\nsub/a.jpg,ant,0,0,90,1,\nc.png,ant,,,,,\n"
    (root / "labels.csv").write_text(ROWS.splitlines()[0] + "\n" + rows)
    data = Folder(root)
    assert_refused(
        InputError,
        (lambda: data[0], r"area but got 0, 0, 0, 1 .*line 2"),
        (lambda: data[1], r"12 x 8 but got 0, 0, 90, 1 .*line 3"),
        (lambda: data[2], r"c\.png', which does not exist"),
    )


def test_what_is_wrong_with_one_mask(root: Path) -> None:
    data = Folder(root)
    Image.new("1", (8, 12)).save(root / "masks" / "b2.png")
    with pytest.raises(InputError, match=r"12 x 8 .*b2\.png' is 8 x 12"):
        data[0]
    Image.new("1", SIZE, 1).save(root / "masks" / "b2.png")
    masks = data[0].masks
    assert masks is not None
    assert masks[1].all()  # two levels are fine
    (root / "masks" / "b2.png").unlink()
    with pytest.raises(InputError, match=r"b2\.png', which does not exist"):
        data[0]


def test_fingerprint_and_copies(root: Path) -> None:
    data = Folder(root)
    before = data.fingerprint()
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint() == before
    assert copy[0].boxes.tolist() == data[0].boxes.tolist()
    Image.new("L", (30, 30)).save(root / "masks" / "b2.png")
    after = data.fingerprint()
    assert after != before
    (root / "labels.csv").write_text(ROWS.replace("0,0,4,4", "0,0,4,5"))
    assert Folder(root).fingerprint() not in (before, after)
