"""Explanations of many pictures on the disk: whole or not at all, skipped when they are there, never mixed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.close import assert_close_to_rounding
from tests.nets import pictures, resnet
from torch import Tensor

import relprop
from relprop.errors import InputError, OutputError, RelpropWarning
from relprop.explanation import Explanation
from relprop.many.batches import Batches


def as_input(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).double() / 255


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    (folder / "more").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "c.png", "more/a.png")):
        Image.fromarray(rng.integers(0, 256, (18 + i % 2, 24, 3), dtype=np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that were computed."""
    whole, names = Batches._together, []

    def told(self: Batches, ready: Any) -> Any:
        names.extend(one.given.name for one in ready)
        return whole(self, ready)

    monkeypatch.setattr(Batches, "_together", told)
    return names


def run(photos: Any, out: Path, **settings: Any) -> Any:
    given = {"method": "lrp-epsilon", "preprocess": as_input, "batch": 2, **settings}
    return relprop.explain_many(resnet(), photos, out=out, **given)


def files(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def test_a_folder_holds_what_explain_gives(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    saved = run(photos, out)
    assert (saved.computed, saved.kept, saved.failures) == (4, 0, ())
    assert sorted(p.name for p in out.iterdir()) == [
        "a", "a-2", "b", "c", "pictures.jsonl", "settings.json", "summary.csv"
    ]  # fmt: skip
    assert sorted(p.name for p in (out / "b" / "lrp-epsilon").iterdir()) == [
        "explanation.png", "manifest.json", "relevance.safetensors"
    ]  # fmt: skip
    model = resnet()
    for name, file in (("a", "a.png"), ("b", "b.png"), ("a-2", "more/a.png")):
        found = Explanation.load(out / name / "lrp-epsilon")
        alone = relprop.explain(model, as_input(Image.open(photos / file))[None], method="lrp-epsilon")
        assert_close_to_rounding(found.relevance, alone.relevance, model)
        assert found.name == Path(file).name
    rows = list(csv.DictReader((out / "summary.csv").read_text().splitlines()))
    assert [(row["picture"], row["folder"]) for row in rows] == [
        (str(photos / "a.png"), "a/lrp-epsilon"),
        (str(photos / "b.png"), "b/lrp-epsilon"),
        (str(photos / "c.png"), "c/lrp-epsilon"),
        (str(photos / "more/a.png"), "a-2/lrp-epsilon"),
    ]
    for row in rows:
        e = Explanation.load(out / row["folder"])
        assert e.ledger is not None
        assert int(row["target"]) == int(e.targets)
        assert float(row["output"]) == float(e.outputs[0, e.targets])
        assert row["adds_up"] == "yes"
        whole = sum(float(row[name]) for name in ("arrived", "bias", "stabiliser", "lost"))
        assert whole == pytest.approx(float(row["start"]))
        assert float(row["arrived"]) == pytest.approx(float(e.relevance.sum()))


def test_what_is_there_is_skipped(photos: Path, tmp_path: Path, computed: list[str]) -> None:
    out = tmp_path / "out"
    first = run(photos, out)
    before = files(out)
    computed.clear()
    again = run(photos, out)
    assert computed == []
    assert (again.computed, again.kept) == (0, 4)
    assert files(out) == before
    assert [dict(row) for row in again.rows] == [dict(row) for row in first.rows]


def test_a_changed_picture_a_new_one_and_a_lost_folder_are_computed(
    photos: Path, tmp_path: Path, computed: list[str]
) -> None:
    out = tmp_path / "out"
    run(photos, out)
    Image.new("RGB", (24, 18), "red").save(photos / "b.png")
    Image.new("RGB", (24, 18), "blue").save(photos / "d.png")
    (out / "c" / "lrp-epsilon" / "manifest.json").unlink()
    for file in (out / "c" / "lrp-epsilon").iterdir():
        file.unlink()
    computed.clear()
    saved = run(photos, out)
    assert sorted(computed) == ["b.png", "c.png", "d.png"]
    assert (saved.computed, saved.kept) == (3, 2)
    x = as_input(Image.open(photos / "b.png"))[None]
    assert torch.equal(Explanation.load(out / "b" / "lrp-epsilon").input, x)


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Stop])
def test_an_interrupt_leaves_whole_pictures_and_the_next_run_goes_on(
    stop: type[BaseException],
    photos: Path,
    tmp_path: Path,
    computed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, whole = tmp_path / "out", Explanation.save

    def interrupted(self: Explanation, path: Any, **settings: Any) -> Path:
        if self.name == "c.png":
            with pytest.MonkeyPatch.context() as inside:
                # In the middle of the folder's files.
                inside.setattr("relprop.explanation.folder.platform.python_version", lambda: raising(stop))
                return whole(self, path, **settings)
        return whole(self, path, **settings)

    monkeypatch.setattr(Explanation, "save", interrupted)
    with pytest.raises(stop):
        run(photos, out)
    monkeypatch.setattr(Explanation, "save", whole)
    assert [p.name for p in out.rglob("*") if ".part" in p.name or ".old" in p.name] == []
    there = sorted(p.parent.parent.name for p in out.rglob("manifest.json"))
    assert there == ["a", "b"]
    for name in there:
        Explanation.load(out / name / "lrp-epsilon")
    rows = list(csv.DictReader((out / "summary.csv").read_text().splitlines()))
    assert [row["folder"] for row in rows] == ["a/lrp-epsilon", "b/lrp-epsilon"]
    computed.clear()
    saved = run(photos, out)
    assert sorted(computed) == ["a.png", "c.png"]
    assert (saved.computed, saved.kept) == (2, 2)
    undisturbed = run(photos, tmp_path / "other")
    for row, other in zip(saved.rows, undisturbed.rows, strict=True):
        assert {k: row[k] for k in ("picture", "target", "adds_up", "folder")} == {
            k: other[k] for k in ("picture", "target", "adds_up", "folder")
        }


def raising(stop: type[BaseException]) -> str:
    raise stop


def test_a_line_that_was_cut_off_is_computed_again(photos: Path, tmp_path: Path, computed: list[str]) -> None:
    out = tmp_path / "out"
    run(photos, out)
    text = (out / "pictures.jsonl").read_text()
    (out / "pictures.jsonl").write_text(text[:-20])
    computed.clear()
    assert run(photos, out).kept == 3
    assert computed == ["a.png"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"method": "lrp-0"}, "method"),
        ({"method": relprop.LRPEpsilon(epsilon=0.5)}, "method"),
        ({"target": 1}, "target"),
        ({"layers": ["conv1"]}, "layers"),
        ({"versus": 2, "target": 1}, "target"),
        ({"preprocess": lambda image: as_input(image) * 2}, "preprocess"),
    ],
)
def test_other_settings_are_refused(change: dict[str, Any], name: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out)
    before = files(out)
    with pytest.raises(InputError, match=f"Expected results of the same {name} in"):
        run(photos, out, **change)
    assert files(out) == before


