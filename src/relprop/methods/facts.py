"""Facts: what is known of a model besides its operators, for methods that ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import ref

import torch
from torch import Tensor, nn

from relprop.checks import Progress
from relprop.errors import InputError
from relprop.rules import ZBox

__all__ = ["Facts", "facts_of", "remember"]


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of a model. Methods read it where a setting of theirs is left at "auto".

    Attributes:
        box: least and greatest value that pixels can take, in the units the network sees: two tensors (C,), or
            others that broadcast to an input. None: not known.
        multi_label: several classes may hold at once (sigmoid scores). None: not known.
        classes: names by output, or None.
        progress: called with (done, total) by methods of many runs.

    >>> import relprop
    >>> loaded = relprop.models.load("scenes-vgg")
    >>> loaded.facts.multi_label, [round(float(v), 2) for v in loaded.facts.box[0]]
    (True, [-1.82, -1.82, -1.73])
    """

    box: tuple[Tensor, Tensor] | None = None
    multi_label: bool | None = None
    classes: Sequence[str] | None = None
    progress: Progress | None = None

    def fitting(self, x: Tensor) -> Facts:
        """Facts about this input: a sample that reaches beyond the box is no picture, and has its own range.

        Args:
            x: (N, C, *spatial).
        """
        if self.box is None or not bool(torch.isfinite(x).all()):
            return self
        inside = [_inside(self.box, one) for one in x.split(1)]
        if all(inside):
            return self
        if not any(inside):
            return replace(self, box=None)
        dims, ones = tuple(range(1, x.ndim)), [1] * (x.ndim - 2)
        rows = torch.tensor(inside, device=x.device).reshape(-1, 1, *ones)
        low, high = (b.to(x).reshape(-1, *ones) if b.ndim == 1 else b.to(x) for b in self.box)
        least, most = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
        return replace(self, box=(torch.where(rows, low, least), torch.where(rows, high, most)))


def _inside(box: tuple[Tensor, Tensor], x: Tensor) -> bool:
    try:
        ZBox(*box).box(x)
    except InputError:
        return False
    return True


# Kept beside the modules, not on them: a model leaves relprop as it came. By identity, since a module may compare
# with others in its own way, or not be hashable.
_known: dict[int, tuple[ref[nn.Module], Facts]] = {}


def remember(model: nn.Module, facts: Facts) -> None:
    """Let `explain` know these facts whenever it meets this very module; they are forgotten with it."""
    own = id(model)
    _known[own] = ref(model, lambda _: _known.pop(own, None)), facts


def facts_of(model: nn.Module) -> Facts:
    """What is remembered of a module; no facts where relprop didn't load it."""
    found = _known.get(id(model))
    return Facts() if found is None or found[0]() is not model else found[1]
