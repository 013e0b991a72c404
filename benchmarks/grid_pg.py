"""GridPG, DiFull and DiPart as papers report them: quartiles over cells, beside the mean with its interval.

    relprop benchmark benchmarks/grid_pg_photographs.toml --data ~/imagenet --out out/grids
    python benchmarks/grid_pg.py out/grids/results.sqlite

Any results of a recipe with the metric `grid-pg` will do, those of a run that is still going on, too. The mean
is over all cells that were asked, its interval a 95 % percentile bootstrap over grids; the quartiles are over
cells, as in the box plots of Rao et al. 2022; the last column says how often no other cell holds as much as the
class's own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.common import markdown
from relprop.benchmark.record import Record
from relprop.benchmark.store import Store

HEAD = ("map", "mean [95 %]", "median [quartiles]", "own cell has most", "cells", "grids")
DRAWS = 2000


def table(records: Iterable[Record]) -> str:
    """A line a method, best mean first.

    >>> one = Record("a", 0, "x", "grid-pg", {"share": 0.5, "most": 1.0})
    >>> print(table([one]).splitlines()[-1])
    | x   | 50.0 [50.0, 50.0] | 50.0 [50.0, 50.0]  | 100.0             | 1     | 1     |
    """
    cells: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for record in records:
        if record.metric == "grid-pg" and record.values:
            pair = record.values["share"], record.values["most"]
            cells.setdefault(record.method, {}).setdefault(record.image, []).append(pair)
    rows = []
    for method, grids in cells.items():
        values = 100 * np.array([pair for pairs in grids.values() for pair in pairs])
        sums = np.array([[100 * sum(share for share, _ in pairs), len(pairs)] for pairs in grids.values()])
        draws = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
        drawn = sums[draws].sum(1)
        low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
        first, middle, third = np.quantile(values[:, 0], (0.25, 0.5, 0.75))
        mean, most = values.mean(0)
        rows.append(
            (
                -mean,
                [
                    method,
                    f"{mean:.1f} [{low:.1f}, {high:.1f}]",
                    f"{middle:.1f} [{first:.1f}, {third:.1f}]",
                    f"{most:.1f}",
                    len(values),
                    len(sums),
                ],
            )
        )
    return markdown(HEAD, [row for _, row in sorted(rows, key=lambda entry: entry[0])])


def main() -> None:
    """Print a table for each file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="results.sqlite of a benchmark")
    for path in parser.parse_args().results:
        with Store(path, None) as store:
            print(f"\n{path}\n\n{table(store.records())}")


if __name__ == "__main__":
    main()
