"""Run random networks of given seeds, and say all that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.fuzz.generator import GROUPS, draw, write
from tests.fuzz.operators import OPERATORS
from tests.fuzz.properties import Verdict, check

__all__ = ["EXACT", "OTHERS", "all_right"]

COUNT = 150
_SEEDS = range(max(COUNT, len(GROUPS)))
EXACT = [s for s in _SEEDS if all("exact" in OPERATORS[n].facts for n in GROUPS[s % len(GROUPS)])]
"""Seeds whose networks are affine maps, ReLUs and maxima; with `OTHERS` they go through the whole table."""
OTHERS = [s for s in _SEEDS if s not in EXACT]


def all_right(seeds: Iterable[int]) -> list[Verdict]:
    """Judge the networks; fails with number, code and findings of each that is not right."""
    verdicts, wrong = [], []
    for seed in seeds:
        recipe = draw(seed)
        verdict = check(recipe)
        verdicts.append(verdict)
        if verdict.findings:
            found = "\n".join(f"{f.property}: {f.text}" for f in verdict.findings)
            wrong.append(f"seed {seed}, {recipe.operators}\n{found}\n{write(recipe).source}")
    if wrong:
        pytest.fail("\n\n".join(wrong))
    return verdicts
