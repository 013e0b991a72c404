"""Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from relprop.checks import place_name
from relprop.errors import InputError
from relprop.graph import Node
from relprop.graph.place import label
from relprop.methods.feature_map import channel_axis, last_feature_map
from relprop.methods.method import SCORES, Method, Request, Result
from relprop.methods.tokens import last_tokens, token_grid
from relprop.propagate.composite import DERIVATIVES
from relprop.propagate.trace import Trace

__all__ = ["GradCAM"]


class GradCAM(Method):
    r"""Grad-CAM: the channels of a feature map, weighted by their mean gradient.

    .. math:: R_{p} = \max\Big(0, \sum_k α_k A_{kp}\Big), \qquad
        α_k = \frac1Z \sum_p \frac{\partial f_c}{\partial A_{kp}}

    Source: Selvaraju et al. 2017, eqs. 1 and 2; Z is the number of positions p. The same in one, two
    and three dimensions: positions of a clip are (t, y, x).

    The result lives *at* the feature map, with ONE channel: (N, 1, *spatial of the map), in units of
    score per position. ``Explanation.heatmap()`` resizes it to the input. Not signed; conserves nothing
    (behind global average pooling and one product, the sum without max(0, .) is the score less its
    bias).

    Transformers have tokens (N, T, C) in the place of a map: those of patches are laid on the picture's grid, a
    class token and the like are left out. The last tokens that patches speak through are those in front of the
    last attention (`relprop.methods.tokens`).

    Args:
        at: module path or node name whose value is (N, C, *spatial), or (N, T, C) tokens of a picture; None: the
            last feature map before global pooling or flattening (`relprop.methods.feature_map`), else the last
            tokens.

    `layers` of the call give the same map at further places, (N, 1, *spatial) each.

    Raises:
        InputError: no or several last feature maps, or a place without spatial axes.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(4, 1, bias=False))
    >>> net[0].weight.data, net[3].weight.data = torch.ones(1, 1, 1, 1), torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    >>> e = relprop.explain(net, torch.tensor([[[[2.0, 0.0], [4.0, -1.0]]]]), 0, "grad-cam")
    >>> e.relevance.tolist(), e.at  # mean gradient: 0.5
    ([[[[1.0, 0.0], [2.0, 0.0]]]], '1')
    """

    name = "grad-cam"
    takes = SCORES - {"start"}
    summary = "Grad-CAM: the last feature map's channels weighted by their mean gradient, positive part"
    signed = False

    def __init__(self, *, at: str | None = None) -> None:
        self.at = place_name("at", at)

    def explain(self, request: Request) -> Result:
        run = request.trace
        node = _last(run) if self.at is None else run.graph.find(self.at)
        places = {name: run.graph.find(name) for name in request.layers}
        values: dict[str, Tensor] = {}
        lay: dict[str, Callable[[Tensor], Tensor]] = {}
        for name, place in {**places, "": node}.items():
            values[name] = run.value(place)
            lay[name] = _layout(run, place)
            if not isinstance(values[name], Tensor) or values[name].ndim < 3:
                got = tuple(values[name].shape) if isinstance(values[name], Tensor) else "a list"
                raise InputError(
                    f"Expected a feature map (N, C, *spatial) for grad-cam but {place.name!r} is {got}. "
                    "Name a place before the flattening or the pooling's squeeze."
                )
        walked = request.propagate(request.ones(), DERIVATIVES, stop=node, multiplier=True, ledger=False)
        layers = {name: _cam(g, values[name], lay[name]) for name, g in walked.layers.items()}
        at = self.at if self.at is not None else label(run.graph, node)
        return Result(_cam(walked.relevance, values[""], lay[""]), layers, walked.plan, at=at)


def _last(run: Trace) -> Node:
    """The last feature map; else the last tokens.

    Raises:
        InputError: neither; see `last_feature_map`.
    """
    try:
        return last_feature_map(run)
    except InputError:
        tokens = last_tokens(run)
        if tokens is None:
            raise
        return tokens


def _layout(run: Trace, node: Node) -> Callable[[Tensor], Tensor]:
    """What brings values of the node, targets in front or not, into the order (..., C, *spatial)."""
    grid = token_grid(run, node)
    if grid is not None:
        return lambda tokens: grid.lay(tokens.mT)
    value = run.stored(node)
    if not isinstance(value, Tensor) or value.ndim < 3:
        return lambda same: same  # refused
    behind = value.ndim - channel_axis(run, node)
    return lambda mixed: mixed.movedim(-behind, 1 - value.ndim)


def _cam(gradient: Tensor, value: Tensor, lay: Callable[[Tensor], Tensor]) -> Tensor:
    """(K, N, C, *spatial) and (N, C, *spatial), or as `lay` finds them -> (K, N, 1, *spatial)."""
    gradient, value = lay(gradient), lay(value)
    weights = gradient.flatten(3).mean(-1)
    weighted = weights.reshape(*weights.shape, *[1] * (value.ndim - 2)) * value
    return weighted.sum(2, keepdim=True).clamp_(min=0)
