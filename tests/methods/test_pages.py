"""The pages of the methods: every section is there, and examples print what the page says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from relprop.methods.registry import METHODS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "methods"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
SECTIONS = [
    "## Source, and what is ours",
    "## Shapes, and what it conserves",
    "## Example",
    "## When not to use it",
]


@pytest.mark.parametrize("name", METHODS)
def test_page(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert f"Name: `{name}`." in text
    assert [s for s in SECTIONS if s not in text] == []
    blocks = BLOCK.findall(text)
    assert blocks
    names: dict[str, object] = {"__name__": "__main__"}
    for code, said in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{name}.md", "exec"), names)
        assert printed.getvalue() == said


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_on_the_page(name: str) -> None:
    import inspect

    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    settings = list(inspect.signature(METHODS[name]).parameters)
    assert [s for s in settings if f"`{s}`" not in text] == []
