"""Is the order of methods on photographs that of the drawn scenes? Rank correlations with intervals.

    python benchmarks/answer_order.py out/answers/scenes-scenes-resnet-3 out/answers/voc-squeezenet1_1
    python benchmarks/answer_order.py --scores energy rank -- SCENES... PHOTOGRAPHS

Folders are those of `answers.py`. For each pair of folders and each score, the methods that both have are
ordered by their means; Kendall's tau-b and Spearman's rho of the two orders. Intervals: pictures of both
folders are drawn with replacement, each on its own. They say what other pictures would change, and nothing of
other methods.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from benchmarks.answer_maps import CONTROLS, SQUARED
from benchmarks.common import markdown

__all__ = ["correlation", "draws", "main"]


def draws(
    records: Mapping[int, Sequence[Mapping[str, Any]]], methods: Sequence[str], score: str, replicates: int
) -> NDArray[np.float64]:
    """Means of each method, (1 + replicates, methods): of all pictures, then of each draw of them.

    Args:
        records: picture -> records of classes.
        methods: whose.
        score: of what is judged.
        replicates: number of draws.
    """
    pictures = sorted(records)
    sums, counts = np.zeros((len(pictures), len(methods))), np.zeros((len(pictures), len(methods)))
    for row, i in enumerate(pictures):
        for record in records[i]:
            for column, method in enumerate(methods):
                value = record["maps"].get(method, {}).get(score)
                if value is not None:
                    sums[row, column] += value
                    counts[row, column] += 1
    random = np.random.default_rng(0)
    weights = [np.ones(len(pictures))]
    weights += [
        np.bincount(random.integers(0, len(pictures), len(pictures)), minlength=len(pictures))
        for _ in range(replicates)
    ]
    drawn = np.array(weights, dtype=np.float64)
    found: NDArray[np.float64] = (drawn @ sums) / np.maximum(drawn @ counts, 1)
    return found


def correlation(one: NDArray[np.float64], two: NDArray[np.float64]) -> list[tuple[float, float, float]]:
    """Kendall's and Spearman's coefficients of two rows of draws: (value, low, high) each.

    >>> rows = np.array([[1.0, 2.0, 3.0]] * 3)
    >>> correlation(rows, rows), [round(v, 3) for v in correlation(rows, rows[:, [1, 0, 2]])[0]]
    ([(1.0, 1.0, 1.0), (1.0, 1.0, 1.0)], [0.333, 0.333, 0.333])
    """
    found = []
    for kind in (_kendall, _spearman):
        # A row of equal values has no order.
        values = [
            kind(a, b) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0 for a, b in zip(one, two, strict=True)
        ]
        low, high = np.quantile(values[1:], [0.025, 0.975])
        found.append((values[0], float(low), float(high)))
    return found


def _kendall(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(kendalltau(a, b).statistic)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _read(folder: Path, predicted: bool) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("part-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            one = json.loads(line)
            kept = [r for r in one["records"] if r["kind"] == "class" and (r["predicted"] or not predicted)]
            found[one["scene"]] = kept
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--scores", nargs="+", default=["energy", "rank", "hit near"])
    parser.add_argument("--least", type=int, default=10, help="records that a method needs in a folder")
    parser.add_argument("--predicted", action="store_true", help="predicted classes alone")
    parser.add_argument("--methods", nargs="*", help="only these")
    parser.add_argument("--replicates", type=int, default=1000)
    given = parser.parse_args(argv)
    every = {folder: _read(folder, given.predicted) for folder in given.folders}
    counts = {
        folder: {
            m: sum(m in r["maps"] for rows in found.values() for r in rows)
            for m in dict.fromkeys(m for rows in found.values() for r in rows for m in r["maps"])
        }
        for folder, found in every.items()
    }
    rows = []
    for one, two in combinations(given.folders, 2):
        methods = [
            m
            for m in counts[one]
            if min(counts[one][m], counts[two].get(m, 0)) >= given.least
            and m not in CONTROLS
            and not m.endswith(SQUARED)
            and (not given.methods or m in given.methods)
        ]
        for score in given.scores:
            a, b = (draws(every[f], methods, score, given.replicates) for f in (one, two))
            cells = [f"{v:.2f} [{low:.2f}, {high:.2f}]" for v, low, high in correlation(a, b)]
            rows.append([one.name, two.name, score, str(len(methods)), *cells])
    print(markdown(["one", "other", "score", "methods", "Kendall", "Spearman"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
