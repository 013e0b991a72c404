"""The bundled vision transformer: a convolutional stem, class and position tokens, pre-norm blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SceneViT"]

_WIDTH, _HEADS, _DEPTH, _TOKENS = 96, 3, 5, 14 * 14


class _Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and added to what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(_WIDTH)
        self.query, self.key, self.value = (nn.Linear(_WIDTH, _WIDTH) for _ in range(3))
        self.out = nn.Linear(_WIDTH, _WIDTH)
        self.norm2 = nn.LayerNorm(_WIDTH)
        self.fc1 = nn.Linear(_WIDTH, 4 * _WIDTH)
        self.fc2 = nn.Linear(4 * _WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to tokens (N, T, width)."""
        y = self.norm1(x)
        heads = [f(y).unflatten(2, (_HEADS, -1)).transpose(1, 2) for f in (self.query, self.key, self.value)]
        x = x + self.out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class SceneViT(nn.Module):
    """Vision transformer with 14 × 14 tokens: (N, 3, 112, 112) to (N, classes) logits.

    The stem is three convolutions of stride 2 in the place of one of stride 8: it learns from fewer pictures
    (Xiao et al. 2021, arXiv 2106.14881). The head reads the class token.

    >>> SceneViT().eval()(torch.zeros(2, 3, 112, 112)).shape
    torch.Size([2, 8])
    """

    def __init__(self, classes: int = 8) -> None:
        """Build the layers."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
            nn.Conv2d(48, _WIDTH, 3, stride=2, padding=1),
        )  # fmt: skip
        self.class_token = nn.Parameter(torch.zeros(1, 1, _WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, 1 + _TOKENS, _WIDTH))
        self.blocks = nn.Sequential(*[_Block() for _ in range(_DEPTH)])
        self.norm = nn.LayerNorm(_WIDTH)
        self.head = nn.Linear(_WIDTH, classes)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a class."""
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], 1) + self.positions
        out: Tensor = self.head(self.norm(self.blocks(tokens))[:, 0])
        return out
