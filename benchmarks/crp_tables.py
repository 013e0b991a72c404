"""From records of scenes to tables: means with bootstrap intervals over scenes, printed and as CSV."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.common import markdown
from benchmarks.crp_maps import head_of
from benchmarks.crp_truth import STRIPS
from relprop.benchmark.bootstrap import Estimate, Pairs, Resampling
from relprop.detectors.scene_ssd import HEADS, Head

__all__ = ["LEAST_OFFSET", "offset_scores", "report", "values"]

OFFSETS = ("cx", "cy", "w", "h")
LEAST_OFFSET = 0.25  # a shift of 2.5 % of the anchor's side, or a size ratio of 1.05
TRUTH, GUESS = "the quarters' true effect", "geometry alone"
OTHER = "crp's map of the other axis"  # cy's for cx, h's for w: knows the places, not the offset

Records = Mapping[int, Sequence[Mapping[str, Any]]]
#: (question, score, method) → (scene, which of its values, value)
Values = dict[tuple[str, str, str], list[tuple[int, int, float]]]
Estimates = Mapping[tuple[str, str, str], Estimate]

_CLASS, _OFFSETS = "class", "offsets"
_RANK_BY, _HEADS = "rank agreement", "by head"


def _grid(head: Head) -> str:
    return f"{head.cells} x {head.cells}"


#: Question → title of its table, and its scores.
_TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    _CLASS: ("The class map and the object, %", ("positive relevance on it", "maximum on it")),
    _OFFSETS: (
        f"Offsets of at least {LEAST_OFFSET} in magnitude, % (rank: Spearman x 100)",
        ("axis", "direction", "rank", "top-1"),
    ),
    _RANK_BY: (
        "Rank agreement by offset and by its sign, Spearman x 100",
        (*OFFSETS, "centre above 0", "centre below 0", "size above 0", "size below 0"),
    ),
    _HEADS: (
        "By head: positive relevance of the class map on the object, %; of the offsets direction and rank",
        tuple(f"{_grid(s)} {what}" for what in ("on it", "direction", "rank") for s in HEADS),
    ),
}


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; 0 where one of the two is constant."""
    x, y = (r - r.mean() for r in (rankdata(a), rankdata(b)))
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else 0.0


def offset_scores(
    offset: str, value: float, changes: Sequence[float], relevance: Sequence[float], size: Sequence[float]
) -> dict[str, float]:
    """How well relevance in the four quarters (left, right, top, bottom) tells what they do to one offset.

    A quarter that is taken away and changes the offset by Δ had pushed it by -Δ; its true effect in the
    direction that the offset has taken is -sign(offset) Δ.

    Args:
        offset: cx, cy, w or h.
        value: of the offset.
        changes: Δ of each quarter.
        relevance: sum of each quarter, positive for the direction taken.
        size: sum of magnitudes of each quarter.

    Returns:
        "axis": share of `size` in the two quarters across which the offset is measured. "direction", for
        centres: whether the quarter on the side that the centre moved to has more relevance than the one
        opposite (1/2 for equals). "rank": Spearman's correlation with the true effects. "top-1": whether the
        most relevant quarter has the largest effect (k equals: 1/k).
    """
    sign = -1.0 if value < 0 else 1.0
    effects = [-sign * change for change in changes]
    low, high = (0, 1) if offset in ("cx", "w") else (2, 3)
    total = sum(size)
    scores = {"axis": (size[low] + size[high]) / total if total else 0.5}
    if offset in ("cx", "cy"):
        scores["direction"] = float(np.heaviside(sign * (relevance[high] - relevance[low]), 0.5))
    best = np.flatnonzero(np.asarray(relevance) == max(relevance))
    scores["rank"] = _spearman(relevance, effects)
    scores["top-1"] = float(int(np.argmax(effects)) in best) / len(best)
    return scores


def _guess(offset: str, value: float) -> list[float]:
    """What the quarters do by geometry: the side moved to pulls a centre; what is there widens."""
    sign = -1.0 if value < 0 else 1.0
    one = {"cx": [-1, 1, 0, 0], "cy": [0, 0, -1, 1], "w": [1, 1, 0, 0], "h": [0, 0, 1, 1]}[offset]
    return [sign * v for v in one]


def values(done: Records) -> Values:
    """Every single value behind the tables."""
    found: Values = defaultdict(list)
    for scene, records in done.items():
        for n, record in enumerate(records):
            head = _grid(head_of(record["anchor"]))
            for method, value in record["class"].items():
                found[_HEADS, f"{head} on it", method].append((scene, n, value))
            for part, score in zip(("class", "hit"), _TABLES[_CLASS][1], strict=True):
                for method, value in record[part].items():
                    found[_CLASS, score, method].append((scene, n, value))
            for method, label, offset, value, scores in _offsets(n, record["offsets"]):
                for score, number in scores.items():
                    found[_OFFSETS, score, method].append((scene, label, number))
                    if score in ("direction", "rank"):
                        found[_HEADS, f"{head} {score}", method].append((scene, label, number))
                if "rank" in scores:
                    sign = "below 0" if value < 0 else "above 0"
                    kind = "centre" if offset in ("cx", "cy") else "size"
                    for score in (offset, f"{kind} {sign}"):
                        found[_RANK_BY, score, method].append((scene, label, scores["rank"]))
    return found


