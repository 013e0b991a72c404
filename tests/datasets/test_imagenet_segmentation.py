"""The MATLAB file of ImageNet segmentation: columns come first, references lead to pictures and masks."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relprop.datasets import ImageNetSegmentation
from relprop.errors import InputError


def _scene(number: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, (rng.random((height, width)) < 0.4).astype(np.uint8)


SCENES = [_scene(0, 5, 7), _scene(1, 6, 4)]


def _write(path: Path, *, names: bool = True, masks: list[np.ndarray] | None = None) -> Path:
    """A file of the published layout: cells of MATLAB are arrays of references, arrays are transposed."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as mat:
        refs, value = mat.create_group("#refs#"), mat.create_group("value")

        def ref(array: np.ndarray) -> Any:
            return refs.create_dataset(str(len(refs)), data=array).ref

        def cell(items: list[Any]) -> np.ndarray:
            out = np.empty((len(items), 1), dtype=h5py.ref_dtype)
            out[:, 0] = items
            return out

        def text(words: str) -> Any:
            return ref(np.frombuffer(words.encode("utf-16-le"), dtype="<u2")[:, None])

        value["img"] = cell([ref(image.transpose(2, 1, 0)) for image, _ in SCENES])
        used = [mask for _, mask in SCENES] if masks is None else masks
        value["gt"] = cell([ref(cell([ref(mask.T), ref(1 - mask.T)])) for mask in used])
        if names:
            value["id"] = cell([text("n01440764_18"), text("n02119789_5")])
            value["target"] = cell([text("n01440764"), text("n02119789")])
    return path


def test_pictures_and_masks_are_turned_upright(tmp_path: Path) -> None:
    data = ImageNetSegmentation(_write(tmp_path / "gtsegs_ijcv.mat"))
    assert data.classes == ("foreground",)
    assert data.names == ["n01440764_18", "n02119789_5"]
    for sample, (image, mask) in zip(data, SCENES, strict=True):
        assert (np.asarray(sample.image) == image).all()
        assert sample.masks is not None
        assert (sample.masks[0] == (mask == 1)).all()  # the first of the masks
        assert sample.labels == (0,)
        assert sample.boxes.shape == (0, 4)
        assert sample.region(0, "boxes") is None
    assert [data.wnid(i) for i in (0, 1, -1)] == ["n01440764", "n02119789", "n02119789"]


def test_without_names_they_are_numbers(tmp_path: Path) -> None:
    data = ImageNetSegmentation(_write(tmp_path / "a.mat", names=False))
    assert data.names == ["0000", "0001"]
    with pytest.raises(InputError, match=r"a\.mat' .*none for '0001'"):
        data.wnid(1)


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    data = ImageNetSegmentation(_write(tmp_path / "a.mat", masks=[SCENES[0][1], SCENES[0][1]]))
    assert data[0].size == (5, 7)
    with pytest.raises(InputError, match=r"4 x 6 .*'n02119789_5'"):
        data[1]


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = _write(tmp_path / "a.mat")
    data = ImageNetSegmentation(path)
    with h5py.File(path, "a") as mat:
        mat["value/img"][1, 0] = h5py.Reference()
        mat["value/img"][0, 0] = mat[mat["value/gt"][0, 0]][0, 0]
    with pytest.raises(InputError, match=r"'n02119789_5' .*can't be read"):
        data[1]
    with pytest.raises(InputError, match=r"\(3, W, H\) .*'n01440764_18'"):
        data[0]


def test_other_files_are_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with pytest.raises(InputError, match=r"none\.mat', which does not exist"):
        ImageNetSegmentation(tmp_path / "none.mat")
    (tmp_path / "old.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(600))
    with pytest.raises(InputError, match=r"HDF5.*old\.mat' is another file"):
        ImageNetSegmentation(tmp_path / "old.mat")
    with h5py.File(tmp_path / "other.mat", "w") as mat:
        mat["x"] = 1
    with pytest.raises(InputError, match=r"other\.mat' holds something else"):
        ImageNetSegmentation(tmp_path / "other.mat")


def test_copies_and_fingerprint(tmp_path: Path) -> None:
    data = ImageNetSegmentation(_write(tmp_path / "a.mat"))
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint() == data.fingerprint()
    assert (np.asarray(again[1].image) == SCENES[1][0]).all()
    other = ImageNetSegmentation(_write(tmp_path / "b.mat", names=False))
    assert other.fingerprint() != data.fingerprint()


def test_h5py_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"h5py.*'relprop\[imagenet-segmentation\]'"):
        ImageNetSegmentation(tmp_path / "gtsegs_ijcv.mat")
