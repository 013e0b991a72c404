"""The pages of the methods: every section is there, with an example (tests/test_docs.py runs them)."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from relprop.methods.registry import METHODS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "methods"
SECTIONS = [
    "## Source, and what is ours",
    "## Shapes, and what it conserves",
    "## Example",
    "## When not to use it",
]


def page(name: str) -> str:
    path = PAGES / f"{name}.md"
    assert path.is_file(), f"write docs/methods/{name}.md"
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", METHODS)
def test_page(name: str) -> None:
    text = page(name)
    assert f"Name: `{name}`." in text
    assert [s for s in SECTIONS if s not in text] == []
    assert "\n```python\n" in text


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_on_the_page(name: str) -> None:
    text = page(name)
    settings = list(inspect.signature(METHODS[name]).parameters)
    assert [s for s in settings if f"`{s}`" not in text] == []
