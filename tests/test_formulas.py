"""Formulas of the documentation are drawn, not written as code that scrolls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.scripts import script

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


@pytest.fixture(scope="module")
def formulas() -> Any:
    return script("docs_formulas")


def test_every_formula_is_drawn(formulas: Any) -> None:
    blocks = 0
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        drawn = formulas.drawn(text)
        assert not re.search(r"^\$\$$", drawn, re.MULTILINE), page
        blocks += drawn.count('<div class="formula">')
    assert blocks > 40


def test_lines_become_pictures_that_say_what_they_are(formulas: Any) -> None:
    drawn = formulas.drawn("Before.\n\n$$\nx = y \\\\\na < \\dfrac{b}{c}\n$$\n\nAfter.\n")
    assert drawn.startswith('Before.\n\n<div class="formula"><div><svg role="img" aria-label="x = y"')
    assert drawn.count("<svg") == 2
    assert 'aria-label="a &lt; \\dfrac{b}{c}"' in drawn
    assert drawn.endswith("</div></div>\n\nAfter.\n")


def test_code_is_left_alone(formulas: Any) -> None:
    code = "```text\n$$\nx\n$$\n```\n"
    assert formulas.drawn(code) == code


def test_what_matplotlib_doesnt_know_is_named(formulas: Any) -> None:
    with pytest.raises(ValueError, match=r"Formula .*nonsense"):
        formulas.drawn("$$\n\\nonsense{x}\n$$\n")


def test_methods_have_no_formula_in_a_code_box() -> None:
    for page in (ROOT / "docs" / "methods").glob("*.md"):
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        assert not re.search(r"\n\n    \S", text), page
