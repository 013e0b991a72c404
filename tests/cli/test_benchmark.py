"""`relprop benchmark`, from the words typed to the files and the text that come out."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from tests.benchmark.make import NETS, PICTURES, pictures

from relprop.benchmark.recipe import read_recipe, recipes
from relprop.catalogue import TABLE_FORMATS
from relprop.cli import run

RECIPE = """
about = "Tiny"
methods = ["center", "gradient"]
chunk = 2
replicates = 20

[data]
name = "{name}"
{options}

[model]
spec = "nets.py:{net}"
size = [32, 32]

[[metrics]]
name = "pointing-game"
tolerance = 3
region = "auto"
[[metrics]]
name = "energy"
region = "auto"
"""

SLOW = """

def slow():
    import time

    class Slow(Net):
        def forward(self, x):
            Path(f"seen-{os.getpid()}").touch()
            time.sleep(0.2)
            return super().forward(x)

    return Slow(8)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "drawn.toml").write_text(RECIPE.format(name="scenes", options="n = 3", net="scenes"))
    (tmp_path / "read.toml").write_text(RECIPE.format(name="folder", options="", net="Net"))
    return tmp_path


def gone(group: int) -> bool:
    """Whether the last process of a group has ended, after a few seconds at most."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def failed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr of a command that is refused."""
    assert run(["benchmark", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("relprop: ")
    assert err.count("\n") == 1
    return err.strip()


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["benchmark", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, about in recipes().items():
        assert any(line.split()[:1] == [name] and about.split(":")[0] in line for line in lines)
    assert "FILE.toml" in lines[-1]
    assert run(["benchmark", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"] == recipes()


def test_tables_plots_and_the_second_time(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "drawn.toml", "--workers", "1"]
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    folder = here / "relprop-benchmark" / "drawn"
    names = {p.name for p in folder.iterdir()}
    assert {"results.sqlite", "table.txt", "table.csv", "table.md", "table.json", "table.tex"} <= names
    assert {"bars.png", "maps.png", "results-maps.sqlite"} <= names
    assert {"cases-pointing-game.png", "cases-energy.png"} <= names
    assert all((folder / name).stat().st_size > 0 for name in names)
    assert (folder / "table.txt").read_text().rstrip() in out
    assert all(f"  {name}" in out.splitlines() for name in names)
    assert "3 pictures in " in out
    first = (folder / "table.csv").read_bytes()
    rows = list(csv.DictReader(first.decode().splitlines()))
    squared = "gradient, squared"
    assert {row["method"] for row in rows} == {"center", "gradient", "random", "edges", "oracle", squared}
    assert {row["metric"] for row in rows} == {"pointing-game", "energy"}
    (folder / "bars.png").unlink()

    assert run(command) == 0
    out = capsys.readouterr().out
    assert "All 3 pictures were there already; nothing was computed." in out
    assert (folder / "table.csv").read_bytes() == first
    assert (folder / "bars.png").exists()


def test_the_table_alone_in_a_format_and_vector_figures(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["benchmark", "drawn.toml", "--workers", "1", "--limit", "2"]
    assert run([*command, "--format", "latex", "--figures", "pdf,svg"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    folder = here / "relprop-benchmark" / "drawn"
    assert out == (folder / "table.tex").read_text()
    assert out.startswith("% Needs")
    names = {p.name for p in folder.iterdir()}
    assert {"bars.pdf", "bars.svg", "maps.pdf", "maps.svg", "cases-energy.pdf"} <= names
    assert not [name for name in names if name.endswith(".png")]

    message = failed(capsys, *command[1:], "--picture", "x")
    assert "Expected --picture to name one of the 2 pictures that are judged but got 'x'" in message
    image = message.split("The first is '")[1].split("'")[0]
    both = (folder / "maps.svg").read_bytes()
    assert run([*command, "--format", "csv", "--picture", image, "--figures", "svg"]) == 0
    assert capsys.readouterr().out == (folder / "table.csv").read_text()
    assert (folder / "maps.svg").read_bytes() != both

    assert "kind of figure but got 'gif'" in failed(capsys, "drawn.toml", "--figures", "png,gif")
    assert "format but got 'word'" in failed(capsys, "drawn.toml", "--format", "word")
    assert "--json or --format but got both" in failed(capsys, "drawn.toml", "--json", "--format", "csv")


def test_json_is_one_document(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "drawn.toml", "--json", "--workers", "1", "--out", "mine", "--limit", "2"]
    assert run([*command, "--method", "center", "--method", "lrp-epsilon:epsilon=0.1", "--seed", "3"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == ""
    assert {"recipe", "pictures", "computed", "seconds", "problems", "files"} <= set(document)
    assert set(json.loads((here / "mine" / "table.json").read_text())) < set(document)
    assert (document["pictures"], document["computed"], document["problems"]) == (2, 2, [])
    recipe = document["recipe"]
    assert [m["method"] for m in recipe["methods"]] == ["center", "lrp-epsilon:epsilon=0.1"]
    assert (recipe["limit"], recipe["seed"], recipe["chunk"]) == (2, 3, 2)
    assert document["seconds"] > 0
    kept = {"results.sqlite", "results-maps.sqlite"}
    assert {Path(f).name for f in document["files"]} == {p.name for p in (here / "mine").iterdir()} - kept
    assert not (here / "relprop-benchmark").exists()


def test_own_pictures_and_their_problems(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(here / "data")
    (data / "c.png").write_bytes(b"no picture")
    command = ["benchmark", "read.toml", "--data", "data", "--labels", "data/names.txt", "--workers", "1"]
    assert run([*command, "-x", "gradient"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "Problems (1), the rest of the run is unharmed:" in lines
    (told,) = [line for line in lines if line.startswith("  c.png (data): ")]
    assert "no picture format fits" in told
    assert "Left out: 1 of 7 pictures that could not be used." in out
    assert "yak" in out  # the class that the network doesn't know
    assert run([*command, "-x", "gradient", "--json"]) == 0
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["image"], problem["where"]) == ("c.png", "data")


def test_not_one_picture_can_be_used(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(here / "data")
    for name in PICTURES:
        (data / name).unlink()
    command = ["benchmark", "read.toml", "--data", "data", "--labels", "data/names.txt", "--workers", "1"]
    assert run(command) == 1
    err = capsys.readouterr().err
    assert err.startswith(
        "relprop: Nothing could be measured on 7 pictures. First: a.png: Expected a picture file"
    )
    assert err.count("\n") == 1


def test_a_method_that_refuses_the_network(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = pictures(here / "data")
    given = ["--data", str(data), "--labels", "data/names.txt", "--workers", "1", "--model", "nets.py:Gated"]
    assert run(["benchmark", "read.toml", *given, "-x", "lrp-epsilon", "-x", "gradient"]) == 0
    out = capsys.readouterr().out
    assert "lrp-epsilon failed on 7 pictures." in out
    assert "Problems (7), the rest of the run is unharmed:" in out
    assert "softmax" in out
    table = (here / "relprop-benchmark" / "read" / "table.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    assert {row["pairs"] for row in rows if row["method"] == "lrp-epsilon"} <= {"0"}
    assert all(
        int(row["pairs"]) > 0 for row in rows if row["method"] == "gradient" and row["subset"] == "all"
    )


def test_refusals(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Expected a known recipe but got 'scene'. Did you mean 'scenes'?" in failed(capsys, "scene")
    assert "Expected a recipe file but got 'no.toml', which does not exist." in failed(capsys, "no.toml")
    told = failed(capsys, "read.toml")
    assert "Expected --data PATH: recipe read reads the data set folder from a folder of yours." in told
    assert "Expected --data PATH" in failed(capsys, "rsp-table1-voc07")
    told = failed(capsys, "drawn.toml", "--data", ".")
    assert "Expected no --data, for the data set scenes is made, not read." in told
    assert "nowhere', which does not exist" in failed(capsys, "read.toml", "--data", "nowhere")
    told = failed(capsys, "drawn.toml", "-x", "lrp-epsilom")
    assert "Expected a known method but got 'lrp-epsilom'. Did you mean 'lrp-epsilon'?" in told
    told = failed(capsys, "drawn.toml", "--address", "auto")
    assert "Expected --engine ray with --address. Add it, or leave the address out." in told
    told = failed(capsys, "drawn.toml", "--engine", "spark")
    assert "Expected engine to be 'local' or 'ray' but got 'spark'." in told
    assert "Expected a known model but got 'nets'" in failed(capsys, "drawn.toml", "--model", "nets")
    assert "does not exist" in failed(capsys, "drawn.toml", "--labels", "no.txt")
    told = failed(capsys, "drawn.toml", "--difficult", "list.tsv")
    assert "Expected a known setting of scenes but got 'difficult'" in told
    told = failed(capsys, "drawn.toml", "--picture", "test-nowhere")
    assert "Expected --picture to name one of the" in told
    for option, value in (("--chunk", "0"), ("--limit", "-1"), ("--workers", "0"), ("--batch", "x")):
        assert option in failed(capsys, "drawn.toml", option, value)
    assert not (here / "relprop-benchmark").exists()


def test_results_of_another_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "drawn.toml", "--workers", "1", "--out", "mine", "-x", "gradient", "--json"]
    assert run(command) == 0
    before = {p.name: p.read_bytes() for p in (here / "mine").iterdir()}
    capsys.readouterr()
    (here / "nets.py").write_text(NETS.replace("nn.Linear(8, classes)", "nn.Linear(8, classes, bias=False)"))
    assert "Expected results of the same weights in 'mine" in failed(capsys, *command[1:])
    (here / "nets.py").write_text(NETS)
    assert {p.name: p.read_bytes() for p in (here / "mine").iterdir()} == before
    (here / "mine" / "results.sqlite").write_text("x" * 5000)
    assert "but it is another kind of file. Use another --out." in failed(capsys, *command[1:])


def test_maps_whose_file_begins_with_something_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "drawn.toml", "--workers", "1", "--out", "mine", "-x", "gradient", "--json"]
    assert run(command) == 0
    capsys.readouterr()
    maps = here / "mine" / "results-maps.sqlite"
    maps.write_text("x" * 5000)
    told = failed(capsys, *command[1:])
    assert "move it away and run the same command again: what was measured stays" in told
    maps.unlink()
    assert run(command) == 0


def test_another_metric_computes_no_more_than_itself(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "drawn.toml", "--workers", "1", "--json"]
    assert run(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["computed"], first["explained"]) == (3, 3)
    changed = ["--metric", "energy", "--add-metric", "pointing-game:tolerance=1,region=auto"]
    assert run([*command, *changed]) == 0
    second = json.loads(capsys.readouterr().out)
    assert (second["computed"], second["explained"]) == (3, 0)
    assert [m["label"] or m["name"] for m in second["recipe"]["metrics"]] == [
        "energy", "pointing-game:tolerance=1,region=auto"
    ]  # fmt: skip
    assert "cases-pointing-game_tolerance-1_region-auto.png" in {Path(f).name for f in second["files"]}
    assert run([*command, *changed, "--add-method", "lrp-epsilon"]) == 0
    third = json.loads(capsys.readouterr().out)
    assert (third["computed"], third["explained"]) == (3, 3)
    assert run(["benchmark", "drawn.toml", "--workers", "1", *changed, "--limit", "2"]) == 0
    assert "All 2 pictures were there already; nothing was computed." in capsys.readouterr().out


def test_no_maps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["benchmark", "drawn.toml", "--workers", "1", "--no-maps"]) == 0
    assert "results-maps.sqlite" not in capsys.readouterr().out
    assert not (here / "relprop-benchmark" / "drawn" / "results-maps.sqlite").exists()


def test_show(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Expected results of a benchmark in 'relprop-benchmark/drawn/results.sqlite' but" in failed(
        capsys, "show", "drawn"
    )
    assert run(["benchmark", "drawn.toml", "--workers", "1"]) == 0
    assert run(["benchmark", "drawn.toml", "--workers", "1", "--out", "mine", "--limit", "2"]) == 0
    capsys.readouterr()
    folder = here / "relprop-benchmark" / "drawn"
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    (here / "nets.py").unlink()  # neither model nor data are looked at
    for named in ("drawn", "drawn.toml", str(folder), str(folder / "results.sqlite")):
        assert run(["benchmark", "show", named]) == 0
        assert capsys.readouterr().out == (folder / "table.txt").read_text()
    for name, ending in TABLE_FORMATS.items():
        assert run(["benchmark", "show", "drawn", "--format", name]) == 0
        assert capsys.readouterr().out.rstrip() == (folder / f"table.{ending}").read_text().rstrip()
    assert run(["benchmark", "show", "drawn", "--out", "mine", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["pictures"], document["computed"], document["recipe"]["limit"]) == (2, 0, 2)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert "Run the recipe with them: what is there" in failed(capsys, "show", "drawn", "--limit", "2")
    assert "Expected one recipe but got 'drawn.toml' and 'x'" in failed(capsys, "drawn.toml", "x")
    assert "Expected --recipe behind 'show'" in failed(capsys, "drawn.toml", "--recipe")


def test_show_a_recipe(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--limit", "2", "--add-method", "lrp-epsilon", "--metric", "energy"]
    assert run(["benchmark", "show", "drawn.toml", "--recipe", *words]) == 0
    text = capsys.readouterr().out
    assert not (here / "relprop-benchmark").exists()
    (here / "other.toml").write_text(text)
    found = read_recipe(here / "other.toml")
    assert (found.name, found.limit, found.metric_labels) == ("drawn", 2, ["energy"])
    assert found.metrics[0].settings == {"region": "auto"}
    assert [m.method for m in found.methods] == ["center", "gradient", "lrp-epsilon"]
    assert run(["benchmark", "other.toml", "--workers", "1", "--out", "mine"]) == 0
    capsys.readouterr()
    assert run(["benchmark", "show", "mine", "--recipe"]) == 0
    assert tomllib.loads(capsys.readouterr().out) == tomllib.loads(text)
    assert run(["benchmark", "show", "rsp-table1-voc07", "--recipe", "--json"]) == 0  # without its folder
    assert json.loads(capsys.readouterr().out)["data"]["name"] == "voc"
    assert "Expected a known metric but got 'energi'. Did you mean 'energy'?" in failed(
        capsys, "drawn.toml", "--metric", "energi"
    )
    assert "setting of energy but got 'regoin'" in failed(capsys, "scenes", "--add-metric", "energy:regoin=3")
    assert "Expected no --format with --recipe" in failed(
        capsys, "show", "scenes", "--recipe", "--format", "csv"
    )


def test_a_method_given_twice_counts_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "drawn.toml", "--workers", "1", "--json", "-x", "gradient", "-x", "gradient"]
    assert run(command) == 0
    assert [m["method"] for m in json.loads(capsys.readouterr().out)["recipe"]["methods"]] == ["gradient"]


def test_baselines_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["benchmark", "drawn.toml", "--workers", "1", "-x", "center", "-x", "random"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "3 pictures in " in out
    assert not list(
        (here / "relprop-benchmark" / "drawn").glob("cases-*")
    )  # there is no network to look into


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_ctrl_c(here: Path) -> None:
    # Everyone in the group hears it, as in a terminal; workers are at their first picture then.
    (here / "nets.py").write_text(NETS + SLOW)
    (here / "drawn.toml").write_text(RECIPE.format(name="scenes", options="n = 40", net="slow"))
    words = [
        sys.executable,
        "-c",
        # Whoever was started in the background has inherited a deaf ear for SIGINT.
        "import signal; signal.signal(2, signal.default_int_handler); from relprop.cli import main; main()",
        "benchmark",
        "drawn.toml",
        "--workers",
        "2",
    ]
    child = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with child:
        deadline = time.monotonic() + 60
        while not list(here.glob("seen-*")) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "relprop: interrupted"
    assert gone(child.pid)  # nobody is left in the group