def test_another_model_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos, out)
    other = resnet()
    with torch.no_grad():
        other.head.weight[0, 0] += 1
    with pytest.raises(InputError, match="Expected results of the same model in"):
        relprop.explain_many(other, photos, method="lrp-epsilon", preprocess=as_input, out=out)


def test_settings_that_hold_something_else_are_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "settings.json").write_text("[1")
    with pytest.raises(InputError, match="Expected settings of an earlier run"):
        run(photos, tmp_path / "out")


def test_somebodys_own_folder_is_left_alone(photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "out" / "b" / "lrp-epsilon"
    own.mkdir(parents=True)
    (own / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        run(photos, tmp_path / "out")
    assert [p.name for p in own.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "out" / "a" / "lrp-epsilon" / "manifest.json").is_file()


def test_a_broken_picture_is_in_the_summary(photos: Path, tmp_path: Path) -> None:
    (photos / "b.png").write_bytes(b"no picture")
    with pytest.warns(RelpropWarning, match="1 of 4 pictures could not be explained"):
        saved = run(photos, tmp_path / "out")
    assert [f.index for f in saved.failures] == [1]
    rows = list(csv.DictReader((tmp_path / "out" / "summary.csv").read_text().splitlines()))
    assert [bool(row["problem"]) for row in rows] == [False, True, False, False]
    assert "no picture format fits" in rows[1]["problem"]
    Image.new("RGB", (24, 18), "red").save(photos / "b.png")
    again = run(photos, tmp_path / "out")
    assert (again.computed, again.kept) == (1, 3)


def test_tensors_with_targets_have_rows_of_their_own(tmp_path: Path, computed: list[str]) -> None:
    x = pictures(4, 3, 16, 16)
    asked: list[Any] = [0, [1, 2], None, 3]
    saved = run(list(zip(x, asked, strict=True)), tmp_path / "out")
    assert [row["target"] for row in saved.rows if row["index"] != 2] == [0, 1, 2, 3]
    assert [row["folder"] for row in saved.rows][:2] == ["picture 0/lrp-epsilon", "picture 1/lrp-epsilon"]
    computed.clear()
    asked[3] = 4
    assert run(list(zip(x, asked, strict=True)), tmp_path / "out").kept == 3
    assert computed == ["picture 3"]


def test_settings_are_readable(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "out", target=[0, 1])
    held = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert held["target"] == [0, 1]
    assert held["method"]["lrp-epsilon"]["epsilon"] == 0.001
