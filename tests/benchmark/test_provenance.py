from __future__ import annotations

import getpass
import hashlib
import json
import platform
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.benchmark.make import pictures, recipe, scenes

from relprop.benchmark.provenance import bare, machine, provenance, versions
from relprop.benchmark.report import write_report
from relprop.benchmark.run import run
from relprop.benchmark.tabled import table_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ann/VOC", "VOC"),
        ("/home/ann lee/my data/", "my data"),
        ("~/x/w.pth", "w.pth"),
        ("~ann", "~ann"),
        ("../ann/m.py:Net", "m.py:Net"),
        ("C:\\Users\\ann\\w.pth", "w.pth"),
        ("//server/ann/w.pth", "w.pth"),
        ("m.py:Net:file=/home/ann/a.bin,n=3", "m.py:Net:file=a.bin,n=3"),
        ("torchvision:vgg16", "torchvision:vgg16"),
        ("Nam et al. 2021, mean/max; 3 / 4", "Nam et al. 2021, mean/max; 3 / 4"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_paths_are_cut_to_their_last_part(text, expected):
    assert bare(text) == expected
    assert bare({"a": [text, 3, None, True]}) == {"a": [expected, 3, None, True]}


def test_file_says_what_when_and_with_what_and_not_who(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set")
    given = recipe(folder, methods=["center", "gradient"], metrics=["energy"], controls=False)
    done = run(given, tmp_path / "out" / "results.sqlite", workers=1)
    warned: list[str] = []
    _, files = write_report(done, tmp_path / "out", warned.append)
    assert warned == []
    assert tmp_path / "out" / "provenance.json" in files
    assert {"pairs.csv", "pairs.md"} <= {f.name for f in files}
    text = (tmp_path / "out" / "provenance.json").read_text()
    found = json.loads(text)
    assert found["results"] == done.worker.facts()
    assert len(found["results"]["weights"]) >= 16
    assert found["seeds"] == {"recipe": 0, "bootstrap": 0}
    assert found["bootstrap"]["draws"] == 20
    assert (found["pictures"], len(found["runs"])) == (7, 1)
    (told,) = found["runs"]
    assert told["pictures_computed"] == 7
    assert told["versions"]["torch"] == torch.__version__
    assert told["versions"]["python"] == platform.python_version()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", told["date"])
    assert told["machine"]["cores"] >= 1
    assert told["machine"]["device"] == "cpu"
    assert found["recipe"]["data"]["folder"] == "set"
    assert found["recipe"]["model"]["spec"] == "nets.py:Net"
    assert found["code"] == {"nets.py": hashlib.sha256((folder / "nets.py").read_bytes()).hexdigest()}
    assert str(tmp_path) not in text
    for secret in (str(Path.home()), platform.node(), getpass.getuser()):
        assert len(secret) < 4 or f'"{secret}' not in text
    assert not re.search(r'"/|"[A-Z]:\\', text)


def test_runs_of_several_sittings_are_kept(tmp_path: Path) -> None:
    given = scenes(tmp_path, 3, methods=["center", "gradient"], controls=False, ceiling=False)
    done = run(given, tmp_path / "a.sqlite", workers=1)
    table = table_of(done)
    first = provenance(done, table)
    assert len(first["runs"]) == 1
    shown_again = provenance(replace(done, computed=0), table, first)
    assert shown_again["runs"] == first["runs"]
    more = provenance(replace(done, computed=2), table, first)
    assert [r["pictures_computed"] for r in more["runs"]] == [3, 2]
    # Another benchmark's file, or one that was computed before there was any.
    other = provenance(replace(done, computed=0), table, {"runs": [{"date": "x"}], "results": {}})
    assert [r["pictures_computed"] for r in other["runs"]] == [0]


def test_a_file_that_somebody_spoilt_is_written_anew(tmp_path: Path) -> None:
    done = run(scenes(tmp_path, 2, methods=["gradient"], controls=False), tmp_path / "a.sqlite", workers=1)
    (tmp_path / "provenance.json").write_text("[]")
    warned: list[str] = []
    write_report(done, tmp_path, warned.append)
    assert warned == []
    assert json.loads((tmp_path / "provenance.json").read_text())["pictures"] == 2


def test_the_commit_is_relprops_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import relprop

    assert re.fullmatch(r"([0-9a-f]{40}(\+changes)?)?", versions().get("relprop_commit", ""))
    # Somewhere else there is no commit, whatever repository the folder lies in.
    monkeypatch.setattr(relprop, "__file__", str(tmp_path / "relprop" / "__init__.py"))
    assert "relprop_commit" not in versions()


def test_nothing_is_loaded_to_tell_of_what_is_there(tmp_path: Path) -> None:
    given = scenes(tmp_path, 2, methods=["gradient"], controls=False)
    given = replace(
        given, model=replace(given.model, spec="scenes-resnet", size=None, labels=None, mean=None, std=None)
    )
    run(given, tmp_path / "a.sqlite", workers=1)
    again = run(given, tmp_path / "a.sqlite", workers=1)
    assert again.computed == 0
    assert provenance(again, table_of(again))["runs"][0]["machine"]["device"] == "cpu"
    assert "model" not in vars(again.worker)


def test_machine_names_the_processor() -> None:
    assert machine("cpu")["cpu"]
