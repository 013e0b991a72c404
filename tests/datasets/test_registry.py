"""Data sets by name, and options that exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from relprop.datasets import DATASETS, SceneSamples, datasets, load_dataset
from relprop.errors import InputError, UnknownNameError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"


def test_every_data_set_has_a_name_and_a_line() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in DATASETS if f"`{name}`" not in text] == []
    assert list(datasets()) == list(DATASETS)
    assert all(line and "\n" not in line and len(line) < 80 for line in datasets().values())


def test_options_reach_the_data_set() -> None:
    data = load_dataset("scenes", n=4, seed=7, split="val")
    assert isinstance(data, SceneSamples)
    assert data.names[3] == "val-7-000003"
    assert load_dataset("scenes", n=4, seed=7, split="val").fingerprint() == data.fingerprint()


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"'vok'\. Did you mean 'voc'\? Valid: class-folders, coco, file",
    ):
        load_dataset("vok")
    with pytest.raises(UnknownNameError, match=r"scenes but got 'number'.*Valid: n, seed, size, split"):
        load_dataset("scenes", number=3)


@pytest.mark.parametrize(
    ("name", "option"), [("voc", "folder"), ("coco", "folder"), ("imagenet-segmentation", "file")]
)
def test_missing_options_are_named(name: str, option: str) -> None:
    with pytest.raises(InputError, match=f"'{option}' of {name}"):
        load_dataset(name)


def test_what_a_data_set_refuses_comes_through(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder of VOC but got"):
        load_dataset("voc", folder=tmp_path / "gone")


def test_listing_loads_neither_torch_nor_optional_libraries() -> None:
    code = "import relprop.datasets as d; d.datasets(); import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pycocotools", "h5py", "scipy"} & set(done.stdout.split())
