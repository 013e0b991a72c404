"""Targets: reading `target=`, and the seed that it makes at the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.propagate.names import class_named
from relprop.tracing.inputs import unusable

__all__ = ["class_indices", "one_hot"]


def class_indices(
    target: Any, output: Any, n: int, names: Sequence[str] | None = None
) -> tuple[Tensor, bool]:
    """Class indices (K, N) for classes as `explain` takes them, and whether one was asked.

    Args:
        target: see `relprop.explain`.
        output: what the model returned.
        n: how many samples.
        names: of the classes, where they are known.

    Raises:
        InputError: as for `explain`.
    """
    if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[0] != n:
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        frames = isinstance(output, Tensor) and output.ndim == 2 and output.shape[0] == 1 < n
        wrap = (
            "If x holds a clip's frames as its batch, wrap the model in a module that takes (N, T, C, H, W)"
            if frames
            else "Wrap it in a module that returns the scores to be explained"
        )
        raise InputError(
            f"Expected a model that returns one tensor of scores ({n}, classes) but it returns {got}. {wrap}."
        )
    classes = output.shape[1]
    if not output.is_floating_point() or not classes or not output.numel():
        raise InputError(
            f"Expected a model that returns floating-point scores of classes but got {output.dtype} of shape "
            f"{tuple(output.shape)}. Wrap it in a module that returns the scores to be explained."
        )
    if target is None:
        scores = output if output.ndim == 2 else output.flatten(2).amax(-1)
        return scores.argmax(1)[None], True
    if isinstance(target, (list, tuple, range)):
        if not target:
            raise InputError("Expected at least one target but got an empty list.")
        rows = [_target_row(t, n, classes, names) for t in target]
        return torch.stack(rows).to(output.device), False
    return _target_row(target, n, classes, names)[None].to(output.device), True


def _target_row(target: Any, n: int, classes: int, names: Sequence[str] | None) -> Tensor:
    if isinstance(target, str):
        target = class_named(target, names)
    if isinstance(target, np.ndarray) and target.dtype.kind in "biuf":
        target = torch.as_tensor(target)
    if isinstance(target, Tensor):
        why = unusable(target)
        if why is not None:
            raise InputError(f"Expected a target tensor of integers with shape ({n},) but it is {why}.")
        if target.dtype in (torch.uint16, torch.uint32, torch.uint64):  # which torch can't compare
            target = target.long()
    if isinstance(target, Tensor) and target.ndim == 0:
        target = target.item()
    is_index = hasattr(type(target), "__index__") and not isinstance(target, (bool, np.ndarray))
    if not isinstance(target, Tensor) and not is_index:
        raise InputError(
            f"Expected target to be a class index or name, an int64 tensor ({n},), a list of those, a callable "
            f"on the outputs or a seed, but got {type(target).__name__} {' '.join(repr(target).split())[:60]}."
        )
    if not isinstance(target, Tensor):
        index = int(target)  # compared as a Python number: one beyond 64 bits is out of range like any other
        if not 0 <= index < classes:
            raise _out_of_range(index, classes)
        target = torch.full((n,), index)
    if target.is_floating_point() or target.dtype == torch.bool or target.shape != (n,):
        raise InputError(
            f"Expected a target tensor of integers with shape ({n},) but got {target.dtype} {tuple(target.shape)}."
        )
    bad = target[(target < 0) | (target >= classes)]
    if bad.numel():
        raise _out_of_range(int(bad[0]), classes)
    return target.long()


def _out_of_range(index: int, classes: int) -> InputError:
    if classes > 1 or index != 1:
        return InputError(f"Expected targets from 0 to {classes - 1} but got {index}.")
    return InputError(
        "Expected target 0, the model's only output, but got 1. If it is a classifier of two classes, this output "
        "is the score of class 1 and its negative that of class 0: target=lambda outputs: -outputs[:, 0]."
    )


def one_hot(targets: Tensor, output: Tensor, values: Tensor | None = None) -> Tensor:
    """(K, N) class indices as a (K, N, classes, ...) tensor with 1, or `values`, at the targets.

    >>> import torch
    >>> one_hot(torch.tensor([[1]]), torch.tensor([[5.0, 7.0]]), torch.tensor([[5.0, 7.0]])).tolist()
    [[[0.0, 7.0]]]
    """
    k, n = targets.shape
    seed = output.new_zeros(k, *output.shape)
    index = targets.reshape(k, n, 1, *[1] * (output.ndim - 2)).expand(k, n, 1, *output.shape[2:])
    source = output.new_ones(1).expand(index.shape) if values is None else values.expand(k, *output.shape)
    if values is not None:
        source = source.gather(2, index)
    return seed.scatter_(2, index, source)
