"""Controls: rows that every method should beat, for they know nothing of what the network learned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from relprop.benchmark.record import Record
from relprop.metrics.energy import Energy
from relprop.metrics.metric import Metric
from relprop.metrics.removed_parts import RemovedParts

__all__ = ["best_squared", "raised", "squared_label", "squares"]


def raised(heat: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    r"""A map with its contrast raised and its signs kept, on another scale: no pixel's rank changes.

    .. math:: \operatorname{sign}(R_p) \left| R_p / \max_q |R_q| \right|^k

    Args:
        heat: (H, W).
        power: k.

    >>> raised(np.array([[-4.0, 2.0]]), 2).tolist()
    [[-1.0, 0.25]]
    """
    most = np.abs(heat).max()
    if power == 1 or most == 0:
        return heat
    return np.asarray(np.sign(heat) * np.abs(heat / most) ** power)


def squared_label(label: str) -> str:
    """The row of a method's map, squared."""
    return f"{label}, squared"


def squares(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics that squared maps are judged by: those that hold a map against a region, or a world's parts."""
    return {n: m for n, m in metrics.items() if hasattr(m, "region") or isinstance(m, RemovedParts)}


def best_squared(
    records: Iterable[Record], metrics: Mapping[str, Metric], methods: Sequence[str]
) -> str | None:
    """The method that is best in energy; in the first metric with a region where energy isn't measured.

    It can only be known when all is measured, so a squared map of every method is judged and this one is shown.

    Args:
        records: of methods and of their squared maps.
        metrics: by the recipe's label, in its order.
        methods: labels to choose from; the first of several that are as good is taken.

    Returns:
        The method's label; None where nothing tells.
    """
    judges = {n: m for n, m in metrics.items() if hasattr(m, "region")}
    name = next((n for n, metric in judges.items() if isinstance(metric, Energy)), next(iter(judges), None))
    if name is None:
        return None
    outcome = next((o for o in judges[name].outcomes if o.better), None)
    if outcome is None:
        return None
    sums: dict[str, dict[int, list[float]]] = {}
    for record in records:
        if record.metric == name and record.method in methods and outcome.key in record.values:
            classes = sums.setdefault(record.method, {})
            classes.setdefault(record.label if outcome.average == "class" else 0, []).append(
                record.values[outcome.key]
            )
    sign = 1 if outcome.better == "higher" else -1
    means = {m: sign * math.fsum(math.fsum(v) / len(v) for v in c.values()) / len(c) for m, c in sums.items()}
    return max((m for m in methods if m in means), key=lambda m: means[m], default=None)
