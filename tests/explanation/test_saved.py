from __future__ import annotations

import hashlib
import json
import math
import pickle
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.viz.make import explanation, ledger, plan

from relprop.errors import InputError
from relprop.explanation import Explanation

FILES = ["explanation.png", "manifest.json", "relevance.safetensors"]


def _full() -> Explanation:
    return explanation(
        (2, 3, 16, 20),
        asked=[1, 2],
        plan=plan(),
        ledger=ledger(),
        layers={"features.4": torch.randn(2, 2, 8, 4, 4)},
        settings={"epsilon": 1e-6, "bounds": (torch.tensor([-1.0]), torch.tensor([1.0])), "first": None},
        extras={"gap": 0.25, "steps": torch.arange(3), "worst": float("nan")},
        signed=False,
    )


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_saves_picture_numbers_and_manifest(tmp_path: Path) -> None:
    e = _full()
    labels = [f"kind {i}" for i in range(10)]
    folder = e.save(tmp_path / "deep" / "out", labels=labels, scale="shared")
    assert _names(folder) == FILES
    assert _names(folder.parent) == ["out"]
    with Image.open(folder / "explanation.png") as picture:
        picture.load()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["method"] == "lrp-epsilon"
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["versions"]["python"] == platform.python_version()
    assert manifest["settings"] == e.settings == Explanation.load(folder).settings
    assert manifest["settings"] == {"epsilon": 1e-6, "bounds": [[-1.0], [1.0]], "first": None}
    assert manifest["targets"][3] == {
        "target": 1,
        "sample": 1,
        "index": 2,
        "name": "kind 2",
        "output": float(e.outputs[1, 2]),
    }
    best = int(e.outputs[0].argmax())
    assert manifest["top_outputs"][0][0] == {
        "index": best,
        "name": f"kind {best}",
        "output": float(e.outputs[0, best]),
    }
    assert manifest["plan"]["rows"][1] == {
        "node": "conv2d",
        "module": "features.0",
        "operator": "conv2d",
        "rule": "z-plus",
        "reads": ["input"],
        "main": "conv2d",
    }
    assert (manifest["plan"]["start"], manifest["plan"]["stop"]) == ("linear", "input")
    assert manifest["ledger"]["closes"] is True
    assert manifest["ledger"]["books"]["rows"][0]["arrived"] == 10.0
    assert manifest["extras"] == {"gap": 0.25, "worst": "nan"}
    assert manifest["picture"]["scale"] == "shared"
    assert len({row["limit"] for row in manifest["picture"]["limits"]}) == 1
    heat = e.heatmap()
    assert manifest["picture"]["limits"][1]["max"] == pytest.approx(float(heat[1, 0].abs().max()), rel=1e-6)
    for name, facts in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]


def test_numbers_are_readable_without_relprop(tmp_path: Path) -> None:
    e = _full()
    numbers = load_file(e.save(tmp_path / "out") / "relevance.safetensors")
    assert torch.equal(numbers["relevance"], e.relevance)
    assert torch.equal(numbers["heatmap"], e.heatmap())
    assert torch.equal(numbers["layers.features.4"], e.layers["features.4"])


def test_round_trip(tmp_path: Path) -> None:
    e = _full()
    back = Explanation.load(e.save(tmp_path / "out"))
    for name in ("relevance", "input", "outputs", "targets"):
        assert torch.equal(getattr(back, name), getattr(e, name))
        assert getattr(back, name).dtype == getattr(e, name).dtype
    assert torch.equal(back.layers["features.4"], e.layers["features.4"])
    assert torch.equal(back.extras["steps"], e.extras["steps"])
    assert back.extras["gap"] == 0.25
    assert (back.method, back.at, back.signed) == (e.method, e.at, e.signed)
    assert repr(back) == repr(e)
    assert back.plan == e.plan
    assert back.ledger is not None
    assert back.ledger.totals == ledger().totals
    assert str(back.ledger) == str(ledger())
    assert back.ledger.summary() == ledger().summary()
    again = Explanation.load(back.save(tmp_path / "again"))
    assert torch.equal(again.relevance, e.relevance)


@pytest.mark.parametrize(
    "outputs",
    [
        {"logits": torch.ones(1, 2), "aux": torch.zeros(1, 3)},
        (torch.ones(1, 2), torch.zeros(1, 3)),
        torch.ones(1, 4, 2, 2, dtype=torch.bfloat16),
    ],
    ids=["mapping", "tuple", "maps"],
)
def test_outputs_of_any_form_come_back(tmp_path: Path, outputs: Any) -> None:
    back = Explanation.load(explanation(outputs=outputs).save(tmp_path / "out")).outputs
    torch.testing.assert_close(back, outputs, rtol=0, atol=0)


OLD = Path(__file__).parent / "data" / "version_1"
SUMMARY = {
    "start": -0.8450841307640076, "input": -0.4366017282009125, "bias": -0.40762, "stabiliser": -0.000862,
    "lost": 0.0, "growth": 1.0, "max_error": 5.2e-8, "closes": True,
}  # fmt: skip


