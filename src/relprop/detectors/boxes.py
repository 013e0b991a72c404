"""Boxes as corner coordinates: overlap, non-maximum suppression, and the code of SSD's four offsets."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from relprop import compat
from relprop.errors import InputError

__all__ = ["BoxCode", "iou", "nms"]

_COLUMNS = ("cx", "cy", "w", "h")
_LARGEST = math.log(1000.0 / 16.0)  # a decoded box is at most 62.5 times its anchor; exp can't overflow


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair; 0 where the union is empty.

    Args:
        a: (n, 4) boxes, x0, y0, x1, y1.
        b: (m, 4) boxes in the same unit.

    Returns:
        (n, m) in [0, 1].

    Raises:
        InputError: a table of boxes is not (n, 4).

    >>> iou(torch.tensor([[0., 0., 2., 2.]]), torch.tensor([[1., 0., 3., 2.], [5., 5., 6., 6.]])).tolist()
    [[0.3333333432674408, 0.0]]
    """
    _check("a", a, 2)
    _check("b", b, 2)
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    union = _area(a)[:, None] + _area(b)[None, :] - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(shared))


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Class-wise non-maximum suppression: a box goes where a better one of its class overlaps it by more.

    Of equal scores the lower index counts as the better one.

    Args:
        boxes: (n, 4) x0, y0, x1, y1.
        scores: (n,) higher is better.
        labels: (n,) boxes of different labels don't suppress each other.
        threshold: largest IoU that two kept boxes of one class may have.

    Returns:
        Indices of the kept boxes, int64, best first.

    Raises:
        InputError: the shapes don't fit together, or the threshold is outside [0, 1].

    >>> boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 9.], [0., 0., 10., 9.]])
    >>> nms(boxes, torch.tensor([0.8, 0.9, 0.7]), torch.tensor([1, 1, 2]), 0.5).tolist()
    [1, 2]
    """
    _check("boxes", boxes, 2)
    if scores.shape != boxes.shape[:1] or labels.shape != boxes.shape[:1]:
        raise InputError(
            f"Expected one score and one label for each of {len(boxes)} boxes but got shapes "
            f"{tuple(scores.shape)} and {tuple(labels.shape)}; pass both as ({len(boxes)},)."
        )
    if not 0.0 <= threshold <= 1.0:
        raise InputError(f"Expected a threshold from 0 to 1 but got {threshold!r}; 0.45 is SSD's.")
    kept = [torch.zeros(0, dtype=torch.int64, device=boxes.device)]
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        kept.append(mine[compat.nms(boxes[mine], scores[mine], threshold)])
    rows = torch.cat(kept).sort().values
    return rows[scores[rows].argsort(descending=True, stable=True)]


@dataclass(frozen=True)
class BoxCode:
    """The code of SSD and Faster R-CNN: four offsets relative to an anchor.

    With an anchor of centre (x_a, y_a) and size (w_a, h_a) and scales s, the offsets of a box are
    `s_0 (x - x_a) / w_a`, `s_1 (y - y_a) / h_a`, `s_2 log(w / w_a)`, `s_3 log(h / h_a)`.

    Args:
        scales: the four factors, always for cx, cy, w, h in this order; SSD's variances 0.1, 0.1, 0.2, 0.2 are
            10, 10, 5, 5.
        order: what each column of the offsets is; TensorFlow's SSD has ("cy", "cx", "h", "w").

    Raises:
        InputError: `order` is no arrangement of cx, cy, w, h, or a scale is not above 0.

    Source: Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016, equation 2.

    >>> code = BoxCode()
    >>> code.decode(torch.tensor([1., 0., 0., 0.]), torch.tensor([0., 0., 10., 20.])).tolist()
    [1.0, 0.0, 11.0, 20.0]
    """

    scales: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    order: tuple[str, str, str, str] = _COLUMNS

    def __post_init__(self) -> None:
        """Check both settings."""
        if sorted(self.order) != sorted(_COLUMNS):
            raise InputError(
                f"Expected an order of 'cx', 'cy', 'w', 'h' but got {self.order!r}; name each column once."
            )
        if len(self.scales) != 4 or not all(scale > 0 for scale in self.scales):
            raise InputError(f"Expected four scales above 0 but got {self.scales!r}; SSD has 10, 10, 5, 5.")

    def encode(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Return the offsets (..., 4) that lead from anchors (..., 4) to boxes (..., 4), all in pixels."""
        _check("boxes", boxes)
        _check("anchors", anchors)
        centre, size = _centre_and_size(boxes)
        centre_a, size_a = _centre_and_size(anchors)
        plain = torch.cat([(centre - centre_a) / size_a, torch.log(size / size_a)], dim=-1)
        coded = plain * plain.new_tensor(self.scales)
        return coded[..., [_COLUMNS.index(name) for name in self.order]]

    def decode(self, offsets: Tensor, anchors: Tensor) -> Tensor:
        """Return the boxes (..., 4), x0, y0, x1, y1 in pixels, that the offsets make of the anchors.

        Logarithms of size ratios are cut at log(1000 / 16), as torchvision does. Boxes are not cut at the
        picture's edge.
        """
        _check("offsets", offsets)
        _check("anchors", anchors)
        plain = offsets[..., [self.order.index(name) for name in _COLUMNS]] / offsets.new_tensor(self.scales)
        centre_a, size_a = _centre_and_size(anchors)
        centre = centre_a + plain[..., :2] * size_a
        half = size_a * plain[..., 2:].clamp(max=_LARGEST).exp() / 2
        return torch.cat([centre - half, centre + half], dim=-1)


def _centre_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=-1)


def _check(name: str, table: Tensor, rank: int | None = None) -> None:
    if table.ndim < 1 or table.shape[-1] != 4 or (rank is not None and table.ndim != rank):
        wanted = "(n, 4)" if rank == 2 else "(..., 4)"
        raise InputError(f"Expected {name} of shape {wanted} but got {tuple(table.shape)}; one row a box.")
