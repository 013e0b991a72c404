"""DetectionUnit: a detector's output units at chosen anchors, in the shape of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.graph import capture_lock
from relprop.propagate.layout import Layout

__all__ = ["DetectionUnit"]


class DetectionUnit(nn.Module):
    """View of a raw detector at one or several anchors, so that every method can explain it.

    The anchors are a buffer that the forward pass selects with, so one captured graph serves all views of as
    many anchors; only another number of anchors is captured anew. The raw module is used as it is.

    Args:
        raw: (N, 3, H, W) -> logits (N, A, K), offsets (N, A, 4), and perhaps objectness (N, A).
        layout: what those hold.

    Attributes:
        raw, layout: as given.
        anchors: the anchors looked at, int64 (D,), once `at` has chosen them.

    >>> class Raw(nn.Module):
    ...     def forward(self, x):
    ...         return x[:, :, :2], x[:, :, 2:]
    >>> unit = DetectionUnit(Raw(), Layout(classes=2)).at(1)
    >>> unit(torch.arange(12.0).reshape(1, 2, 6)).tolist()
    [[6.0, 7.0, 8.0, 9.0, 10.0, 11.0]]
    """

    anchors: Tensor

    def __init__(self, raw: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.raw = raw
        self.training = raw.training
        self.layout = layout
        self.aimed = False
        with capture_lock:
            first = next((t for t in (*raw.parameters(), *raw.buffers())), None)
            device = None if first is None else first.device
        self.register_buffer("anchors", torch.zeros(layout.anchors, dtype=torch.int64, device=device))

    def at(self, anchors: int | Sequence[int] | Tensor) -> DetectionUnit:
        """A view of the same detector at these anchors; this one stays as it is.

        Views of equally many anchors share their graphs, and each may be explained in a thread of its own.

        Raises:
            InputError: no anchor, or one that isn't a number >= 0.
        """
        where = torch.as_tensor(anchors).reshape(-1)
        if not where.numel() or where.is_floating_point() or where.is_complex() or bool((where < 0).any()):
            raise InputError(f"Expected one or several anchor indices >= 0 but got {anchors!r}.")
        shared = len(where) == self.layout.anchors
        view = DetectionUnit(self.raw, self.layout if shared else replace(self.layout, anchors=len(where)))
        view.anchors.copy_(where)
        view.aimed = True
        if shared:
            # Read by `relprop.graph.capture`. Not an attribute of the usual kind: that would be a submodule.
            vars(view)["graphs_of"] = vars(self).get("graphs_of", self)
        return view

    def forward(self, x: Tensor) -> Tensor:
        """The logits, offsets and objectness at the anchors: (N, D * layout.width)."""
        if not self.aimed:
            raise InputError("Expected a view of chosen anchors but none were chosen. Take unit.at(anchors).")
        outputs = self.raw(x)
        shapes = [tuple(o.shape[2:]) for o in outputs]
        layout = self.layout
        expected = [(layout.classes,), (len(layout.offsets),), *([()] if layout.objectness else [])]
        if shapes != expected:
            raise InputError(
                f"Expected a raw detector that returns, per anchor, {expected} values (classes, offsets"
                f"{', objectness' if layout.objectness else ''}) but it returns {shapes}. Correct the layout."
            )
        columns = [o if o.ndim == 3 else o.unsqueeze(2) for o in outputs]
        return torch.cat([c.index_select(1, self.anchors) for c in columns], 2).flatten(1)
