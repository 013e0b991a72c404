"""Question: what is asked of a network's outputs, as the slope of a score or as relevance to start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.own_file import blame
from relprop.propagate.targets import class_indices, one_hot
from relprop.tracing.inputs import unusable

__all__ = ["CURVED", "Question", "question"]

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Question:
    r"""What is asked of a value (N, classes, ...): the model's output, or that of a hidden layer.

    A score s is a number a sample. Its slope W is its derivative by the value v, and relevance starts as

    .. math:: R = W ⊙ v, \qquad \sum R = s \text{ where s is linear in v}

    Attributes:
        targets: class indices, int64 (K, N); -1 where the question isn't about one class.
        single: one thing was asked, so results lose their K axis at the end.
        kind: "class" (a class of each sample), "region" (a class over a part of a map), "versus" (a class against
            another), "score" (a callable), "seed" (relevance at the outputs).
        names: what each of the K is called; none where they are classes.
        weights: slopes of a linear score, or the seed itself, (K, N, classes, ...); None: 1 at the targets.
        function: the score of a callable, (N, classes, ...) -> (K, N).
        notes: sentences for the reader.
    """

    targets: Tensor
    single: bool
    kind: Literal["class", "region", "versus", "score", "seed"] = "class"
    names: tuple[str, ...] = ()
    weights: Tensor | None = None
    function: Score | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def _rows(self) -> int:
        return self.targets.shape[1]

    def slopes(self, value: Tensor) -> Tensor:
        """W at a value that holds the N samples once or several times over: (K, rows, classes, ...)."""
        times = len(value) // self._rows
        if self.function is not None:
            return torch.cat([_slopes(self.function, part)[1] for part in value.split(self._rows)], 1)
        if self.weights is None:
            return one_hot(self.targets.repeat(1, times), value)
        return self.weights.to(value).repeat(1, times, *[1] * (self.weights.ndim - 2))

    def start(self, value: Tensor) -> Tensor:
        """The relevance to start from at a value: W ⊙ v, or the seed; (K, N, classes, ...)."""
        if self.kind == "class":
            return one_hot(self.targets, value, value)
        return self.slopes(value) if self.kind == "seed" else self.slopes(value) * value

    def part(self, rows: Sequence[int]) -> Question:
        """Some of the K, as a question of their own."""
        kept, whole = list(rows), self.function
        return replace(
            self,
            targets=self.targets[kept],
            single=False,
            names=tuple(self.names[k] for k in kept) if self.names else (),
            weights=None if self.weights is None else self.weights[kept],
            function=None if whole is None else lambda value: whole(value)[kept],
        )

    def score(self, value: Tensor) -> Tensor:
        """S at a value, summed over positions where there are several: (K, N) float64."""
        if self.function is not None:
            return _slopes(self.function, value)[0].double()
        return self.start(value).flatten(2).double().sum(-1)


def question(
    target: Any,
    value: Any,
    n: int,
    *,
    versus: Any = None,
    region: Any = None,
    classes: Sequence[str] | None = None,
    place: str | None = None,
) -> Question:
    """Read `target=`, `versus=` and `region=` as `explain` takes them.

    Args:
        target, versus, region: see `relprop.explain`.
        value: what is asked about, (N, classes, ...).
        n: N.
        classes: names of the classes, or None.
        place: what the value is called where it isn't the output.

    Raises:
        InputError: as for `explain`.
    """
    several = isinstance(target, (list, tuple)) and any(map(_is_score, target))
    seed = _as_seed(target, value)
    if seed is not None or several or _is_score(target):
        given = [name for name, it in (("versus", versus), ("region", region)) if it is not None]
        if given:
            raise InputError(
                f"Expected {given[0]}= beside classes only but target is a "
                f"{'seed' if seed is not None else 'callable'}. Put it into the target itself."
            )
    if seed is not None:
        return _of_seed(seed, value, n)
    if several:
        rows = [
            t if _is_score(t) else _class_score(class_indices(t, value, n, classes)[0][0]) for t in target
        ]
        names = tuple(_name(t) for t in target)
        return _of_function(lambda v: torch.stack([row(v) for row in rows]), value, n, names)
    if _is_score(target):
        return _of_function(target, value, n, (_name(target),))
    mask = None if region is None else _mask(region, value, n)
    if target is None and mask is not None and isinstance(value, Tensor) and value.ndim > 2:
        class_indices(None, value, n)
        targets, single = (value * mask).flatten(2).sum(-1).argmax(1)[None], True
    else:
        targets, single = class_indices(target, value, n, classes)
    names = _class_names(targets, classes, place)
    notes = () if mask is not None else _all_positions(value, place)
    if mask is None and versus is None:
        return Question(targets, single, names=names if place is not None else (), notes=notes)
    weights = one_hot(targets, value)
    if versus is not None:
        rival = _rival(versus, value, n, classes)
        if bool((targets == rival).any()):
            raise InputError(
                "Expected versus to be another class than target but both are the same for some sample. Name two "
                "classes."
            )
        weights = weights - one_hot(rival.expand_as(targets), value)
        against = _class_names(rival.expand_as(targets), classes, place)
        names = tuple(f"{a} − {b}" for a, b in zip(names, against, strict=True))
    if mask is not None:
        weights = weights * mask
        names = tuple(f"{name} in the region" for name in names)
    kind: Literal["versus", "region"] = "region" if versus is None else "versus"
    return Question(targets, single, kind, names, weights, notes=notes)


def _all_positions(value: Any, place: str | None) -> tuple[str, ...]:
    spatial = tuple(value.shape[2:]) if isinstance(value, Tensor) else ()
    if max(spatial, default=1) == 1:
        return ()
    size = "×".join(map(str, spatial))
    what = "output" if place is None else place
    return (f"Explained is the sum over all {size} positions of the {what}; region= (a mask) takes a part.",)


def _is_score(target: Any) -> bool:
    return callable(target) and not isinstance(target, (Tensor, np.generic, type))


def _name(target: Any) -> str:
    if not _is_score(target):
        return target if isinstance(target, str) else f"class {target}"
    own = getattr(target, "__name__", type(target).__name__)
    return "the callable" if own == "<lambda>" else str(own)


def _class_names(targets: Tensor, classes: Sequence[str] | None, place: str | None) -> tuple[str, ...]:
    """What each of K rows of indices (K, N) is called."""

    def name(index: int) -> str:
        if place is not None:
            return f"{place}[{index}]"
        return f"class {index}" if classes is None or index >= len(classes) else str(classes[index])

    return tuple(" / ".join(dict.fromkeys(name(int(i)) for i in row)) for row in targets)


def _class_score(targets: Tensor) -> Score:
    return lambda v: (one_hot(targets[None], v)[0] * v).flatten(1).sum(1)


def _rival(versus: Any, value: Tensor, n: int, classes: Sequence[str] | None) -> Tensor:
    """The class to compare with, (1, N)."""
    if versus is None or isinstance(versus, (list, tuple, range)) or _is_score(versus):
        raise InputError(
            f"Expected versus to be a class index or name, or an int64 tensor ({n},), but got {versus!r:.60}."
        )
    return class_indices(versus, value, n, classes)[0]


def _mask(region: Any, value: Any, n: int) -> Tensor | None:
    """A region as 0 and 1, (N or 1, 1, *spatial); None for "all"."""
    if isinstance(region, str) and region == "all":
        return None
    spatial = tuple(value.shape[2:]) if isinstance(value, Tensor) else ()
    if not spatial:
        raise InputError(
            "Expected region= only for a map (N, classes, *spatial) but the output is "
            f"{tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__}. Leave it out."
        )
    mask = torch.as_tensor(region) if isinstance(region, np.ndarray) else region
    if not isinstance(mask, Tensor) or unusable(mask) is not None or mask.is_complex():
        raise InputError(
            f"Expected region to be a mask {spatial} or {(n, *spatial)}, or 'all', but got {region!r:.60}."
        )
    if mask.shape not in (spatial, (n, *spatial)):
        raise InputError(
            f"Expected region to be a mask {spatial} or {(n, *spatial)}, as the output's map is, but got shape "
            f"{tuple(mask.shape)}. Resize it."
        )
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError("Expected region to hold 0 and 1, or False and True, but it holds other numbers.")
    if not bool(mask.flatten(mask.ndim - len(spatial)).any(-1).all()):
        raise InputError("Expected a region of at least one position in every sample but one is empty.")
    mask = mask.to(value)
    return mask[None, None] if mask.ndim == len(spatial) else mask[:, None]


def _as_seed(target: Any, value: Any) -> Tensor | None:
    """The target as relevance at the outputs, where it is floating-point numbers of their shape."""
    if isinstance(target, np.ndarray) and target.dtype.kind == "f":
        target = torch.as_tensor(target)
    if not isinstance(target, Tensor) or not target.is_floating_point() or target.ndim < 2:
        return None
    if unusable(target) is not None or not isinstance(value, Tensor) or value.ndim < 2:
        return None
    if target.shape not in (value.shape, (len(target), *value.shape)) or not target.numel():
        raise InputError(
            f"Expected a seed shaped like the output, {tuple(value.shape)}, or with an axis K in front, but got "
            f"{tuple(target.shape)}."
        )
    if not bool(torch.isfinite(target).all()):
        raise InputError("Expected a finite seed but it holds NaN or infinity.")
    return target.detach().to(value)


def _of_seed(seed: Tensor, value: Tensor, n: int) -> Question:
    class_indices(None, value, n)  # refuses outputs that nothing can be asked of
    single = seed.ndim == value.ndim
    whole = seed[None] if single else seed
    targets = torch.full((len(whole), n), -1, device=value.device)
    names = ("the seed",) if single else tuple(f"seed {k}" for k in range(len(whole)))
    return Question(targets, single, "seed", names, whole)


def _of_function(function: Score, value: Any, n: int, names: tuple[str, ...]) -> Question:
    class_indices(None, value, n)
    single = False

    def rows(v: Tensor) -> Tensor:
        nonlocal single
        with blame("The callable target"):
            found = function(v)
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.ndim not in (1, 2):
            got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"Expected the callable target to return scores ({n},) or (K, {n}) but got {got}. It gets the "
                f"outputs {tuple(value.shape)}."
            )
        if found.shape[-1] != n or not found.numel():
            raise InputError(
                f"Expected the callable target to return scores ({n},) or (K, {n}), one a sample, but got "
                f"{tuple(found.shape)}. It gets the outputs {tuple(value.shape)}."
            )
        single = found.ndim == 1
        return found[None] if single else found

    scores, slopes = _slopes(rows, value, apart=True)
    targets = torch.full((len(scores), n), -1, device=value.device)
    if len(names) != len(scores):
        names = tuple(f"{names[0]}[{k}]" for k in range(len(scores)))
    notes = _left_out(scores, slopes, value, names)
    return Question(targets, single, "score", names, function=rows, notes=notes)


#: How a note tells that the first-order part of a score leaves something out.
CURVED = "isn't linear in the outputs"


def _left_out(scores: Tensor, slopes: Tensor, value: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """What the first-order part of a score leaves out, where it does."""
    parts = (slopes * value).flatten(2).double()
    scores = scores.double()
    rest = scores - parts.sum(-1)
    size = parts.abs().sum(-1) + scores.abs()
    far = rest.abs() > size * torch.finfo(value.dtype).eps * max(16, value[0].numel())
    if not bool(far.any()):
        return ()
    k, i = far.nonzero()[0].tolist()
    said = (
        f"Of {names[k]}, which {CURVED}, relevance starts from the first-order part, "
        f"gradient × output, {float(parts.sum(-1)[k, i]):.4g} of {float(scores[k, i]):.4g} here; the rest, "
        f"{float(rest[k, i]):.4g} (constants and curvature), belongs to no output."
    )
    return (said,)


def _slopes(function: Score, value: Tensor, *, apart: bool = False) -> tuple[Tensor, Tensor]:
    """A score (K, N) at a value, and its derivative (K, N, classes, ...).

    Args:
        function: (N, classes, ...) -> (K, N).
        value: at which.
        apart: look whether each sample's score depends on that sample alone.
    """
    with torch.inference_mode(False), torch.enable_grad():
        v = value.detach().clone().requires_grad_()
        scores = function(v)
        if not scores.requires_grad:
            raise InputError(
                "Expected a callable target that is differentiable in the outputs but what it returns doesn't "
                "depend on them. Compute with torch, without detach() or item()."
            )
        n = scores.shape[1]
        weights = torch.arange(1, n + 1, device=v.device).to(scores)
        slopes, weighted = [], []
        for row in scores:
            slopes.append(_gradient(row.sum(), v))
            if apart and n > 1:
                weighted.append(_gradient((row * weights).sum(), v))
        found = torch.stack(slopes)
        if weighted:
            # d/dv_j of sum_i c_i s_i is c_j times that of the plain sum if s_i depends on sample i alone.
            own = found * weights.to(found).reshape(1, n, *[1] * (value.ndim - 1))
            gap, size = (torch.stack(weighted) - own).abs().amax(), own.abs().amax()
            if bool(gap > size * torch.finfo(value.dtype).eps * 64 * n):
                raise InputError(
                    "Expected a callable target whose score of a sample depends on that sample alone but it mixes "
                    "them. Take sums over the other axes only."
                )
    if not bool(torch.isfinite(found).all()) or not bool(torch.isfinite(scores).all()):
        raise InputError("Expected a callable target with finite scores and derivatives but some aren't.")
    return scores.detach(), found


def _gradient(score: Tensor, v: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(score, v, retain_graph=True, materialize_grads=True)
    return found
