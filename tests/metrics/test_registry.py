"""Registry: names, settings, and a page for each metric."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relprop.errors import InputError, UnknownNameError
from relprop.metrics import METRICS, Metric, load_metric, metrics

PAGES = Path(__file__).resolve().parents[2] / "docs" / "metrics"
SECTIONS = [
    "## Formula",
    "## Source, and what is ours",
    "## Edge cases",
    "## When it misleads",
    "## Published figures",
    "## Example",
]


def test_names() -> None:
    assert list(metrics()) == list(METRICS)
    assert all(text and "\n" not in text for text in metrics().values())


@pytest.mark.parametrize("name", METRICS)
def test_settings_are_attributes_of_the_same_name(name: str) -> None:
    metric = load_metric(name)
    assert list(metric.settings()) == list(inspect.signature(METRICS[name]).parameters)
    assert not set(metric.settings()) & set(dir(METRICS[name]))
    assert repr(metric).startswith(f"{METRICS[name].__name__}(")
    assert load_metric(name, **metric.settings()).settings() == metric.settings()


@pytest.mark.parametrize("name", METRICS)
def test_outcomes_have_keys_and_titles_of_their_own(name: str) -> None:
    outcomes = METRICS[name].outcomes
    assert len({o.key for o in outcomes}) == len({o.title for o in outcomes}) == len(outcomes) > 0
    assert all("@" not in o.key and "[" not in o.key for o in outcomes)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match=r"'mious'\. Did you mean 'miou'\?"):
        load_metric("mious")
    text = r"Expected a known setting of pointing-game but got 'tolerence'. Did you mean 'tolerance'\?"
    with pytest.raises(UnknownNameError, match=text):
        load_metric("pointing-game", tolerence=3)
    with pytest.raises(InputError, match=r"tolerance .*got -3"):
        load_metric("pointing-game", tolerance=-3)


def test_import_is_light() -> None:
    heavy = ["skimage", "scipy", "quantus", "pydensecrf", "matplotlib"]
    code = f"import relprop.metrics, sys; print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_needs(name: str) -> None:
    # Without it a metric gets all there is, and a benchmark explains again to judge maps that it keeps.
    assert any("needs" in vars(kind) for kind in METRICS[name].__mro__ if kind is not Metric)
    assert METRICS[name].needs in ("heat", "model", "explanation")


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_page(name: str) -> None:
    path = PAGES / f"{name}.md"
    assert path.is_file(), f"write docs/metrics/{name}.md"
    text = path.read_text(encoding="utf-8")
    assert f"Name: `{name}`." in text
    assert [s for s in SECTIONS if s not in text] == []
    assert [s for s in inspect.signature(METRICS[name]).parameters if f"`{s}`" not in text] == []
    assert [o.key for o in METRICS[name].outcomes if f"`{o.key}`" not in text] == []


def test_no_page_without_a_metric() -> None:
    assert {p.stem for p in PAGES.glob("*.md")} - {"index", "quantus"} == set(METRICS)


def test_index_tells_of_every_metric() -> None:
    text = (PAGES / "index.md").read_text(encoding="utf-8")
    assert "<!-- metrics:table -->" in text
    assert re.search(r"\(quantus\.md\)", text)
