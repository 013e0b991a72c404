"""Separations on disk: everything comes back, nothing is half-written, foreign things stay."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import nets

import relprop
from relprop import storage
from relprop.errors import InputError, OutputError
from relprop.video.separation import MotionSeparation

FILMS = ("original", "spatial", "temporal")
MODES = ("naive", "conserving", "selective")


@cache
def separation(mode: Any = "conserving", several: bool = False) -> MotionSeparation:
    target = [3, 0] if several else None
    method = relprop.DeepTaylor(bounds=(-6.0, 6.0), seed="one")
    return relprop.separate_motion(nets.video(), nets.pictures(2, 3, 4, 8, 8), target, method, mode)


def same(a: MotionSeparation, b: MotionSeparation) -> None:
    tensors = [*FILMS, "outputs", "targets"]
    tensors += ["frozen_outputs"] if b.frozen_outputs is not None else []
    for name in tensors:
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype
        assert torch.equal(x, y), name
    assert a.relevance.keys() == b.relevance.keys()
    assert all(torch.equal(a.relevance[name], b.relevance[name]) for name in b.relevance)
    assert (a.method, a.mode, repr(a)) == (b.method, b.mode, repr(b))
    assert a.ledgers.keys() == b.ledgers.keys()
    for name, ledger in b.ledgers.items():
        assert a.ledgers[name].closes is ledger.closes
        assert a.ledgers[name].max_error == ledger.max_error
        assert a.ledgers[name].summary() == ledger.summary()
        assert a.ledgers[name].totals == ledger.totals


@pytest.mark.parametrize("several", [False, True], ids=["one target", "several"])
@pytest.mark.parametrize("mode", MODES)
def test_all_comes_back(mode: str, several: bool, tmp_path: Path) -> None:
    s = separation(mode, several)
    path = s.save(tmp_path / "new" / "s")
    assert path == tmp_path / "new" / "s"
    assert sorted(p.name for p in path.iterdir()) == ["films.safetensors", "manifest.json"]
    loaded = MotionSeparation.load(path)
    same(loaded, s)
    assert (loaded.frozen_outputs is None) == (mode == "selective")
    assert loaded.settings == {
        **s.settings,
        "method": {"bounds": [-6.0, 6.0], "seed": "one", "negative": "zero"},
    }
    for name, curve in s.frames.items():
        assert torch.equal(loaded.frames[name].positive, curve.positive)
    assert loaded.ledger is not None
    assert loaded.ledger.rows
    # What was read can be written again.
    same(MotionSeparation.load(loaded.save(tmp_path / "again")), s)


def test_folders_of_version_1(tmp_path: Path) -> None:
    old = Path(__file__).parent / "data" / "version_1"
    s = MotionSeparation.load(old)
    assert (s.mode, s.method, s.original.shape) == ("conserving", "deep-taylor", (1, 2, 3, 3))
    assert sorted(s.ledgers) == ["original", "spatial", "temporal"]
    assert {ledger.rows for ledger in s.ledgers.values()} == {()}
    recorded = json.loads((old / "manifest.json").read_text())["ledgers"]
    assert {name: ledger.summary() for name, ledger in s.ledgers.items()} == recorded
    same(MotionSeparation.load(s.save(tmp_path / "again")), s)
    shutil.copytree(old, tmp_path / "old")
    same(MotionSeparation.load(s.save(tmp_path / "old", overwrite=True)), s)


def test_copies_and_pickles() -> None:
    s = separation()
    same(pickle.loads(pickle.dumps(s)), s)
    same(copy.deepcopy(s), s)


def test_a_method_without_rules_has_no_ledgers(tmp_path: Path) -> None:
    clip = nets.pictures(1, 3, 4, 8, 8).float()
    s = relprop.separate_motion(nets.video().float(), clip, 1, "gradient-x-input")
    loaded = MotionSeparation.load(s.save(tmp_path / "s"))
    same(loaded, s)
    assert loaded.original.dtype == torch.float32
    assert (loaded.ledgers, loaded.ledger) == ({}, None)


def test_films_that_share_memory_are_stored_apart(tmp_path: Path) -> None:
    film = torch.arange(24.0).reshape(1, 4, 3, 2).transpose(2, 3)  # not contiguous, three times the same
    score, target = torch.tensor([[2.0, 1.0]]), torch.tensor([0])
    s = MotionSeparation(film, film, film[:], {}, score, None, target, "lrp-0", "naive")
    same(MotionSeparation.load(s.save(tmp_path / "s")), s)


def test_manifest(tmp_path: Path) -> None:
    s = separation("naive")
    facts = {"clip": Path("a.gif"), "indices": (0, 2), "limit": float("nan"), "big": torch.zeros(65)}
    manifest = json.loads((s.save(tmp_path / "s", **facts) / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == "relprop-separation"
    assert (manifest["method"], manifest["mode"]) == ("deep-taylor", "naive")
    assert manifest["facts"] == {
        "clip": "a.gif", "indices": [0, 2], "limit": "nan", "big": "tensor of shape (65,)",
    }  # fmt: skip
    stored = load_file(tmp_path / "s" / "films.safetensors")
    assert manifest["shapes"] == {name: list(t.shape) for name, t in stored.items()}
    assert manifest["ledgers"]["original"]["closes"] is True


def test_only_own_folders_are_replaced(tmp_path: Path) -> None:
    old, new, path = separation("naive"), separation("selective"), tmp_path / "s"
    old.save(path)
    with pytest.raises(InputError, match=r"new folder .*overwrite=True"):
        new.save(path)
    same(MotionSeparation.load(path), old)
    new.save(path, overwrite=True)
    same(MotionSeparation.load(path), new)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"also holds 'notes\.txt'"):
        old.save(path, overwrite=True)
    assert (path / "notes.txt").read_text() == "mine"
    same(MotionSeparation.load(path), new)


def test_other_things_are_not_replaced(tmp_path: Path) -> None:
    s = separation("naive")
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="file' is a file"):
        s.save(file, overwrite=True)
    assert file.read_text() == "mine"
    explanation = relprop.explain(nets.video(), nets.pictures(1, 3, 4, 8, 8), 1).save(tmp_path / "e")
    before = {p.name: p.read_bytes() for p in explanation.iterdir()}
    with pytest.raises(InputError, match="holds other things"):
        s.save(explanation, overwrite=True)
    assert {p.name: p.read_bytes() for p in explanation.iterdir()} == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text('{"format": "of another program"}')
    with pytest.raises(InputError, match="holds other things"):
        s.save(other, overwrite=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    same(MotionSeparation.load(s.save(empty, overwrite=True)), s)


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, path = separation("naive"), separation("selective"), tmp_path / "deep" / "s"
    real = Path.write_text

    def full(self: Path, *_: Any, **__: Any) -> int:
        assert self.name == "manifest.json"
        assert (self.parent / "films.safetensors").stat().st_size > 0
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match="no space left"):
            old.save(path)
    assert list(tmp_path.iterdir()) == []  # the parents that were made are gone as well
    assert Path.write_text is real
    old.save(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match="no space left"):
            new.save(path, overwrite=True)
    same(MotionSeparation.load(path), old)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_swap", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new.save(path, overwrite=True)
    same(MotionSeparation.load(path), old)
    assert [p.name for p in path.parent.iterdir()] == ["s"]


def damaged(folder: Path, how: str) -> None:
    manifest, numbers = folder / "manifest.json", folder / "films.safetensors"
    found = json.loads(manifest.read_text())
    if how == "no manifest":
        manifest.unlink()
    elif how == "no JSON":
        manifest.write_text("{")
    elif how == "a list":
        manifest.write_text("[]")
    elif how == "another format":
        manifest.write_text(json.dumps(found | {"format": "relprop-explanation"}))
    elif how == "another version":
        manifest.write_text(json.dumps(found | {"format_version": 3}))
    elif how == "no numbers":
        numbers.unlink()
    elif how == "cut numbers":
        numbers.write_bytes(numbers.read_bytes()[:1000])
    else:
        tensors = load_file(numbers)
        save_file({name: t for name, t in tensors.items() if name != "spatial"}, numbers)
        found["files"][numbers.name]["sha256"] = hashlib.sha256(numbers.read_bytes()).hexdigest()
        manifest.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("no manifest", r"Expected a saved separation but '.*s' has no readable manifest\.json"),
        ("no JSON", r"has no readable manifest\.json"),
        ("a list", r"Expected a manifest of format 'relprop-separation' but '.*s' holds another"),
        ("another format", r"Expected a manifest of format 'relprop-separation'"),
        ("another version", r"Expected format version 1 or 2 but '.*s' has 3"),
        ("no numbers", r"Expected films\.safetensors .*, which does not exist"),
        ("cut numbers", r"films\.safetensors in '.*s' as it was saved but its checksum differs"),
        ("a film less", r"Expected 'spatial' in films\.safetensors of '.*s' but it is not there"),
    ],
)
def test_folders_that_cannot_be_read(how: str, text: str, tmp_path: Path) -> None:
    path = separation("naive").save(tmp_path / "s")
    damaged(path, how)
    with pytest.raises(InputError, match=text):
        MotionSeparation.load(path)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"separation .*nowhere'"):
        MotionSeparation.load(tmp_path / "nowhere")
