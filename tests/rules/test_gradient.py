"""Derivatives, of steps that are several operators too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from relprop import Composite, trace
from relprop.rules import Gradient


def net(*, norm_first: bool) -> nn.Sequential:
    """1 x 1 convolutions keep the shape: a batch norm taken for the whole step would go unnoticed."""
    torch.manual_seed(3)
    norm, conv = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)
    norm.running_mean = torch.randn(2)
    norm.running_var = torch.rand(2) + 0.5
    pair = [norm, conv] if norm_first else [conv, norm]
    return nn.Sequential(*pair, nn.ReLU(), nn.Flatten(), nn.Linear(18, 3)).eval().double()


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("fuse", [None, False])
def test_a_convolution_and_its_batch_norm(norm_first: bool, fuse: bool | None) -> None:
    model = net(norm_first=norm_first)
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(model(x)[0, 1], x)
    seed = torch.eye(3, dtype=torch.float64)[1][None]
    composite = Composite([("linear", Gradient())], fuse=fuse)
    found = trace(model, x.detach()).run(seed, composite, multiplier=True, ledger=False).relevance
    assert float((found - expected).abs().max()) < 1e-14
