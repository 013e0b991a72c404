"""Legend: how numbers are written in a table, and the sentences that say what its signs mean."""

from __future__ import annotations

import math
from collections.abc import Iterator

from relprop.benchmark.table import Cell, Table

__all__ = ["NONE", "UNBEATEN", "gaps", "interval", "legend", "published_heading", "share", "shown"]

NONE = "–"
"""Stands for a number or an interval that there is no such thing as."""

UNBEATEN = "†"
"""Stands behind a method's number where some control isn't beaten."""

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def shown(value: float, percent: bool) -> str:
    """A number as tables print it: one decimal of a percentage; else three decimals, or an exponent.

    >>> shown(0.7119, True), shown(0.5, False), shown(-3e-8, False), shown(0.0, False), shown(math.nan, True)
    ('71.2', '0.500', '−3.0e-08', '0', '–')
    """
    if math.isnan(value):
        return NONE
    if percent:
        text = f"{100 * value:.1f}"
    elif value == 0:
        text = "0"
    elif 0.0095 <= abs(value) < 1000:
        text = f"{value:.3f}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−", 1) if value < 0 and text.strip("-0.") else text.lstrip("-")


def interval(low: float, high: float, percent: bool) -> str:
    """An interval in square brackets; a dash in them where there is none.

    >>> interval(0.25, 0.75, True), interval(math.nan, math.nan, True)
    ('[25.0, 75.0]', '[–]')
    """
    if math.isnan(low):
        return f"[{NONE}]"
    return f"[{shown(low, percent)}, {shown(high, percent)}]"


def share(cell: Cell) -> str:
    """The share of the ceiling in round brackets; empty where no ceiling is known."""
    return "" if cell.share is None else f"({100 * cell.share.value:.0f} %)".replace("-", "−")


def gaps(table: Table) -> dict[str, str]:
    """What stands where a number is missing, by the reason: `n/a`, with a raised number where reasons differ."""
    reasons = dict.fromkeys(
        cell.missing for c in table.main for m in table.rows if (cell := table.cell(m, c)).missing
    )
    if len(reasons) == 1:
        return dict.fromkeys(reasons, "n/a")
    return {reason: f"n/a{str(k).translate(_RAISED)}" for k, reason in enumerate(reasons, 1)}


def legend(table: Table, best: str) -> Iterator[str]:
    """Sentences about the signs that the table holds. `best` tells how the best of a column is set apart."""
    for reason, sign in gaps(table).items():
        yield f"{sign}: {reason}."
    if best and any(table.best(column) for column in table.main):
        alone = ", looked for among methods alone" if len(table.groups) > 1 else ""
        yield f"{best}: best of the column{alone}."
    cells = [table.cell(m, c) for c in table.main for m in table.rows]
    if any(cell.unbeaten for cell in cells):
        rivals = [c for c in table.controls if c != table.oracle]
        yield (
            f"{UNBEATEN}: doesn't beat every control ({'; '.join(rivals)}) in this column: the "
            f"{100 * table.level:g} % interval of some paired difference holds 0 or lies on the wrong side, or "
            "too few pictures differ."
        )
    if table.oracle:
        yield f"{table.oracle} is told the answer; no method has to beat it."
    if any(cell.share is not None for cell in cells):
        yield (
            f"(… %): share of the ceiling, which is the number of {table.ceiling} on the same pairs. Above 100 a "
            "map claims more than that."
        )


def published_heading(table: Table) -> str:
    """The sentence above published numbers: whose they are, and that they are another network's."""
    network = f" on {table.network}" if table.network else ", on a network that isn't named"
    source = f" Source: {table.source}." if table.source else ""
    return (
        f"Published numbers, measured by others{network}.{source} Not comparable with the numbers of this table "
        "unless network, weights and pictures are the same."
    )
