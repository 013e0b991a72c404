"""Attention rollout."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from relprop.checks import check_choice, check_number
from relprop.errors import InputError
from relprop.graph import Node
from relprop.graph.attention import attention_weights
from relprop.graph.place import label
from relprop.methods.method import Method, Request, Result
from relprop.methods.tokens import TokenGrid, token_grid
from relprop.propagate.trace import Trace

__all__ = ["AttentionRollout"]


class AttentionRollout(Method):
    r"""Attention rollout: attention's weights of all layers multiplied, with the skip connections mixed in.

    .. math:: \hat A_l = (1 - s) \, \frac1H \sum_h A_{lh} + s \, I, \qquad R = \hat A_L \cdots \hat A_1

    The row of the class token tells how much of each patch arrives there; where patches are the only tokens, the
    mean of all rows does. Values, layers between and the output are not read:
    **the map is the same for every class**, which `notes` says.

    Source: Abnar & Zuidema 2020 (ACL, arXiv 2005.00928), eq. 1 and section 3; s = 1/2 and the mean of heads there.

    The result lives *at* the patch embedding, (N, 1, *grid of patches), in shares of 1. Never negative. It sums to
    1 less what other tokens take.

    Args:
        skip: s, the share of the skip connection, from 0 to 1.
        heads: how heads become one: "mean", "max" or "min" (rows are scaled to 1 after the last two).

    Raises:
        InputError: a network without attention over all patches (none at all, windows, patches that are merged on
            the way), or a setting out of range.

    >>> AttentionRollout(skip=0.5).name
    'attention-rollout'
    """

    name = "attention-rollout"
    summary = "Attention rollout: attention's weights of all layers multiplied; the same map for every class"
    signed = False
    needs = "attention"

    def __init__(self, *, skip: float = 0.5, heads: Literal["mean", "max", "min"] = "mean") -> None:
        check_number("skip", skip, least=0)
        if skip > 1:
            raise InputError(f"Expected skip to be from 0 to 1 but got {skip}.")
        check_choice("heads", heads, ("mean", "max", "min"))
        self.skip, self.heads = skip, heads

    def explain(self, request: Request) -> Result:
        run = request.trace
        weights, grid = _layers(run)
        rollout = None
        for node in weights:
            matrix = self._mixed(run.value(node), run.batch)
            rollout = matrix if rollout is None else matrix @ rollout
        assert rollout is not None
        # Pooling by attention has queries of its own: their mean. Else the class token's row, where there is one.
        square = rollout.shape[1] == rollout.shape[2]
        row = rollout[:, 0] if square and grid.offset else rollout.mean(1)
        cells = grid.lay(row)[:, None]
        relevance = cells.expand(len(request.targets), *cells.shape).clone()
        note = "Attention rollout doesn't read the output: the map is the same for every class."
        return Result(relevance, at=label(run.graph, grid.patches), notes=(note,))

    def _mixed(self, weights: Tensor, batch: int) -> Tensor:
        """(N, heads, queries, keys), or heads among the samples, to (N, queries, keys) with rows of sum 1."""
        every = weights.reshape(batch, -1, *weights.shape[-2:])
        one = every.mean(1) if self.heads == "mean" else getattr(every, f"a{self.heads}")(1)
        one = one / one.sum(-1, keepdim=True)
        if one.shape[-1] != one.shape[-2]:
            return one  # no skip connection leads from patches to a query of the head
        return (1 - self.skip) * one + self.skip * torch.eye(
            one.shape[-1], dtype=one.dtype, device=one.device
        )


def _layers(run: Trace) -> tuple[list[Node], TokenGrid]:
    """Attention's weights of every layer, over the same tokens, and how these lie on the picture.

    Raises:
        InputError: see `AttentionRollout`.
    """
    found = attention_weights(run.graph)
    if not found:
        raise _refusal("no attention (a softmax of queries times keys that multiplies values)")
    count = run.stored(found[0]).shape[-1]
    for i, node in enumerate(found):
        queries, keys = run.stored(node).shape[-2:]
        if keys != count or (queries != count and i < len(found) - 1):
            raise _refusal(
                f"attention of {queries} queries over {keys} keys in {node.module or 'the model itself'!r} after "
                f"{count} at first (windows, or patches merged on the way)"
            )
    for node in sorted(run.graph.ancestors(found[:1]), key=lambda n: -n.index):
        grid = token_grid(run, node)
        if grid is not None and run.stored(node).shape[1] == count:
            return found, grid
    raise _refusal("attention over something else than the patches of a picture")


def _refusal(what: str) -> InputError:
    return InputError(
        f"Expected a vision transformer, every layer attending over all patches, for attention-rollout but got "
        f"{what}. Take attnlrp or lrp-epsilon, which go by the graph."
    )