def _offsets(n: int, o: Mapping[str, Any] | None) -> Iterator[tuple[str, int, str, float, dict[str, float]]]:
    """(method, which value, offset, its value, scores)."""
    for j, offset in enumerate(OFFSETS if o is not None else ()):
        assert o is not None
        value, changes = o["values"][j], o["changes"][j]
        if abs(value) < LEAST_OFFSET:
            continue

        def scored(relevance: Sequence[float], size: Sequence[float]) -> dict[str, float]:
            return offset_scores(offset, value, changes, relevance, size)  # noqa: B023 - used at once

        sign = -1.0 if value < 0 else 1.0
        truth = scored([-sign * c for c in changes], [abs(c) for c in changes])
        # By definition the effects agree with themselves.
        yield TRUTH, 4 * n + j, offset, value, {k: truth[k] for k in ("axis", "direction") if k in truth}
        yield GUESS, 4 * n + j, offset, value, scored(_guess(offset, value), o["area"])
        if "crp" in o["relevance"]:
            i = OFFSETS.index({"cx": "cy", "cy": "cx", "w": "h", "h": "w"}[offset])
            yield OTHER, 4 * n + j, offset, value, scored(o["relevance"]["crp"][i], o["size"]["crp"][i])
        for method, relevance in o["relevance"].items():
            yield method, 4 * n + j, offset, value, scored(relevance[j], o["size"][method][j])


def _interventions(done: Records) -> str:
    """Whether taking quarters away moves the offsets as geometry says."""
    every = [r["offsets"] for records in done.values() for r in records if r["offsets"]]
    if not every:
        return ""
    changes = np.array([o["changes"] for o in every])  # (n, offsets, strips)
    rows = [
        [f"{strip} taken away"]
        + [f"{changes[:, j, s].mean():+.2f} ({(changes[:, j, s] > 0).mean():.0%} up)" for j in range(4)]
        for s, strip in enumerate(STRIPS)
    ]
    title = f"**Mean change of the offsets, {len(every)} objects**"
    return f"{title}\n\n{markdown(['', *OFFSETS], rows)}"


def report(done: Records, methods: Sequence[str], path: Path, replicates: int = 1000) -> str:
    """The tables as Markdown; the same numbers as CSV at `path`."""
    found = values(done)
    resampling = Resampling([f"{i:07d}" for i in done], replicates)
    order = [TRUTH, GUESS, OTHER, *methods]
    pairs = {
        key: Pairs.of([(resampling.index[f"{i:07d}"], label, v) for i, label, v in rows])
        for key, rows in found.items()
    }
    made = {key: resampling.estimate(p, "pair") for key, p in pairs.items()}
    gaps = {
        key: resampling.difference(pairs[key[0], key[1], "crp"], p, "pair")
        for key, p in pairs.items()
        if (key[0], key[1], "crp") in pairs and key[2] != "crp"
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["question", "score", "method", "value", "low", "high", "values", "scenes",
                      "crp_less_this", "gap_low", "gap_high"])  # fmt: skip
        for question, (_, scores) in _TABLES.items():
            for key in [(question, score, m) for score in scores for m in order]:
                if key in made:
                    e, gap = made[key], gaps.get(key)
                    ends = (gap.value, gap.low, gap.high) if gap else ("", "", "")
                    out.writerow([*key, e.value, e.low, e.high, e.pairs, e.images, *ends])
    detections = sum(len(records) for records in done.values())
    head = (
        f"{len(done)} scenes, {detections} right detections. Intervals: bootstrap over scenes, 95 %. "
        "*: the paired difference to crp is not 0 at that level."
    )
    tables = (_table(question, made, gaps, order) for question in _TABLES)
    return "\n\n".join(block for block in (head, _interventions(done), *tables) if block)


def _table(question: str, made: Estimates, gaps: Estimates, order: Sequence[str]) -> str:
    title, scores = _TABLES[question]
    keys = [[(question, score, m) for score in scores] for m in order]
    rows = [
        [row[0][2], *(_cell(made[k], gaps.get(k)) if k in made else "" for k in row)]
        for row in keys
        if any(k in made for k in row)
    ]
    if not rows:
        return ""
    counts = [max((e.pairs for k, e in made.items() if k[:2] == (question, s)), default=0) for s in scores]
    head = ["method", *(f"{s} (n = {n})" for s, n in zip(scores, counts, strict=True))]
    return f"**{title}**\n\n{markdown(head, rows)}"


def _cell(e: Estimate, gap: Estimate | None) -> str:
    star = "*" if gap is not None and (gap.low > 0 or gap.high < 0) else ""
    return f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]{star}"
