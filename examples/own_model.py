"""A model of your own: relprop explain photo.jpg --model examples/own_model.py:make --weights w.pth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import relprop


class Residual(nn.Module):
    """Functional calls, a reused layer, an in-place sum: nothing needs to be rewritten for relprop."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.body = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        x = torch.relu(self.stem(x))
        for _ in range(2):  # the same weights twice
            x = x + torch.relu(self.body(x))
        return self.head(x.mean(dim=(2, 3)))


def make() -> nn.Module:
    """What `--model examples/own_model.py:make` calls."""
    return Residual()


if __name__ == "__main__":
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(1, 3, 64, 64)
    print(relprop.inspect(model, x))
    e = relprop.explain(model, x, method="lrp-epsilon")
    print(e.ledger)
