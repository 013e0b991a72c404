"""Predictions: what the model said, as a table and as plain values."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from relprop.models.classes import Prediction
from relprop.reports.text import Table

__all__ = ["predictions_facts", "predictions_table"]


def predictions_table(found: Sequence[Prediction], top: int, chosen: Collection[int], kind: str) -> Table:
    """The best, and those that are explained, which an arrow points at; `kind` heads the scores."""
    shown = [*found[:top], *(p for p in found[top:] if p.index in chosen)]
    rows = [
        [
            "→" if p.index in chosen else "",
            str(p.index),
            p.name,
            f"{p.output:.3f}".replace("-", "−"),
            "" if math.isnan(p.score) else f"{100 * p.score:.1f} %",
        ]
        for p in shown
    ]
    return Table(["", "class", "name", "output", kind], rows, (1, 3, 4))


def predictions_facts(found: Sequence[Prediction], top: int) -> list[dict[str, Any]]:
    """The best, for a document."""
    return [{"index": p.index, "name": p.name, "output": p.output, "score": p.score} for p in found[:top]]
