"""Pairs: every two methods held against each other, column by column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from relprop.benchmark.bootstrap import Resampling
from relprop.benchmark.columns import Column
from relprop.benchmark.comparison import Comparison
from relprop.benchmark.held import Held
from relprop.benchmark.legend import NONE, interval, shown
from relprop.benchmark.markdown import escaped, row
from relprop.benchmark.paired import Paired
from relprop.benchmark.record import Record
from relprop.benchmark.significance import holm, least_draws, p_value
from relprop.benchmark.table import Table
from relprop.metrics.metric import Metric

__all__ = ["compare", "pairs_csv", "pairs_markdown", "statements"]

_MOST = 2 * 10**8  # pictures × draws: what takes a minute or so a column
_WITH_INTERVALS = 8  # methods; a matrix of more is too wide to hold them
_NAMED = 5  # methods in a sentence

_FIELDS = (
    "metric key subset one two difference low high pairs images differing p p_holm comparisons draws better"
).split()


def compare(records: Iterable[Record], metrics: Mapping[str, Metric], table: Table) -> tuple[Comparison, ...]:
    """Every two methods of a table in each column to look at that has a better side; controls aren't compared.

    So many draws are made that the smallest p value they can give survives the correction (`least_draws`); fewer
    on many thousands of pictures.

    Args:
        records: what the table was made from.
        metrics: by the recipe's label.
        table: whose methods and columns are compared, with its seed and level.
    """
    held = Held(records, metrics, table.methods)
    index = Resampling(sorted(held.images), 1, table.seed)
    found: dict[str, tuple[Paired, list[tuple[str, str]]]] = {}
    for column in table.main:
        outcome = metrics[column.metric].outcome(column.key)
        filled = [m for m in table.judged if table.cell(m, column).pairs]
        two = list(combinations(filled, 2)) if column.better else []
        if two:
            pairs = {m: held.pairs(m, column.metric, column.key, column.subset, index) for m in filled}
            found[column.id] = Paired(pairs, outcome.average, two), two
    most = max((len(two) for _, two in found.values()), default=0)
    if not most:
        return ()
    draws = max(table.replicates, min(least_draws(most, table.level), _MOST // len(index.images)))
    for part in Resampling.parts(index.images, draws, table.seed):
        for paired, _ in found.values():
            paired.draw(part)
    made: list[Comparison] = []
    for name, (paired, two) in found.items():
        apart = [paired.differing(*pair) for pair in two]
        values = [p_value(paired.gaps(*pair), n) for pair, n in zip(two, apart, strict=True)]
        for pair, n, p, corrected in zip(two, apart, values, holm(values), strict=True):
            difference = paired.difference(*pair, table.level)
            made.append(Comparison(name, *pair, difference, n, p, corrected, len(two), draws))
    return tuple(made)


def statements(table: Table) -> Iterator[str]:
    """Sentences: how comparisons were made, and in each column of all pairs what the best method is ahead of."""
    if not table.comparisons:
        return
    alpha = 1 - table.level
    counts = sorted({c.comparisons for c in table.comparisons})
    numbers = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    numbers += " comparison" if counts == [1] else " comparisons"
    draws = table.comparisons[0].draws
    yield (
        f"Ahead, below: a paired difference between methods with p ≤ {alpha:.2g} after Holm's correction for the "
        f"{numbers} of its column (two-sided, bootstrap over pictures, {draws} draws: no p below "
        f"{2 / (draws + 1):.1g} before the correction; not corrected for the number of columns)."
    )
    for column in table.main:
        if column.subset == "all" and (sentence := _ahead(table, column, alpha)):
            yield f"{column.name}: {sentence}."


def _ahead(table: Table, column: Column, alpha: float) -> str:
    ranked = _ranked(table, column)
    own = [c for c in table.comparisons if c.column == column.id]
    if not own:
        return ""
    if all(c.corrected > alpha for c in own):
        pictures = max(c.differing for c in own)
        count = "1 comparison" if len(own) == 1 else f"{len(own)} comparisons"
        few = len(own) * 2.0 ** (1 - pictures) > alpha
        why = f": too few pictures differ ({pictures} at most) for {count}" if few else ""
        return f"no two methods can be told apart{why}"
    top = [m for m in ranked if table.cell(m, column).value == table.cell(ranked[0], column).value]
    others = [m for m in ranked if m not in top]
    # What the best differs from for sure; of several that are as good, what each of them does.
    sure = {frozenset((c.one, c.two)) for c in own if c.corrected <= alpha}
    level = [m for m in others if any(frozenset((best, m)) not in sure for best in top)]
    who = f"{top[0]} is" if len(top) == 1 else f"{_listed(top)} are as good as each other and"
    if not others:
        return "all methods are as good as each other"
    if not level:
        return f"{who} ahead of {'the other' if len(others) == 1 else f'all {len(others)} others'}"
    ahead = f"{len(others) - len(level)} of {len(others)} others"
    return f"{who} ahead of {ahead}, not told apart from {_listed(level)}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def pairs_csv(table: Table) -> str:
    """One line a comparison, every digit kept; shares are 0 to 1. `p_holm` is corrected within the column."""
    columns = {c.id: c for c in table.columns}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_FIELDS)
    for c in table.comparisons:
        column, gap = columns[c.column], c.difference
        writer.writerow(
            [
                *(column.metric, column.key, column.subset, c.one, c.two),
                *("" if n != n else repr(n) for n in (gap.value, gap.low, gap.high)),
                *(gap.pairs, gap.images, c.differing, repr(c.p), repr(c.corrected), c.comparisons, c.draws),
                column.better,
            ]
        )
    return buffer.getvalue()


def pairs_markdown(table: Table) -> str:
    """A matrix a column: the row's mean less the column's, best method first."""
    lines = [f"# {escaped(table.title)}: methods in pairs" if table.title else "# Methods in pairs", ""]
    if not table.comparisons:
        return "\n".join([*lines, "There are no two methods to compare.", ""])
    alpha = 1 - table.level
    draws = table.comparisons[0].draws
    said = (
        "Each number is the mean of the method at the left less the mean of the one above, over the pairs "
        f"(picture, class) that both have. `*`: p ≤ {alpha:.2g} after Holm's correction for all comparisons of "
        "the column; columns are not corrected for each other. p values are two-sided, from a bootstrap over "
        f"pictures with {draws} draws, which can give none below 2/{draws + 1}; on n pictures that differ none is "
        "below 2^(1−n). They are approximate, and a little too small for few pictures. `pairs.csv` has every "
        "interval and p value."
    )
    lines += [said, ""]
    for column in table.main:
        own = {(c.one, c.two): c for c in table.comparisons if c.column == column.id}
        if own:
            lines += _matrix(table, column, own, alpha)
    return "\n".join(lines)


def _matrix(
    table: Table, column: Column, own: Mapping[tuple[str, str], Comparison], alpha: float
) -> list[str]:
    ranked = _ranked(table, column)
    hint = " · ".join(["percentage points" if column.percent else "", f"{column.better} is better"]).strip(
        " ·"
    )
    lines = [f"## {escaped(column.title)} ({hint}; {len(own)} comparisons)", ""]
    lines += [row(["", *map(escaped, ranked)]), row([":---", *("---:" for _ in ranked)])]
    for one in ranked:
        cells = [_cell(own, one, two, column, alpha, len(ranked) <= _WITH_INTERVALS) for two in ranked]
        lines.append(row([escaped(one), *cells]))
    return [*lines, ""]


def _cell(
    own: Mapping[tuple[str, str], Comparison],
    one: str,
    two: str,
    column: Column,
    alpha: float,
    intervals: bool,
) -> str:
    if one == two:
        return ""
    turned = (one, two) not in own
    found = own[(two, one) if turned else (one, two)]
    sign, gap = -1 if turned else 1, found.difference
    if not gap.pairs:
        return NONE
    text = _signed(sign * gap.value, column.percent) + ("\\*" if found.corrected <= alpha else "")
    if intervals:
        low, high = (-gap.high, -gap.low) if turned else (gap.low, gap.high)
        text += f" {interval(low, high, column.percent)}"
    return text


def _signed(value: float, percent: bool) -> str:
    text = shown(value, percent)
    return text if text.startswith("−") or not text.strip("0.") else f"+{text}"


def _ranked(table: Table, column: Column) -> list[str]:
    """Methods with a number, the best first."""
    filled = [m for m in table.judged if table.cell(m, column).pairs]
    sign = 1 if column.better == "lower" else -1
    return sorted(filled, key=lambda m: sign * table.cell(m, column).value)
