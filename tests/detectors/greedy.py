"""Non-maximum suppression as it is told: one box after the other, each class for itself."""

from __future__ import annotations

from torch import Tensor

__all__ = ["greedy"]


def greedy(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> list[int]:
    """Indices of the kept boxes, best first; boxes (n, 4) are corners."""
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        rivals = [k for k in kept if labels[k] == labels[i]]
        if all(_overlap(boxes[i].tolist(), boxes[k].tolist()) <= threshold for k in rivals):
            kept.append(i)
    return kept


def _overlap(a: list[float], b: list[float]) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / both if both > 0 else 0.0
