"""The naive split: the clip's relevance less that of its frames, each shown alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from relprop.explanation import Explanation
from relprop.explanation.explain import explanation_of
from relprop.methods.method import Method
from relprop.propagate.ledger import Ledger
from relprop.video.frozen import chunks, freeze, frozen_clips
from relprop.video.separation import Split

__all__ = ["Normalise", "Slice", "naive_split"]

Slice = Literal["same", "first", "mean", "sum"]
Normalise = Literal["maxabs"]


def naive_split(
    model: nn.Module,
    e: Explanation,
    method: Method,
    *,
    versus: Any = None,
    slice: Slice,
    normalise: Normalise | None,
    clamp: bool,
    chunk: int,
    tick: Callable[[int], None],
) -> Split:
    r"""Explain the same class in each frozen clip, and keep one slice of each explanation.

    .. math:: S_t = \text{slice of } R(V^t), \qquad V^t = \text{frame t of the clip V, repeated T times},
        \qquad \text{temporal} = R(V) - S

    A clip that shows one frame only is its own frozen clip: nothing is run anew.

    Args:
        model: the network.
        e: the explanation of one clip, input (1, C, T, H, W).
        method: what `e` was made with.
        versus: the class that it was held against.
        slice: which slice of the T: "same" (slice t for frame t), "first" (slice 0), their "mean" or "sum".
        normalise: "maxabs" divides each explanation, the clip's and the frozen clips', by its own largest
            absolute value over the whole film; None leaves them as they are.
        clamp: negative temporal relevance becomes 0.
        chunk: frozen clips that run at once.
        tick: called with the number of frames done after each run.

    Source: Hiley et al. 2019, sec. 3 (discriminative relevance), and their published script.
    """
    clip = e.input[0]
    length = clip.shape[1]
    target: Any = e.targets[..., 0].tolist()
    whole = e.heatmap().squeeze(e.targets.dim() - 1)
    spatial = torch.empty_like(whole)
    outputs = e.outputs.repeat_interleave(length, 0)
    frames = frozen_clips(clip)
    ledgers = []
    for group in chunks(frames, chunk):
        found = e
        if len(frames) > 1:
            found = explanation_of(
                model, torch.stack([freeze(clip, f) for f, _ in group]), target, method, versus=versus
            )
            if found.ledger is not None:
                ledgers.append(found.ledger)
        films = found.heatmap()
        for i, (_, at) in enumerate(group):
            film = films.select(e.targets.dim() - 1, i)
            if normalise == "maxabs":
                film = _by_largest(film)
            for t in at:
                spatial[..., t, :, :] = _picked(film, t, slice)
            outputs[at] = found.outputs[i]
        tick(sum(len(at) for _, at in group))
    original = _by_largest(whole) if normalise == "maxabs" else whole
    temporal = original - spatial
    books = {"original": e.ledger, "frozen": Ledger.merged(ledgers) if ledgers else e.ledger}
    return Split(
        {
            "original": original,
            "spatial": spatial,
            "temporal": temporal.clamp_(min=0) if clamp else temporal,
        },
        {"original": e.relevance.squeeze(e.targets.dim() - 1)},
        e.outputs,
        e.targets,
        outputs,
        {name: book for name, book in books.items() if book is not None},
        e.warnings,
        e.notes,
    )


def _by_largest(film: Tensor) -> Tensor:
    """A film (..., T, H, W) divided by its largest absolute value; a film of zeros stays one."""
    largest = film.abs().amax((-3, -2, -1), keepdim=True)
    return film / largest.masked_fill(largest == 0, 1)


def _picked(film: Tensor, t: int, slice: Slice) -> Tensor:
    if slice == "mean":
        return film.mean(-3)
    if slice == "sum":
        return film.sum(-3)
    return film.select(-3, t if slice == "same" else 0)
