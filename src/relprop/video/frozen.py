"""Frozen: clips in which one frame is repeated, and which of a clip's frames are worth a run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["Frozen", "chunks", "freeze", "frozen_clips"]

Frozen = tuple[int, list[int]]
"""A frame and all positions at which the clip shows it."""


def freeze(clip: Tensor, frame: int) -> Tensor:
    """The clip with one frame shown all the time: (..., T, H, W) → the same shape.

    >>> freeze(torch.arange(3.0).reshape(1, 1, 3, 1, 1), 1).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    return clip.narrow(-3, frame, 1).expand_as(clip)


def frozen_clips(clip: Tensor) -> list[Frozen]:
    """The different frames of one clip (C, T, H, W), each with its positions.

    Frames that are equal bit for bit give the same frozen clip, which needs one run. One frame alone
    means a still clip: frozen, it is the clip itself, and the clip's own run will do. That is what makes
    the temporal relevance of a still clip exactly 0: a run in another batch may round differently.

    >>> frozen_clips(torch.tensor([5.0, 7.0, 5.0]).reshape(1, 3, 1, 1))
    [(0, [0, 2]), (1, [1])]
    """
    found: list[Frozen] = []
    for t in range(clip.shape[1]):
        same = next((at for first, at in found if torch.equal(clip[:, first], clip[:, t])), None)
        if same is None:
            found.append((t, [t]))
        else:
            same.append(t)
    return found


def chunks(frames: list[Frozen], size: int) -> Iterator[list[Frozen]]:
    """The frames in groups of at most `size`."""
    return (frames[i : i + size] for i in range(0, len(frames), size))
