"""Grad-CAM."""

from __future__ import annotations

from torch import Tensor

from relprop.methods.activation_map import ActivationMap

__all__ = ["GradCAM"]


class GradCAM(ActivationMap):
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

    Of a detection it is the map that the head of its anchor reads (`relprop.methods.source_map`): SSD's source of
    that level, the level of a feature pyramid. Targets at maps of different sizes are resized to the finest.

    Args:
        at: module path or node name whose value is (N, C, *spatial), or (N, T, C) tokens of a picture; None: the
            last feature map before global pooling or flattening (`relprop.methods.feature_map`; of branches
            that meet in the head, the last map that they all begin with), else the last tokens.

    `layers` of the call give the same map at further places, (N, 1, *spatial) each.

    Raises:
        InputError: no last feature map, several without one in common, or a place without spatial axes.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(4, 1, bias=False))
    >>> net[0].weight.data, net[3].weight.data = torch.ones(1, 1, 1, 1), torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    >>> e = relprop.explain(net, torch.tensor([[[[2.0, 0.0], [4.0, -1.0]]]]), 0, "grad-cam")
    >>> e.relevance.tolist(), e.at  # mean gradient: 0.5
    ([[[[1.0, 0.0], [2.0, 0.0]]]], '1')
    """

    name = "grad-cam"
    summary = "Grad-CAM: the last feature map's channels weighted by their mean gradient, positive part"

    def __init__(self, *, at: str | None = None) -> None:
        super().__init__(at=at)

    def weighed(self, gradient: Tensor, value: Tensor) -> Tensor:
        """The positive part of the channels' sum, each times its mean gradient."""
        weights = gradient.flatten(3).mean(-1)
        weighted = weights.reshape(*weights.shape, *[1] * (value.ndim - 2)) * value
        return weighted.sum(2, keepdim=True).clamp_(min=0)
