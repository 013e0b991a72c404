"""Freezing: what a clip's activity owes to motion, found by running its frames one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from relprop.graph import Node
from relprop.propagate.trace import Trace
from relprop.video.frozen import Frozen, chunks, freeze, frozen_clips
from relprop.video.panorama import Panorama
from relprop.video.steady import FewTrace, StillTrace

__all__ = ["motion_shares"]


def motion_shares(
    model: nn.Module,
    run: Trace,
    places: Sequence[Node],
    chunk: int,
    tick: Callable[[int], None],
    panorama: Panorama | None = None,
) -> tuple[dict[Node, Tensor], Tensor]:
    r"""The share of each value that is gone when the clip is frozen, and the scores of the frozen clips.

    With :math:`x_t` a value in slice t of the clip and :math:`x^f_t` in the clip frozen at frame f,

    .. math:: δ_t = \frac{(|x_t| - (s_t x^t_t)^+)^+}{|x_t|}, \qquad s_t = \operatorname{sign} x_t

    0 where the unit is as active without motion, 1 where it is silent then. Where the network has merged
    frames, so that a slice covers several, it is the mean over those. In a still clip δ is 0 everywhere,
    exactly: the clip is its own frozen clip.

    Args:
        model: what was traced.
        run: the forward run on one clip (1, C, T, H, W).
        places: whose shares are wanted; values (1, C', T', H', W').
        chunk: frozen clips that run at once. What is kept of them is one sum as large as the values.
        tick: called with the number of frames done after each run.
        panorama: of the clip, where the camera moves: a frozen clip then shows its frame from where the camera is
            (`Panorama.frozen`). One that is the clip itself, bit for bit, is not run: δ is 0 there.

    Returns:
        Shares by place, shaped like its value, and scores (T, classes).
    """
    clip = run.input[0]
    length = clip.shape[1]
    gone = {n: torch.zeros_like(run.stored(n)) for n in places}
    outputs = run.output.repeat_interleave(length, 0)
    frames = frozen_clips(clip) if panorama is None else [(t, [t]) for t in range(length)]
    if len(frames) == 1:
        tick(length)
        return gone, outputs
    names = [n.name for n in places]
    for group in chunks(frames, chunk):
        # A model that fixes its batch size has a graph for each size: nodes go by their names.
        frozen: FewTrace
        if panorama is None:
            frozen = StillTrace(model, torch.stack([freeze(clip, f) for f, _ in group]), names)
        else:
            shown = [(one, panorama.frozen(one[0])) for one in group]
            moving = [(one, x) for one, x in shown if not torch.equal(x, clip)]
            tick(sum(len(at) for _, at in group) - sum(len(at) for (_, at), _ in moving))
            if not moving:
                continue
            group = [one for one, _ in moving]
            frozen = FewTrace(model, torch.stack([x for _, x in moving]), names)
            del shown, moving
        for i, (_, at) in enumerate(group):
            outputs[at] = frozen.output[i]
        for node, total in gone.items():
            x = run.stored(node)[0]
            for i, s, weight in _covered(group, x.shape[1], length):
                there = (torch.sgn(x[:, s]) * frozen.slice_of(node.name, i, s)).clamp_(min=0)
                total[0, :, s] += (x[:, s].abs() - there).clamp_(min=0) * weight
        del frozen
        tick(sum(len(at) for _, at in group))
    for node, total in gone.items():
        size = run.stored(node).abs()
        total.div_(size.masked_fill_(size == 0, 1)).clamp_(max=1)
    return gone, outputs


def _covered(group: list[Frozen], slices: int, length: int) -> Iterator[tuple[int, int, float]]:
    """(row in the batch, slice, weight in the slice's mean) of each frame and each slice that covers it."""
    for i, (_, at) in enumerate(group):
        for t in at:
            # Slice s of S covers the frames from s T / S to (s + 1) T / S.
            for s in range(t * slices // length, ((t + 1) * slices - 1) // length + 1):
                covered = ((s + 1) * length - 1) // slices - s * length // slices + 1
                yield i, s, 1 / covered