def test_folders_of_version_1(tmp_path: Path) -> None:
    """They held a plan's rows without what is read, and a ledger's summary alone."""
    e = Explanation.load(OLD)
    assert e.plan is not None
    assert [row.operator for row in e.plan.rows] == ["linear", "flatten", "relu", "conv1d"]
    assert {row.reads for row in e.plan.rows} == {()}
    assert e.ledger is not None
    assert (e.ledger.closes, e.ledger.rows) == (True, ())
    assert e.ledger.summary() == pytest.approx(SUMMARY, rel=1e-2)
    assert repr(e) == ("Explanation(lrp, targets 1, 2, relevance 2×1×2×9, ledger closes (max error 5.2e-08))")
    for again in (pickle.loads(pickle.dumps(e)), Explanation.load(e.save(tmp_path / "again"))):
        assert torch.equal(again.relevance, e.relevance)
        assert again.ledger.summary() == e.ledger.summary()
        assert again.plan == e.plan
    folder = tmp_path / "old"
    shutil.copytree(OLD, folder)
    assert Explanation.load(e.save(folder, overwrite=True)).ledger is not None
    assert json.loads((folder / "manifest.json").read_text())["format_version"] == 2


def test_a_recorded_verdict_stays(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(OLD, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["ledger"] |= {"closes": False, "max_error": "inf"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = Explanation.load(folder).ledger
    assert found is not None
    assert (found.closes, found.max_error) == (False, math.inf)
    assert "DOES NOT CLOSE" in str(found)


def test_outputs_that_are_no_tensors_are_left_out(tmp_path: Path) -> None:
    assert Explanation.load(explanation(outputs=object()).save(tmp_path / "out")).outputs is None


@pytest.mark.parametrize(
    "e",
    [explanation((1, 3, 9)), explanation(relevance=torch.randn(1, 64), at="head")],
    ids=["signal", "flat relevance"],
)
def test_what_cannot_be_drawn_is_saved_without_a_picture(tmp_path: Path, e: Explanation) -> None:
    folder = e.save(tmp_path / "out")
    assert _names(folder) == FILES[1:]
    assert json.loads((folder / "manifest.json").read_text())["picture"] is None
    assert torch.equal(Explanation.load(folder).relevance, e.relevance)


def test_shared_and_sliced_memory_can_be_saved(tmp_path: Path) -> None:
    x = torch.rand(4, 3, 8, 8)
    e = explanation((2, 3, 8, 8), relevance=x[::2].transpose(2, 3), input=x[::2], outputs=x[:2, 0, 0])
    assert torch.equal(Explanation.load(e.save(tmp_path / "out")).relevance, e.relevance)


def test_existing_folders_are_kept_unless_asked(tmp_path: Path) -> None:
    old, new = explanation(seed=0), explanation(seed=1)
    folder = old.save(tmp_path / "out")
    with pytest.raises(InputError, match="overwrite=True"):
        new.save(folder)
    assert torch.equal(Explanation.load(folder).relevance, old.relevance)
    new.save(folder, overwrite=True)
    assert torch.equal(Explanation.load(folder).relevance, new.relevance)
    assert _names(tmp_path) == ["out"]


def test_overwrite_never_removes_what_others_wrote(tmp_path: Path) -> None:
    folder = explanation().save(tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"also holds 'notes\.txt'"):
        explanation().save(folder, overwrite=True)
    with pytest.raises(InputError, match="holds other things"):
        explanation().save(tmp_path, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    "step", ["relprop.viz.file.png_bytes", "relprop.explanation.saved.plan_document", "relprop.storage._swap"]
)
def test_failures_leave_nothing_or_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, step: str
) -> None:
    old = explanation(seed=0)
    folder = old.save(tmp_path / "old")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(step, fail)
    # What the disk says while the folder is written is told with its path.
    writing = isinstance(error, OSError) and step != "relprop.explanation.saved.plan_document"
    kind, text = (InputError, "is none: disk full") if writing else (type(error), None)
    with pytest.raises(kind, match=text):
        explanation(seed=1).save(tmp_path / "deep" / "new")
    with pytest.raises(kind, match=text):
        explanation(seed=1).save(folder, overwrite=True)
    assert _names(tmp_path) == ["old"]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_nan_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finite"):
        explanation(relevance=torch.full((1, 3, 32, 40), float("nan"))).save(tmp_path / "out")
    assert _names(tmp_path) == []


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        Explanation.load(tmp_path)
    folder = explanation().save(tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text())
    numbers = (folder / "relevance.safetensors").read_bytes()

    (folder / "relevance.safetensors").write_bytes(numbers[:-4])
    with pytest.raises(InputError, match="checksum"):
        Explanation.load(folder)
    (folder / "relevance.safetensors").unlink()
    with pytest.raises(InputError, match="does not exist"):
        Explanation.load(folder)
    for changes, match in [
        ({"format_version": 99}, "format version 1 or 2 but .* has 99"),
        ({"format": "other"}, "format 'relprop-explanation'"),
    ]:
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))
        with pytest.raises(InputError, match=match):
            Explanation.load(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json"):
        Explanation.load(folder)
