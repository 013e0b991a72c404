"""Pages of the documentation are short and show something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
MOST = 1500  # words outside code
#: A table that a script writes, with a line a network.
TABLES = {"coverage-models.md"}
#: Looked up, not read: lists of names and options, words, versions, licences, and what the README says.
REFERENCE = {
    "command-line.md", "command-line-scripts.md", "compatibility.md", "coverage.md", "development.md",
    "glossary.md",
    "imagenet-classes.md", "index.md", "python.md", "sources.md", "troubleshooting.md",
    "troubleshooting/inputs.md",
    "troubleshooting/models.md", "versions.md",
}  # fmt: skip


def _words(text: str) -> int:
    """Words outside blocks of code; what has no letter or digit, such as the frame of a table, is none."""
    prose = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
    return sum(bool(re.search(r"\w", word)) for word in prose.split())


def test_words_are_counted_outside_code() -> None:
    assert _words("One | two |\n\n```python\nthree = 3\n```\n- four\n") == 3


@pytest.mark.parametrize("page", [page for page in PAGES if page not in TABLES])
def test_no_page_is_longer_than_a_sitting(page: str) -> None:
    assert _words((DOCS / page).read_text(encoding="utf-8")) <= MOST, "split it into what, why and numbers"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in TABLES | REFERENCE])
def test_a_page_that_is_read_shows_something(page: str) -> None:
    assert re.search(r"!\[[^\]]+\]\(", (DOCS / page).read_text(encoding="utf-8")), (
        "a picture, and what it shows"
    )


def test_no_page_is_excused_that_is_not_there() -> None:
    assert set(PAGES) >= REFERENCE
