"""The guided notebooks run, say what their stored outputs say, and are small enough for a code host."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?")


def _script():
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "scripts" / "run_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _apart(text: str) -> tuple[list[str], list[tuple[float, float]]]:
    """The words, and each number with the step of its last digit."""
    found = NUMBER.findall(text)
    numbers = [(float(n.replace("−", "-")), 10.0 ** -len(n.partition(".")[2])) for n in found]
    return NUMBER.sub("#", text).split(), numbers


def test_there_is_one_for_every_journey():
    assert [file.stem for file in FILES] == ["affine", "benchmark", "classifier", "detector", "video"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.filterwarnings("ignore")  # of the kernel's client; the kernel has warnings of its own
def test_a_notebook_runs_and_says_what_is_stored(file, monkeypatch):
    """The same words; numbers as they are rounded, give or take one of the last digit (another CPU's rounding)."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    script, stored = _script(), nbformat.read(file, as_version=4)
    fresh = script.executed(file)  # raises where a cell fails
    for then, now in zip(script.texts(stored), script.texts(fresh), strict=True):
        (words, numbers), (words_now, numbers_now) = _apart(then), _apart(now)
        assert words_now == words
        assert len(numbers_now) == len(numbers)
        for (number, step), (number_now, _) in zip(numbers, numbers_now, strict=True):
            assert number_now == pytest.approx(number, abs=1.001 * step)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_stored_notebook_is_executed_and_small(file):
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert any("image/jpeg" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert file.stat().st_size <= 1_000_000


def test_all_stored_notebooks_together_are_small():
    assert sum(file.stat().st_size for file in FILES) <= 3_000_000


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_ends_with_what_it_told(file):
    last = nbformat.read(file, as_version=4).cells[-1]
    assert last.cell_type == "markdown"
    assert last.source.startswith("## What this told us")
    assert "**Next:**" in last.source


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_begins_with_what_it_teaches(file):
    first = nbformat.read(file, as_version=4).cells[0]
    (said,) = re.findall(r"^\*\*You will learn\*\* (.*)\.$", first.source, re.MULTILINE)
    listed = (ROOT / "docs" / "notebooks.md").read_text(encoding="utf-8")
    assert said.lower() in listed.lower()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_figures_need_no_magic_command(file):
    assert "%matplotlib" not in file.read_text(encoding="utf-8")


def test_no_path_of_a_machine_is_stored():
    for file in FILES:
        for text in _script().texts(nbformat.read(file, as_version=4)):
            assert str(ROOT) not in text
            assert str(Path.home()) + os.sep not in text
