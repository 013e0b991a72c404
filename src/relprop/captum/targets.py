"""Targets as captum writes them, as `relprop.explain` takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, TypeAlias

import torch
from torch import Tensor

from relprop.errors import InputError

__all__ = ["CaptumTarget", "as_asked"]

CaptumTarget: TypeAlias = int | tuple[int, ...] | Tensor | list[int] | list[tuple[int, ...]] | None
"""What captum takes: see `as_asked`."""

Asked: TypeAlias = int | Tensor | Callable[[Tensor], Tensor] | None


def as_asked(target: CaptumTarget, n: int) -> Asked:
    """A target of captum's in the words of `relprop.explain`.

    Args:
        target: one class index for all samples, as an int or an integer tensor of one element; one a sample, as an
            integer tensor (N,) or a list; for outputs that are maps the indices behind the batch, (class, y, x),
            as a tuple for all samples or a list of N tuples; None for each sample's top class.
        n: N.

    Raises:
        InputError: none of these, or another number of targets than samples.

    >>> as_asked([3, 1], 2), as_asked((4,), 2), as_asked(torch.tensor(7), 2)
    (tensor([3, 1]), 4, 7)
    """
    if target is None or _is_index(target):
        return None if target is None else int(target)  # type: ignore[arg-type]
    if isinstance(target, Tensor):
        return _of_tensor(target, n)
    if isinstance(target, tuple) and target and all(map(_is_index, target)):
        return int(target[0]) if len(target) == 1 else _at([target] * n)
    if not isinstance(target, list) or not target:
        raise _wrong(target, n)
    if len(target) != n:
        raise InputError(
            f"Expected a target for each of {n} samples but the list has {len(target)}. One class for all of "
            "them is a plain number; several classes of each sample are several calls, or relprop.explain with a "
            "list."
        )
    if all(map(_is_index, target)):
        return torch.tensor([int(t) for t in target])  # type: ignore[arg-type]
    tuples = [t for t in target if isinstance(t, tuple) and t and all(map(_is_index, t))]
    if len(tuples) != n or len({len(t) for t in tuples}) != 1:
        raise _wrong(target, n)
    return torch.tensor([int(t[0]) for t in tuples]) if len(tuples[0]) == 1 else _at(tuples)


def _of_tensor(target: Tensor, n: int) -> int | Tensor:
    whole = not (target.is_floating_point() or target.is_complex() or target.dtype == torch.bool)
    if whole and target.numel() == 1:
        return int(target)
    if whole and tuple(target.shape) == (n,):
        return target.long()
    raise InputError(
        f"Expected target to be an integer tensor of one element or ({n},), one class a sample, but got "
        f"{target.dtype} {tuple(target.shape)}."
    )


def _at(indices: Sequence[tuple[Any, ...]]) -> Callable[[Tensor], Tensor]:
    """The score at one place of each sample's output."""

    def place(outputs: Tensor) -> Tensor:
        behind = outputs.ndim - 1
        if len(indices[0]) != behind:
            raise InputError(
                f"Expected target tuples of {behind} indices for outputs {tuple(outputs.shape)} but got "
                f"{indices[0]}."
            )
        for index in indices:
            if any(not 0 <= i < size for i, size in zip(index, outputs.shape[1:], strict=True)):
                raise InputError(
                    f"Expected target indices within the outputs {tuple(outputs.shape[1:])} but got {index}."
                )
        return torch.stack([outputs[(row, *index)] for row, index in enumerate(indices)])

    place.__name__ = f"output{list(indices[0])}" if len(set(indices)) == 1 else "output[…]"
    return place


def _is_index(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _wrong(target: object, n: int) -> InputError:
    return InputError(
        f"Expected target to be a class index, an integer tensor ({n},), a tuple of indices, or a list of {n} of "
        f"either kind, but got {target!r:.60}."
    )
