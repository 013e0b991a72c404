"""Tables of `answers.py`: means with 95 % bootstraps over pictures, and paired differences."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import markdown
from relprop.benchmark.bootstrap import Estimate, Pairs, Resampling

__all__ = ["Scores", "cell", "report", "scores_of"]

CLASS = ("energy", "near", "rank", "hit", "hit near")
PAIR = ("energy A", "energy B", "wrong A", "wrong B", "rank A", "rank B", "hit near A", "hit near B")
WORLD = "the world"

Done = Mapping[int, Sequence[Mapping[str, Any]]]


class Scores:
    """Numbers of maps, picture by picture.

    Args:
        done: picture -> records.
        kind: "class" or "pair".
        predicted: leave out classes that the network doesn't predict.
        replicates: of the bootstrap.
    """

    def __init__(self, done: Done, kind: str, *, predicted: bool = False, replicates: int = 1000) -> None:
        self.resampling = Resampling([f"{i:07d}" for i in sorted(done)], replicates)
        rows: dict[tuple[str, str], list[tuple[int, int, float]]] = defaultdict(list)
        self.records = 0
        for i, records in done.items():
            at = self.resampling.index[f"{i:07d}"]
            own = [r for r in records if r["kind"] == kind and (r["predicted"] or not predicted)]
            for n, record in enumerate(own):
                self.records += 1
                for method, scores in record["maps"].items():
                    for score, value in scores.items():
                        rows[method, score].append((at, n, value))
                for name, value in (record["world"] or {}).items():
                    if not isinstance(value, float):
                        continue
                    if kind == "pair":
                        rows[WORLD, name].append((at, n, value))
                    else:
                        rows[f"{WORLD}: {name}", "energy"].append((at, n, value))
        self.pairs = {key: Pairs.of(values) for key, values in rows.items()}
        self.methods = list(dict.fromkeys(method for method, _ in rows))

    def estimate(self, method: str, score: str) -> Estimate | None:
        """A mean with its interval, None where it wasn't measured."""
        found = self.pairs.get((method, score))
        return None if found is None else self.resampling.estimate(found, "pair")

    def difference(self, one: str, two: str, score: str) -> Estimate | None:
        """A paired difference, None where either wasn't measured."""
        a, b = self.pairs.get((one, score)), self.pairs.get((two, score))
        return None if a is None or b is None else self.resampling.difference(a, b, "pair")

    def order(self, score: str) -> list[str]:
        """Methods, the best first."""
        return sorted(self.methods, key=lambda m: -(e.value if (e := self.estimate(m, score)) else -1))


def scores_of(done: Done, kind: str = "class", *, predicted: bool = False) -> Scores:
    """The scores of what was measured."""
    return Scores(done, kind, predicted=predicted)


def cell(e: Estimate | None, sign: bool = False) -> str:
    """Per cent, with its interval."""
    if e is None:
        return ""
    plus = "+" if sign else ""
    return f"{100 * e.value:{plus}.1f} [{100 * e.low:{plus}.1f}, {100 * e.high:{plus}.1f}]"


def report(done: Done, out: Path, *, against: Sequence[str] = (), predicted: bool = False) -> str:
    """All tables as Markdown; the numbers as CSV beside the results."""
    blocks = []
    for kind, columns in (("class", CLASS), ("pair", PAIR)):
        scores = scores_of(done, kind, predicted=predicted)
        if not scores.records:
            continue
        order = scores.order("rank" if kind == "class" else "rank A")
        table = [[m, *(cell(scores.estimate(m, s)) for s in columns)] for m in order]
        blocks += [
            f"{len(done)} pictures, {scores.records} of kind '{kind}'. Per cent; brackets: 95 % intervals.",
            markdown(["map", *columns], table),
        ]
        for rival in against:
            gaps = [
                [m, *(cell(scores.difference(m, rival, s), True) for s in columns)]
                for m in order
                if m != rival
            ]
            blocks.append(f"**Less {rival}, paired**\n\n{markdown(['map', *columns], gaps)}")
        with (out / f"{kind}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["map", "score", "value", "low", "high", "pairs", "pictures"])
            for method in order:
                for score in columns:
                    e = scores.estimate(method, score)
                    if e is not None:
                        writer.writerow([method, score, e.value, e.low, e.high, e.pairs, e.images])
    return "\n\n".join(blocks)
