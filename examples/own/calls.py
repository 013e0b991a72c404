"""Somebody else's method as a plain function: captum's integrated gradients beside ours."""

from torch import Tensor, nn

from relprop.compat import load_torchvision


def captum_ig(model: nn.Module, x: Tensor, targets: Tensor, *, steps: int = 20) -> Tensor:
    """(N, C, H, W) and class indices (N,) to relevance (N, C, H, W)."""
    load_torchvision()  # captum imports it; ours works with builds that don't fit torch's, too
    from captum.attr import IntegratedGradients

    return IntegratedGradients(model).attribute(x, target=targets, n_steps=steps)
