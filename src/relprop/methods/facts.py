"""Facts: what is known of a model besides its operators, for methods that ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from weakref import ref

import torch
from torch import Tensor, nn

from relprop.checks import Progress
from relprop.rules import ZBox

__all__ = ["Facts", "facts_of", "remember"]

_ROUNDINGS = 4  # of the mean, of the difference, of the deviation, of the quotient: half a unit each


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of a model. Methods read it where a setting of theirs is left at "auto".

    Attributes:
        box: least and greatest value that pixels can take, in the units the network sees: two tensors (C,), or
            others that broadcast to an input. None: not known.
        multi_label: several classes may hold at once (sigmoid scores). None: not known.
        classes: names by output, or None.
        progress: called with (done, total) by methods of many runs.
        unlike: called with inputs, says in a sentence that they are unlike all that the network was trained on, or
            "". An explanation warns of it. None: not known.

    >>> import relprop
    >>> loaded = relprop.models.load("scenes-vgg")
    >>> loaded.facts.multi_label, [round(float(v), 2) for v in loaded.facts.box[0]]
    (True, [-1.82, -1.82, -1.73])
    """

    box: tuple[Tensor, Tensor] | None = None
    multi_label: bool | None = None
    classes: Sequence[str] | None = None
    progress: Progress | None = None
    unlike: Callable[[Tensor], str] | None = None

    def of_outputs(self, count: int) -> Facts:
        """Facts about a model of so many outputs: with other names than outputs it isn't the one they are of."""
        if self.classes is None or len(self.classes) == count:
            return self
        return replace(self, multi_label=None, classes=None, unlike=None)

    def fitting(self, x: Tensor) -> Facts:
        """Facts about this input: a sample that reaches beyond the box is no picture, and has its own range.

        By how much rounding may carry a pixel out of the box goes by the precision that `x` came in; where it
        did, the box of that sample is wider by as much.

        Args:
            x: (N, C, *spatial), as it was given.
        """
        if self.box is None or not bool(torch.isfinite(x).all()):
            return self
        exact = x.detach().to(torch.float64 if x.dtype == torch.float64 else torch.float32)
        box = [_beside(bound.to(exact), exact) for bound in self.box]
        low, high = box
        if any(
            b.ndim > x.ndim or any(k not in (1, n) for k, n in zip(b.shape, x.shape, strict=True))
            for b in box
        ):
            return replace(self, box=None)  # of other channels, or of another size
        beyond = torch.maximum((low - exact).flatten(1).amax(1), (exact - high).flatten(1).amax(1))
        width = (high - low).amax()
        exactly = beyond <= width * ZBox.rounding
        if bool(exactly.all()):
            return self
        inside = beyond <= width * max(ZBox.rounding, _ROUNDINGS * torch.finfo(x.dtype).eps / 2)
        if not bool(inside.any()):
            return replace(self, box=None)
        every = tuple(range(1, x.ndim))

        def by_sample(bound: Tensor, widest: Callable[..., Tensor], extreme: Callable[..., Tensor]) -> Tensor:
            axes = [axis for axis in every if bound.shape[axis] == 1]  # along which the bound is the same
            wider = widest(bound, extreme(exact, axes, keepdim=True) if axes else exact)
            own = extreme(exact, every, keepdim=True)
            rows, alike = (kind.reshape(-1, *[1] * len(every)) for kind in (inside, exactly))
            return torch.where(alike, bound, torch.where(rows, wider, own))

        box = [by_sample(low, torch.minimum, torch.amin), by_sample(high, torch.maximum, torch.amax)]
        return replace(self, box=(box[0], box[1]))


def _beside(bound: Tensor, x: Tensor) -> Tensor:
    """A bound with the axes of an input, 1 long where it is the same all along."""
    if bound.ndim == 1:
        return bound.reshape(1, -1, *[1] * (x.ndim - 2))
    return bound.reshape(*[1] * (x.ndim - bound.ndim), *bound.shape)


@dataclass(frozen=True, eq=False)
class _Known:
    """What is remembered of a module, and the modules with weights that it had then, by path."""

    model: ref[nn.Module]
    facts: Facts
    weighted: dict[str, ref[nn.Module]]

    def now(self, model: nn.Module) -> Facts:
        """The facts that still hold: with a layer replaced, what the outputs stand for isn't known any more."""
        found = dict(_inside(model))
        if all(found.get(path) is module() for path, module in self.weighted.items()):
            return self.facts
        return replace(self.facts, multi_label=None, classes=None, unlike=None)


def _inside(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Path and module of everything in a model; `named_modules` asks modules for a hash."""
    seen, waiting = {id(model)}, [("", model)]
    while waiting:
        path, module = waiting.pop()
        for name, child in module._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                waiting.append((f"{path}{name}.", child))
                yield path + name, child


# Kept beside the modules, not on them: a model leaves relprop as it came. By identity, since a module may compare
# with others in its own way, or not be hashable.
_known: dict[int, _Known] = {}


def remember(model: nn.Module, facts: Facts) -> None:
    """Let `explain` know these facts whenever it meets this very module; they are forgotten with it."""
    own = id(model)
    weighted = {
        path: ref(module)
        for path, module in _inside(model)
        if any(True for _ in module.parameters(recurse=False))
    }

    # At exit this file's names may be gone before the model is.
    def gone(_: object, known: dict[int, _Known] = _known) -> None:
        known.pop(own, None)

    _known[own] = _Known(ref(model, gone), facts, weighted)


def facts_of(model: nn.Module) -> Facts:
    """What is remembered of a module; no facts where relprop didn't load it."""
    found = _known.get(id(model))
    return Facts() if found is None or found.model() is not model else found.now(model)
