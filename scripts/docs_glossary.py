"""Words of the glossary: where a page first uses one, the page is linked to what the glossary says of it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import cache

__all__ = ["linked", "terms", "with_anchors"]

PAGE = "glossary.md"
#: Pages that explain the words themselves.
LEFT_ALONE = {PAGE, "words.md"}
#: Entries that plain English uses too: a page that means the entry says so with a link of its own.
ORDINARY = set(
    "balance contrast head hit lost purge released section seed shift target versus ε γ αβ".split()
)

_ENTRY = re.compile(r"^\*\*([^*\n]+)\*\*\n:   (.+(?:\n    .+)*)", re.MULTILINE)
# What keeps its words: code, formulas, headings, directives, raw HTML, and what is a link or a picture already.
_KEPT = re.compile(
    r"""^(\ *)(`{3,}).*?^\1\2`*\ *$
    | ^\$\$.*?^\$\$$
    | ^:::.*?$ (?:\n\ {4}.*?$)*
    | ^\ *(?:\#|!!!|\?\?\?).*?$
    | <!--.*?-->
    | <(svg|table|div|figure|p|a|summary|code|em|h\d)\b.*?</\3>
    | <[^>\n]+>
    | ``.+?``
    | `[^`\n]+`
    | !?\[(?:[^\[\]]|\[[^\]]*\])*\]\([^)]*\)
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


def terms(glossary: str) -> dict[str, tuple[str, str]]:
    """Each spelling of the glossary's entries with its anchor and what the entry says, as plain text."""
    found = {}
    for names, text in _ENTRY.findall(glossary):
        anchor = _anchor(names)
        plain = (
            re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(text.split())).replace("*", "").replace("`", "")
        )
        found |= dict.fromkeys(names.split(", "), (anchor, plain))
    return found


def with_anchors(glossary: str) -> str:
    """The glossary's page with an anchor at each entry."""
    return _ENTRY.sub(lambda m: m[0].replace(f"**{m[1]}**", f"**{m[1]}**{{#{_anchor(m[1])}}}", 1), glossary)


def linked(markdown: str, page: str, glossary: str) -> str:
    """A page's text, the first use of each of the glossary's words linked to its entry.

    Args:
        markdown: The page's text.
        page: The page's address below docs/, with slashes.
        glossary: The text of docs/glossary.md.
    """
    if page in LEFT_ALONE:
        return markdown
    known, pattern = _looked_for(glossary)
    address = posixpath.relpath(PAGE, posixpath.dirname(page) or ".")
    seen: set[str] = set()

    def link(match: re.Match[str]) -> str:
        anchor, text = known[match[1].lower()]
        if anchor in seen:
            return match[0]
        seen.add(anchor)
        said = text.replace('"', "'")
        return f'[{match[0]}]({address}#{anchor} "{said}")'

    return "".join(part if kept else pattern.sub(link, part) for kept, part in _parts(markdown))


@cache
def _looked_for(glossary: str) -> tuple[dict[str, tuple[str, str]], re.Pattern[str]]:
    """Entries by their spelling in small letters, and what finds one; the same for all pages."""
    known = {name.lower(): found for name, found in terms(glossary).items() if name not in ORDINARY}
    spelled = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    return known, re.compile(rf"(?<![\w/.-])({spelled})(s|es)?(?![\w/-])", re.IGNORECASE)


def _parts(markdown: str) -> Iterator[tuple[bool, str]]:
    """Stretches of a page, and whether each keeps its words."""
    at = 0
    for kept in _KEPT.finditer(markdown):
        yield False, markdown[at : kept.start()]
        yield True, kept[0]
        at = kept.end()
    yield False, markdown[at:]


def _anchor(names: str) -> str:
    plain = names.split(", ")[0].lower().replace("⁺", "-plus")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
