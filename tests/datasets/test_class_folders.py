"""Pictures in a folder a class."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from PIL import Image

from relprop.datasets import ClassFolders, load_dataset
from relprop.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("owl/b.PNG", "owl/a.jpg", "ant/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 8)).save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "ant" / "notes.txt").write_text("no picture")
    (tmp_path / "list.txt").write_text("no class")
    return tmp_path


def test_folders_are_classes(root: Path) -> None:
    data = load_dataset("class-folders", folder=root)
    assert isinstance(data, ClassFolders)
    assert data.classes == ("ant", "owl")
    assert data.names == ["ant/c.png", "owl/a.jpg", "owl/b.PNG"]
    assert [data[k].labels for k in range(len(data))] == [(0,), (1,), (1,)]
    assert (data[0].size, len(data[0].boxes), data[0].masks) == ((8, 12), 0, None)
    assert pickle.loads(pickle.dumps(data)).names == data.names


def test_fingerprint_changes_with_the_pictures(root: Path) -> None:
    before = ClassFolders(root).fingerprint()
    assert ClassFolders(root).fingerprint() == before
    Image.new("RGB", (13, 8), "red").save(root / "ant" / "c.png")
    assert ClassFolders(root).fingerprint() != before


def test_refusals(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"folders of pictures, one a class, in .* but there are none"):
        ClassFolders(root / "owl")
    with pytest.raises(InputError, match="does not exist"):
        ClassFolders(tmp_path / "gone")
    (root / "ant" / "c.png").write_bytes(b"damaged")
    with pytest.raises(InputError):
        ClassFolders(root)[0]
