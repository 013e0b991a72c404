"""The map from VOC's and COCO's classes to ImageNet's, and the check of a model's class names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.refusals import assert_refused

from relprop.compat import load_torchvision
from relprop.datasets import COCO, VOC_CLASSES, Synset, outputs_of, synset_map
from relprop.errors import InputError, UnknownNameError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def categories() -> list[str]:
    """ImageNet's names in the usual order, as torchvision has them."""
    load_torchvision()
    from torchvision.models import SqueezeNet1_1_Weights

    return list(SqueezeNet1_1_Weights.DEFAULT.meta["categories"])


def _indices(source: str, name: str) -> list[int]:
    return [s.index for s in synset_map(source)[name]]


def test_the_classes_are_the_data_sets() -> None:
    assert tuple(synset_map("voc")) == VOC_CLASSES
    assert len(synset_map("coco")) == 80


def test_coco_names_are_cocos(assets: Path) -> None:
    pytest.importorskip("pycocotools")
    assert tuple(synset_map("coco")) == tuple(COCO(assets / "coco").classes)


@pytest.mark.parametrize("source", ["voc", "coco"])
def test_no_synset_shows_two_classes(source: str) -> None:
    every = [s for synsets in synset_map(source).values() for s in synsets]
    assert len({s.index for s in every}) == len({s.wnid for s in every}) == len(every)
    assert all(0 <= s.index < 1000 and len(s.wnid) == 9 and s.name for s in every)


def test_runs_and_what_lies_beside_them() -> None:
    assert _indices("voc", "dog") == list(range(151, 269))  # wolves, dingo and dhole follow
    assert _indices("voc", "cat") == list(range(281, 286))  # cougar and lynx follow
    assert _indices("voc", "bird") == [*range(7, 25), *range(80, 101), *range(127, 147)]
    assert _indices("coco", "bear") == [294, 295, 296, 297]
    assert _indices("voc", "cow") == [345]


def test_the_right_crane() -> None:
    # Two classes are called "crane": the bird is inside birds' run, the machine nowhere.
    names = {s.index: s.wnid for s in synset_map("voc")["bird"]}
    assert names[134] == "n02012849"
    assert all(517 not in _indices(s, c) for s in ("voc", "coco") for c in synset_map(s))


def test_where_the_two_sources_differ() -> None:
    assert set(_indices("voc", "bicycle")) - set(_indices("coco", "bicycle")) == {870, 880}
    assert set(_indices("coco", "train")) - set(_indices("voc", "train")) == {829}
    assert _indices("voc", "tvmonitor") == _indices("coco", "tv")


def test_every_voc_class_has_a_synset_and_some_of_coco_have_none() -> None:
    assert all(synset_map("voc").values())
    none = {name for name, synsets in synset_map("coco").items() if not synsets}
    assert none == {
        "fire hydrant", "stop sign", "giraffe", "suitcase", "frisbee", "snowboard", "kite", "baseball bat",
        "baseball glove", "skateboard", "surfboard", "fork", "carrot", "donut", "cake", "scissors",
        "toothbrush",
    }  # fmt: skip


def test_names_agree_with_torchvision(categories: list[str]) -> None:
    for source in ("voc", "coco"):
        for synset in (s for synsets in synset_map(source).values() for s in synsets):
            assert categories[synset.index].startswith(synset.name)
    assert outputs_of(["sheep", "horse"], "voc", categories) == [(348, 349), (339,)]


def test_other_spellings_are_accepted(categories: list[str]) -> None:
    assert outputs_of(["cat"], "voc", [c.upper().replace(" ", "_") for c in categories])
    wnids = ["n00000000"] * 1000
    for synset in (s for synsets in synset_map("coco").values() for s in synsets):
        wnids[synset.index] = synset.wnid
    assert outputs_of(["giraffe", "zebra"], "coco", wnids) == [(), (340,)]


def test_other_models_are_refused(categories: list[str]) -> None:
    assert_refused(
        InputError,
        (lambda: outputs_of(["cat"], "voc", VOC_CLASSES), "1000 classes but it has 20"),
        (lambda: outputs_of(["cat"], "voc", sorted(categories)), r"output \d+ is '.*' instead of '.*'"),
        (lambda: outputs_of(["giraffe"], "coco", categories[1:] + categories[:1]), "usual order"),
    )


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"'vok'.*Valid: coco, voc"):
        synset_map("vok")
    with pytest.raises(UnknownNameError, match=r"voc but got 'sofas'\. Did you mean 'sofa'"):
        outputs_of(["sofas"], "voc")


def test_the_map_cannot_be_spoilt() -> None:
    synset_map("voc").pop("cat")
    assert synset_map("voc")["cat"][0] == Synset(281, "n02123045", "tabby")


def test_the_script_rebuilds_the_map(assets: Path, tmp_path: Path) -> None:
    words = assets / "weights" / "squeezenet1_1" / "synset_words.txt"
    command = [sys.executable, str(ROOT / "scripts" / "make_synset_map.py")]
    done = subprocess.run([*command, str(words), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The check can fail: two lines changed places.
    lines = words.read_text().splitlines()
    lines[281], lines[282] = lines[282], lines[281]
    (tmp_path / "other.txt").write_text("\n".join(lines))
    done = subprocess.run([*command, str(tmp_path / "other.txt"), "--check"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "imagenet.json differs from what the rules give" in done.stderr


def test_the_file_lists_a_synset_a_line() -> None:
    text = (ROOT / "src" / "relprop" / "datasets" / "classes" / "imagenet.json").read_text()
    count = sum(len(entries) for classes in json.loads(text).values() for entries in classes.values())
    assert text.count('"n0') + text.count('"n1') == count
