"""The documentation's navigation: every page once, and never more than twelve entries at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.scripts import script

ROOT = Path(__file__).resolve().parents[1]
MOST = 12
WORDS = 900


@pytest.fixture(scope="module")
def nav() -> Any:
    return script("docs_hooks").on_config({"docs_dir": str(ROOT / "docs")})["nav"]


def _levels(entries: list[Any]) -> Iterator[list[Any]]:
    yield entries
    for entry in entries:
        if isinstance(entry, dict):
            for below in entry.values():
                yield from _levels(below)


def test_no_level_shows_more_than_twelve(nav: Any) -> None:
    assert [level for level in _levels(nav) if len(level) > MOST] == []


def test_every_page_stands_in_it_once(nav: Any) -> None:
    pages = [entry for level in _levels(nav) for entry in level if isinstance(entry, str)]
    docs = ROOT / "docs"
    assert sorted(pages) == sorted(p.relative_to(docs).as_posix() for p in docs.rglob("*.md"))


def test_every_page_has_a_place_of_its_own(nav: Any) -> None:
    assert "More" not in {title for section in nav for title in section}, (
        "name the page in scripts/docs_navigation.py"
    )


def test_tutorials_are_short_and_have_pictures() -> None:
    for page in (ROOT / "docs" / "tutorials").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert len(text.split()) <= WORDS, page
        assert "](../gallery/" in text, page
