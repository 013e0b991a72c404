"""Hooks of the documentation's build: navigation, tables of names, front page, gallery, formulas, glossary."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from docs_formulas import drawn
from docs_glossary import PAGE, linked, with_anchors
from docs_navigation import SECTIONS, Entry


def on_config(config: Any) -> Any:
    """Build the navigation from `SECTIONS` and what lies in the folders."""
    docs = Path(config["docs_dir"])
    nav = [{title: _entries(docs, entries)} for title, entries in SECTIONS]
    rest = sorted({p.relative_to(docs).as_posix() for p in docs.rglob("*.md")} - _named(nav))
    config["nav"] = [section for section in [*nav, {"More": rest}] if all(section.values())]
    return config


def _entries(docs: Path, entries: list[Entry]) -> list[Any]:
    """Pages that are there (benchmarks write some), and groups that have any."""
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, tuple):
            title, group = entry
            below = _entries(docs, group)
            found += [{title: below}] if below else []
        elif (docs / entry).is_file():
            found.append(entry)
    return found


def _named(nav: list[Any]) -> set[str]:
    """All pages of a navigation."""
    pages = {entry for entry in nav if isinstance(entry, str)}
    below = [group for entry in nav if isinstance(entry, dict) for group in entry.values()]
    return pages.union(*map(_named, below))


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Fill the tables from the registries, and link words of the glossary to what it says of them."""
    if "<!-- coverage -->" in markdown and Path(page.file.abs_src_path).with_name("coverage.md").is_file():
        markdown = markdown.replace("<!-- coverage -->", "The table: [Coverage](coverage.md).")
    folder = Path(page.file.abs_src_path).parent
    if "<!-- front" in markdown:
        markdown = _front(folder.parent / "README.md")
    if "<!-- methods:table -->" in markdown:
        from relprop.methods.registry import methods

        markdown = markdown.replace("<!-- methods:table -->", _table("method", methods(), folder))
    if "<!-- metrics:table -->" in markdown:
        from relprop.metrics.registry import metrics

        markdown = markdown.replace("<!-- metrics:table -->", _table("metric", metrics(), folder))
    if "<!-- gallery:methods -->" in markdown:
        markdown = markdown.replace("<!-- gallery:methods -->", _shown(folder))
    glossary = (Path(config["docs_dir"]) / PAGE).read_text(encoding="utf-8")
    address = page.file.src_uri
    return drawn(with_anchors(markdown) if address == PAGE else linked(markdown, address, glossary))


def _front(readme: Path) -> str:
    """README.md, its links made the site's own, so that the first screen is written once."""
    text = readme.read_text(encoding="utf-8").replace("](docs/", "](")
    return text.replace("[CITATION.cff](CITATION.cff)", "`CITATION.cff`")


def _shown(docs: Path) -> str:
    """The picture that each method's page begins with, and the words below it."""
    from relprop.methods.registry import METHODS

    found = []
    for name in METHODS:
        title, picture, words, *_ = (
            (docs / "methods" / f"{name}.md").read_text(encoding="utf-8").split("\n\n")
        )
        if f"method-{name}." not in picture:  # it shows another's
            continue
        words = words.replace("](#", f"]({name}.md#").replace("](", "](methods/")
        heading = f"### [{title.removeprefix('# ')}](methods/{name}.md)"
        found += [heading, picture.replace("../gallery", "gallery"), words]
    return "\n\n".join(found)


def _table(what: str, entries: dict[str, str], folder: Path) -> str:
    rows = [f"| {what} | what it does |", "| --- | --- |"]
    for name, text in entries.items():
        linked = f"[`{name}`]({name}.md)" if (folder / f"{name}.md").is_file() else f"`{name}`"
        rows.append(f"| {linked} | {text.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)
