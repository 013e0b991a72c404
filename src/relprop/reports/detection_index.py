"""Index: one static page that leads to the pictures and pages of a detection report."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["Indexed", "index_html", "indexed"]

_STYLE = """
body { font: 15px/1.45 sans-serif; color: #222; margin: 24px auto; max-width: 1500px; padding: 0 16px; }
section { border-top: 1px solid #ccc; margin-top: 24px; padding-top: 8px; }
h2 { font-size: 17px; }
.row { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
.row > a { flex: 0 1 520px; }
.row > a img { max-height: 560px; width: auto; }
img { border: 1px solid #ccc; display: block; max-width: 100%; }
.found { flex: 1 1 420px; }
ol { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr));
  list-style: none; margin: 0; padding: 0; }
li img { height: 150px; object-fit: cover; object-position: left top; width: 100%; }
"""


@dataclass(frozen=True)
class Indexed:
    """A picture on the index.

    Attributes:
        name: its file.
        drawn: the picture with all boxes; a path from the index on, as the pages.
        found: a line for each detection.
        pages: of those explained, by the detection's number.
        others: of units that made no detection, by the words for them.
    """

    name: str
    drawn: Path
    found: Sequence[str]
    pages: Mapping[int, Path]
    others: Mapping[str, Path] = field(default_factory=dict)


def indexed(document: Mapping[str, Any]) -> Indexed:
    """The index's entry for a picture, from its part of the report's document."""
    found = [f"{d['index']}: {d['name']} {d['score']:.2f}" for d in document["detections"]]
    pages = {one["box"]: one["figure"] for one in document["explanations"] if one["box"] is not None}
    others = {
        f"anchor {one['anchor']}: {one['targets'][0]['name']} {one['targets'][0]['score']:.2f}": one["figure"]
        for one in document["explanations"]
        if one["box"] is None
    }
    return Indexed(str(document["image"]), document["drawn"], found, pages, others)


def index_html(pictures: Sequence[Indexed], title: str) -> str:
    """The page: each picture with its boxes, and what was explained of it. It needs no scripts and no network.

    >>> page = index_html([Indexed("a & b.png", Path("a b/detections.png"), ["0: dog 0.61"], {})], "Found")
    >>> "a &amp; b.png" in page, 'src="a%20b/detections.png"' in page
    (True, True)
    """
    sections = "\n".join(map(_section, pictures))
    count = sum(len(picture.found) for picture in pictures)
    explained = sum(len(picture.pages) + len(picture.others) for picture in pictures)
    head = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{head}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{head}</h1>\n"
        f"<p>{len(pictures)} pictures, {count} detections, {explained} explained.</p>\n"
        f"{sections}\n</body></html>\n"
    )


def _section(picture: Indexed) -> str:
    found = dict(enumerate(picture.found))
    pages = [(picture.pages[i], found.pop(i)) for i in sorted(picture.pages)]
    pages += [(page, line) for line, page in picture.others.items()]
    thumbs = "".join(f"<li>{_link(page, line)}</li>" for page, line in pages)
    rest = html.escape(" · ".join(found.values()))
    listed = (f"<ol>{thumbs}</ol>" if pages else "") + (f"<p>{rest}</p>" if rest else "")
    shown = _image(picture.drawn, picture.name)
    return (
        f'<section><h2 title="{html.escape(picture.name)}">{html.escape(Path(picture.name).name)}</h2>'
        f'<div class="row"><a href="{_url(picture.drawn)}">{shown}</a>'
        f'<div class="found">{listed or "<p>Nothing found.</p>"}</div></div></section>'
    )


def _link(page: Path, line: str) -> str:
    return f'<a href="{_url(page)}">{_image(page, line)}{html.escape(line)}</a>'


def _image(path: Path, words: str) -> str:
    return f'<img loading="lazy" src="{_url(path)}" alt="{html.escape(words)}">'


def _url(path: Path) -> str:
    return html.escape(quote(path.as_posix()))
