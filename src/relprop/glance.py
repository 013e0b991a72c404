"""Glance: small pieces of HTML by which a value shows itself in a notebook.

They take the colours of the page around them, light or dark, need no script, and still read where a code host
strips their styles.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Entry", "framed", "table_html"]

_RED, _BLUE, _GREY = "#c0392b", "#2f6fb3", "#8888"
_CELL = "padding:2px 10px;border:0;border-bottom:1px solid #8884;background:transparent"
_WIDE = 96  # CSS pixels of a whole bar


@dataclass(frozen=True)
class Entry:
    """A cell of a table.

    Attributes:
        text: what it says; it is escaped.
        faint: what stands smaller below it.
        bold: set apart.
        bar: a share from -1 to 1 that is drawn below the text: red, blue where negative. None: no bar.
    """

    text: str
    faint: str = ""
    bold: bool = False
    bar: float | None = None

    def html(self) -> str:
        """The cell's content."""
        text = html.escape(self.text)
        text = f"<b>{text}</b>" if self.bold else text
        if self.faint:
            text += f'<br><small style="opacity:.75">{html.escape(self.faint)}</small>'
        return text if self.bar is None else f"{text}{_bar(self.bar)}"


def table_html(
    head: Sequence[str], groups: Sequence[tuple[str, Sequence[Sequence[Entry | str]]]], words: int = 1
) -> str:
    """A table; each group of rows has a line with its name, "" for none.

    Args:
        head: above the columns.
        groups: name and rows.
        words: columns that are aligned left; the others hold numbers.

    >>> table_html(["class", "score"], [("", [["<b>", Entry("0.9", bold=True)]])]).count("&lt;b&gt;")
    1
    """

    def cell(tag: str, inside: str, column: int) -> str:
        side = "left" if column < words else "right"
        lines = "white-space:nowrap" if tag == "td" else "vertical-align:bottom"
        return f'<{tag} style="{_CELL};text-align:{side};{lines}">{inside}</{tag}>'

    top = "".join(cell("th", html.escape(name), k) for k, name in enumerate(head))
    body = []
    for name, rows in groups:
        if name:
            body.append(
                f'<tr><th colspan="{len(head)}" style="{_CELL};text-align:left;font-weight:normal;opacity:.75">'
                f"<i>{html.escape(name)}</i></th></tr>"
            )
        for row in rows:
            inside = [one.html() if isinstance(one, Entry) else html.escape(one) for one in row]
            body.append(f"<tr>{''.join(cell('td', text, k) for k, text in enumerate(inside))}</tr>")
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:4px 0;color:inherit;'
        f'font-variant-numeric:tabular-nums"><thead><tr>{top}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
    )


def framed(title: str, inside: str, said: Sequence[str] = (), folded: Sequence[str] = ()) -> str:
    """A value's whole HTML.

    Args:
        title: the line on top.
        inside: HTML below it.
        said: sentences below that.
        folded: sentences that a click unfolds.
    """
    below = "".join(_sentence(text) for text in said)
    if folded:
        below += f"<details><summary>notes</summary>{''.join(_sentence(text) for text in folded)}</details>"
    return f'<div class="relprop-glance">{_sentence(title, bold=True)}{inside}{below}</div>'


def _sentence(text: str, bold: bool = False) -> str:
    inside = html.escape(text)
    return f'<p style="margin:4px 0">{f"<b>{inside}</b>" if bold else inside}</p>'


def _bar(share: float) -> str:
    wide = min(abs(share), 1.0) * _WIDE
    return (
        f'<div aria-hidden="true" style="width:{_WIDE}px;height:5px;margin:2px 0 0 auto;background:{_GREY}">'
        f'<div style="width:{wide:.1f}px;height:5px;background:{_BLUE if share < 0 else _RED}"></div></div>'
    )
