"""Axes: which one of an input holds the colours."""

from __future__ import annotations

from torch import Tensor

from relprop.errors import InputError

__all__ = ["axis_hint", "checked_axis"]

_COLOURS = (1, 3)


def checked_axis(axis: object, x: Tensor) -> int:
    """The axis of an input that holds the colours, counted from 0 at the samples.

    Raises:
        InputError: no axis of the input behind that of the samples.

    >>> import torch
    >>> checked_axis(-3, torch.zeros(1, 8, 3, 16, 16))
    2
    """
    if isinstance(axis, int) and not isinstance(axis, bool):
        place = axis + x.ndim if axis < 0 else axis
        if 1 <= place < x.ndim:
            return int(place)
    raise InputError(
        f"Expected channel_axis from 1 to {x.ndim - 1}, an axis of the input {tuple(x.shape)} behind that of "
        f"the samples, but got {axis!r}."
    )


def axis_hint(x: Tensor, axis: int) -> str | None:
    """A sentence where the colours seem to lie along another axis than the one that is taken for them; else None.

    >>> import torch
    >>> axis_hint(torch.zeros(1, 8, 3, 16, 16), 1)
    'Axis 1 of the input (8 long) is taken for colours, but axis 2 is 3 long: if they lie there, channel_axis=2.'
    """
    if axis != 1 or x.ndim not in (4, 5) or x.shape[1] in _COLOURS:
        return None
    other = 2 if x.ndim == 5 else 3  # (N, T, C, H, W); (N, H, W, C)
    if x.shape[other] not in _COLOURS or (x.ndim == 4 and x.shape[2] == 1):
        return None
    return (
        f"Axis 1 of the input ({x.shape[1]} long) is taken for colours, but axis {other} is {x.shape[other]} "
        f"long: if they lie there, channel_axis={other}."
    )
