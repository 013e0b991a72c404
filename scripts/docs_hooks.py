"""Navigation of the documentation (fixed pages in order, folders as they are on disk), and tables of names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from docs_formulas import drawn

#: Section → pages in order; a folder (ending in /) stands for its index.md and its other pages by name. Pages
#: that are not there (benchmarks write some) are left out; pages that are not named here come last.
SECTIONS: list[tuple[str, list[str]]] = [
    (
        "Start",
        [
            "index.md",
            "gallery.md",
            "quickstart.md",
            "many.md",
            "which-method.md",
            "something-else.md",
            "words.md",
            "command-line.md",
            "facts.md",
            "detectors.md",
            "detectors/",
            "detect.md",
            "detect-report.md",
            "measured.md",
            "video.md",
            "affine.md",
            "reports.md",
            "report-file.md",
            "app.md",
            "notebooks.md",
        ],
    ),
    (
        "Understand",
        ["trust.md", "adds-up.md", "compatibility.md", "coverage.md", "speed.md", "troubleshooting.md"],
    ),
    ("Methods", ["methods/"]),
    ("Rules", ["rules/"]),
    ("Judge", ["benchmark.md", "ceilings.md", "datasets.md", "real-pictures.md", "cluster.md"]),
    ("Metrics", ["metrics/"]),
    (
        "Extend",
        [
            "write-a-rule.md",
            "write-a-method.md",
            "write-a-metric.md",
            "write-a-data-set.md",
            "python.md",
            "from-captum.md",
            "service.md",
            "development.md",
        ],
    ),
    ("Sources", ["sources.md"]),
]


def on_config(config: Any) -> Any:
    """Build the navigation from `SECTIONS` and what lies in the folders."""
    docs = Path(config["docs_dir"])
    sections = [(title, [p for page in pages for p in _pages(docs, page)]) for title, pages in SECTIONS]
    named = {page for _, pages in sections for page in pages}
    rest = sorted({p.name for p in docs.glob("*.md")} - named)
    config["nav"] = [{title: pages} for title, pages in [*sections, ("More", rest)] if pages]
    return config


def _pages(docs: Path, page: str) -> list[str]:
    if not page.endswith("/"):
        return [page] if (docs / page).is_file() else []
    found = sorted(p.name for p in (docs / page).glob("*.md"))
    found.sort(key=lambda name: name != "index.md")
    return [page + name for name in found]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the tables from the registries, and point to the measured coverage where it is."""
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
    return drawn(markdown)


def _front(readme: Path) -> str:
    """README.md, its links made the site's own, so that the first screen is written once."""
    text = readme.read_text(encoding="utf-8").replace("](docs/", "](")
    return text.replace("[CITATION.cff](CITATION.cff)", "`CITATION.cff`")


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
