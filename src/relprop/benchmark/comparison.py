"""Comparison: what two methods differ by in one column, and how surely."""

from __future__ import annotations

from dataclasses import dataclass

from relprop.benchmark.bootstrap import Estimate

__all__ = ["Comparison"]


@dataclass(frozen=True)
class Comparison:
    """Two methods over the pairs (picture, class) that both have a number for.

    Attributes:
        column: the column's id.
        one: a method.
        two: another one.
        difference: the mean of `one` less that of `two`, in the outcome's own unit, with its interval.
        differing: on how many pictures the two differ at all.
        p: two-sided p value, see `relprop.benchmark.significance.p_value`.
        corrected: the same after Holm's correction for all comparisons of the column.
        comparisons: how many these are.
        draws: number of bootstrap draws.
    """

    column: str
    one: str
    two: str
    difference: Estimate
    differing: int
    p: float
    corrected: float
    comparisons: int
    draws: int
