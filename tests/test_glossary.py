"""Where a page first uses a word of the glossary, the site links it to what the glossary says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.scripts import script

ROOT = Path(__file__).resolve().parents[1]
GLOSSARY = """# Glossary

**batch norm**
:   A layer that shifts and
    [scales](rules/norm.md) each "channel".

**z⁺, z^B**
:   Rules.

**target**
:   What is asked about.
"""


@pytest.fixture(scope="module")
def words() -> Any:
    return script("docs_glossary")


def test_the_first_use_is_linked_and_says_what_it_means(words: Any) -> None:
    text = words.linked("Batch norms first. A batch norm again.\n", "methods/rsp.md", GLOSSARY)
    meaning = "A layer that shifts and scales each 'channel'."
    assert text == f'[Batch norms](../glossary.md#batch-norm "{meaning}") first. A batch norm again.\n'


@pytest.mark.parametrize(
    "text",
    [
        "# Batch norm\n",
        "`batch norm` and ``a batch norm``\n",
        "```python\nbatch norm\n```\n",
        "  ```text\n  batch norm\n  ```\n",
        "[a batch norm](rules/norm.md)\n",
        "![a batch norm](norm.webp)\n",
        "[![a batch norm](norm.webp)](norm.md)\n",
        "[a\nbatch norm](rules/norm.md)\n",
        "$$\nbatch norm\n$$\n",
        "<div>\nbatch norm\n</div>\n",
        "<!-- batch norm -->\n",
        "::: relprop\n    options:\n      members: [batch norm]\n",
        "batch norm-free, minibatch norm, batch norming\n",
        "the target\n",  # plain English too
    ],
)
def test_what_keeps_its_words(words: Any, text: str) -> None:
    assert words.linked(text, "x.md", GLOSSARY) == text


def test_symbols_are_found_within_words_with_hyphens(words: Any) -> None:
    assert words.linked("the z⁺ rule\n", "x.md", GLOSSARY) == 'the [z⁺](glossary.md#z-plus "Rules.") rule\n'


def test_code_does_not_hide_what_follows(words: Any) -> None:
    text = words.linked("```\ncode\n```\n\nbatch norm\n\n```\ncode\n```\n", "x.md", GLOSSARY)
    assert "[batch norm](glossary.md#batch-norm" in text


def test_pages_that_explain_the_words_are_left_alone(words: Any) -> None:
    assert {words.linked("batch norm", page, GLOSSARY) for page in ("glossary.md", "words.md")} == {
        "batch norm"
    }


def test_every_entry_of_the_glossary_can_be_pointed_at(words: Any) -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = [line for line in glossary.splitlines() if line.startswith("**")]
    anchored = [line for line in words.with_anchors(glossary).splitlines() if line.startswith("**")]
    assert len(entries) > 40
    assert all(line.endswith("}") for line in anchored), (
        "an entry is **term** and, in the line below, ':   text'"
    )
    assert len({line.partition("{")[2] for line in anchored}) == len(entries)
    assert sorted(entries, key=lambda line: line.lower().replace("⁺", "")) == entries, (
        "in the alphabet's order"
    )
    assert words.terms(glossary).keys() >= words.ORDINARY
