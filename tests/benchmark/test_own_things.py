"""A method, a metric, a data set, a baseline and captum's method, each from a file of one's own, in one table."""

from __future__ import annotations

import io
import shutil
import tokenize
from pathlib import Path

import pytest
from tests.benchmark.make import pictures, recipe

from relprop.benchmark.recipe import read_recipe
from relprop.benchmark.run import run
from relprop.benchmark.tabled import table_of
from relprop.benchmark.worker import Worker
from relprop.errors import InputError

OWN = Path(__file__).resolve().parents[2] / "examples" / "own"
# What the pages promise: lines of code, without blank ones, comments and docstrings.
LINES = {"flat_first.py": 8, "compactness.py": 10, "upside_down.py": 17, "calls.py": 6}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's files in a folder that isn't the one we are in."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    shutil.copytree(OWN, tmp_path / "own", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "own"


def test_one_table(folder: Path, tmp_path: Path) -> None:
    given = read_recipe(folder / "recipe.toml").with_(limit=3)
    assert given.method_labels[2] == "calls.py:captum_ig:steps=20"
    done = run(given, tmp_path / "results.sqlite", workers=2)  # in processes of their own, too
    assert done.problems == ()
    table = table_of(done)
    assert [c.title for c in table.main] == ["Energy inside", "Compactness"]
    energy, compactness = table.main
    for method in given.method_labels:
        assert table.cell(method, energy).pairs == table.cell(method, compactness).pairs > 0
    # captum's quadrature is ours, so its row is ours, but for its weights in float32.
    ours, theirs = (table.cell(m, energy).value for m in given.method_labels[1:3])
    assert theirs == pytest.approx(ours, rel=1e-3)
    assert table.cell("flat_first.py:FlatFirst", energy).value > table.cell("center", energy).value


def test_results_belong_to_the_files_content(folder: Path) -> None:
    def depends(folder: Path) -> dict[str, str]:
        worker = Worker(read_recipe(folder / "recipe.toml"))
        return {**worker.facts(), **worker.rows.row_keys, **worker.rows.metric_keys}

    before = depends(folder)
    moved = folder.rename(folder.with_name("moved"))
    assert depends(moved) == before
    for file, names in (
        ("compactness.py", {"compactness.py:Compactness"}),
        ("flat_first.py", {"flat_first.py:FlatFirst", "flat_first.py:FlatFirst, squared"}),
        ("upside_down.py", {"data"}),
    ):
        (moved / file).write_text((moved / file).read_text() + "\n# another version\n")
        after = depends(moved)
        assert {key for key in before if before[key] != after[key]} == names
        before = after


def test_lines_that_each_took() -> None:
    for name, most in LINES.items():
        found = lines_of_code(OWN / name)
        print(name, found)
        assert found <= most


def lines_of_code(path: Path) -> int:
    kept: set[int] = set()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    begins = True
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        docstring = begins and token.type == tokenize.STRING
        if token.type not in skipped and token.type != tokenize.ENDMARKER and not docstring:
            kept |= set(range(token.start[0], token.end[0] + 1))
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            begins = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return len(kept)


OTHERS = """
from relprop.benchmark.baselines import Baseline
from relprop.datasets import DataSet, SceneSamples


class Stripes(Baseline):
    def draw(self, view):
        import numpy as np
        return np.tile(np.arange(view.size[1]) % 2.0, (view.size[0], 1))


class Odd(Baseline):
    def draw(self, view):
        return [[0.0]]


def drawn(n=3):
    return SceneSamples(n=n)


def nothing(n=3):
    return None


class NoMetric:
    pass
"""


def test_a_baseline_and_a_function_that_makes_data(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set")
    (folder / "others.py").write_text(OTHERS)
    others = str(folder / "others.py")
    given = recipe(folder, methods=[f"{others}:Stripes", f"{others}:Odd"], metrics=["energy"], chunk=7)
    found = Worker(given).process(0)
    assert {r.method for r in found.records if r.values} == {f"{others}:Stripes"}
    assert all("Expected Odd to draw a finite map" in p.text for p in found.problems)
    scenes = {
        "data": {"name": f"{others}:drawn", "n": 2},
        "model": {"spec": f"{folder / 'nets.py'}:scenes", "labels": None},
    }
    with_scenes = recipe(folder, methods=["center"], **scenes)
    assert Worker(with_scenes).pictures == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": {"name": "{}:nothing"}}, "relprop.datasets.DataSet, .* but got NoneType"),
        ({"metrics": ["{}:NoMetric"]}, "subclass of relprop.metrics.Metric but got"),
        ({"metrics": ["{}:NoMetrik"]}, "Did you mean 'NoMetric'"),
        ({"methods": ["{}:NoMetric"]}, "relprop.methods.Method, a configured method or a function"),
        ({"data": {"name": "{}:drawn", "m": 2}}, "setting of .*:drawn but got 'm'"),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, object], text: str) -> None:
    folder = pictures(tmp_path / "set")
    (folder / "others.py").write_text(OTHERS)

    def named(value: object) -> object:
        if isinstance(value, dict):
            return {key: named(v) for key, v in value.items()}
        if isinstance(value, list):
            return [named(v) for v in value]
        return value.format(folder / "others.py") if isinstance(value, str) else value

    with pytest.raises(InputError, match=text):
        Worker(recipe(folder, **{key: named(value) for key, value in changes.items()}))
