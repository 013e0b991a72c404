"""Why one detection has its class and its box, as pieces of HTML: maps with sliders, and cells with arrows."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from relprop.viz.colour import colourise
from relprop.viz.detection import NEAR, BoxMap, CellMap, DetectionPage
from relprop.viz.detection_frame import Crop
from relprop.viz.embedded import embedded_picture
from relprop.viz.scale import Limit, limits
from relprop.viz.slider import slider_html

__all__ = ["DETECTION_STYLE", "class_maps_html", "edges_html", "table_html"]

#: The style of what is made here: once a page.
DETECTION_STYLE = """<style>
.relprop-row{display:flex;flex-wrap:wrap;gap:22px;align-items:flex-start}
.relprop-row>section{flex:0 1 300px;min-width:0}
.relprop-edges{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,150px),1fr))}
.relprop-row h4{margin:0 0 6px;font-size:15px}
.relprop-row p{font-size:14px;line-height:1.4;margin:6px 0}
.relprop-row .relprop-lines,.relprop-lines li{list-style:none!important;margin:3px 0!important;
 padding:0!important;font-size:13px;line-height:1.35;opacity:.9}
.relprop-cells{display:block;width:100%;height:auto;max-height:340px;border-radius:3px;background:#fff}
.relprop-table{overflow-x:auto}
.relprop-table table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
.relprop-table :is(th,td){padding:3px 10px 3px 0;text-align:left;vertical-align:top;border-bottom:1px solid #8884}
.relprop-table .right{text-align:right}
</style>"""

_STANDS_OUT = "#a0f"  # the edge that a map is about: neither red nor blue
_WHITEN = 0.55  # how far the picture beneath cells goes towards white


def class_maps_html(page: DetectionPage) -> str:
    """The class maps of a page side by side, each over the picture with a slider, near and, of the first, whole.

    Args:
        page: what `detection_figure` draws; colours share one scale, as there.
    """
    found = limits([m.heatmap for m in page.classes], "shared", signed=[m.signed for m in page.classes])
    near = page.frame.view(NEAR, page.near)
    parts = [_map(page, m, limit, near) for m, limit in zip(page.classes, found, strict=True)]
    if page.near is not None:
        whole = BoxMap(page.classes[0].heatmap, "the same, whole picture", (), page.classes[0].signed)
        parts.append(_map(page, whole, found[0], page.frame.view(NEAR)))
    return f'<div class="relprop-row">{"".join(parts)}</div>'


def edges_html(page: DetectionPage, words: Sequence[str] = ()) -> str:
    """What pulls each edge: its cells with arrows where they were measured, a sentence, and its map.

    Args:
        page: what `detection_figure` draws; a map is as strong as its edge moved, as there.
        words: a sentence an edge, or none.
    """
    near = page.frame.view(NEAR, page.near)
    found = limits([m.heatmap for m in page.edges], signed=[m.signed for m in page.edges])
    parts = []
    for k, (m, limit) in enumerate(zip(page.edges, found, strict=True)):
        above = ""
        side = k if len(page.edges) == 4 and m.title.endswith("edge") else None
        if page.cells:
            above = _cells(page, page.cells[k], side, bool(words))
        said = f"<p>{html.escape(words[k])}</p>" if words else ""
        title = page.cells[k].title if page.cells else m.title
        parts.append(_map(page, m, limit, near, title, above + said, side))
    return f'<div class="relprop-row relprop-edges">{"".join(parts)}</div>'


def table_html(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of words.

    Args:
        headers: one a column.
        rows: each as long as the headers.
        right: the columns of numbers.

    >>> table_html(["a", "b"], [["<", "1"]], (1,)).count('class="right"')
    2
    """

    def cells(row: Sequence[str], tag: str) -> str:
        sides = [' class="right"' if k in right else "" for k in range(len(row))]
        return "".join(
            f"<{tag}{side}>{html.escape(text)}</{tag}>" for side, text in zip(sides, row, strict=True)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    head = f"<thead><tr>{cells(headers, 'th')}</tr></thead>"
    return f'<div class="relprop-table" tabindex="0"><table>{head}<tbody>{body}</tbody></table></div>'


def _map(
    page: DetectionPage,
    m: BoxMap,
    limit: Limit,
    view: Crop,
    title: str = "",
    above: str = "",
    side: int | None = None,
) -> str:
    values = view.lay(m.heatmap) * m.share
    drawn = Limit(limit.value, limit.peak * m.share, limit.signed)
    # The legend says what the colours stand for.
    kept = [line for line in m.lines if not line.startswith("red: ")]
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in kept)
    slider = slider_html(
        values, _bytes(view.photo(page.picture)), alt=f"{m.title}: map over the picture", limit=drawn,
        signed=m.signed, boxes=[view.boxes(page.localised).tolist()], over=_over(page, view, side), ends=m.ends,
        script=False,
    )  # fmt: skip
    listed = f'<ul class="relprop-lines">{lines}</ul>' if lines else ""
    return f"<section><h4>{html.escape(title or m.title)}</h4>{above}{slider}{listed}</section>"


def _bytes(colours: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(colours.clip(0, 1) * 255), dtype=np.uint8)


def _over(page: DetectionPage, view: Crop, side: int | None) -> str:
    """Dashed where the box started; one of its sides stands out."""
    tall, wide = view.size
    drawn = "" if page.default_box is None else _rect(view, page.default_box, 'stroke-dasharray="5 4"', 1.2)
    drawn += _side(view, page.localised, side)
    return (
        f'<svg viewBox="0 0 {wide} {tall}" preserveAspectRatio="none" aria-hidden="true" '
        f'style="position:absolute;inset:0;width:100%;height:100%">{drawn}</svg>'
    )


def _rect(view: Crop, box: Sequence[float], how: str, thick: float) -> str:
    x0, y0, x1, y1 = view.boxes(box).tolist()
    place = f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="none"'
    lines = [("#fff", thick + 2, ""), ("#111", thick, how)]
    return "".join(
        f'<rect {place} stroke="{colour}" stroke-width="{width}" vector-effect="non-scaling-stroke" {more}/>'
        for colour, width, more in lines
    )


def _side(view: Crop, box: Sequence[float], side: int | None) -> str:
    """The left, top, right or bottom edge of a box, thick."""
    if side is None:
        return ""
    x0, y0, x1, y1 = view.boxes(box).tolist()
    ends = [(x0, y0, x0, y1), (x0, y0, x1, y0), (x1, y0, x1, y1), (x0, y1, x1, y1)][side]
    place = " ".join(f'{name}="{v:.1f}"' for name, v in zip(("x1", "y1", "x2", "y2"), ends, strict=True))
    return "".join(
        f'<line {place} stroke="{colour}" stroke-width="{thick}" vector-effect="non-scaling-stroke"/>'
        for colour, thick in (("#fff", 8), (_STANDS_OUT, 5))
    )


def _cells(page: DetectionPage, cells: CellMap, side: int | None, spoken: bool) -> str:
    view = page.cells_view
    tall, wide = view.size
    photo = view.photo(page.picture)
    grey = np.repeat(photo.mean(2, keepdims=True), 3, axis=2)
    under = embedded_picture(_bytes(grey + _WHITEN * (1 - grey)), side=max(tall, wide))
    shades = colourise(cells.values[None], page.cells_limit.value)[0]
    drawn = []
    for box, shade, text in zip(view.boxes(cells.boxes).tolist(), shades.tolist(), cells.texts, strict=True):
        x0, y0, x1, y1 = box
        size = min(17.0, 0.55 * (y1 - y0), 0.42 * (x1 - x0))
        drawn.append(
            f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" '
            f'fill="rgb({",".join(map(str, shade))})" fill-opacity=".72" stroke="#fff" stroke-width="1"/>'
        )
        if text:
            drawn.append(
                f'<text x="{(x0 + x1) / 2:.1f}" y="{(y0 + y1) / 2:.1f}" font-size="{size:.1f}" fill="#111" '
                'font-family="system-ui,sans-serif" font-weight="700" text-anchor="middle" '
                'dominant-baseline="central" stroke="#fff" stroke-width="3" paint-order="stroke">'
                f"{html.escape(text)}</text>"
            )
    said = html.escape("; ".join([cells.title, *cells.lines]))
    lines = "" if spoken else "".join(f"<li>{html.escape(line)}</li>" for line in cells.lines)
    return (
        f'<svg class="relprop-cells" viewBox="0 0 {wide} {tall}" role="img" aria-label="{said}">'
        f'<image href="{under}" width="{wide}" height="{tall}"/>{"".join(drawn)}'
        f"{_rect(view, page.localised, '', 1.2)}{_side(view, page.localised, side)}</svg>"
        + (f'<ul class="relprop-lines">{lines}</ul>' if lines else "")
    )
