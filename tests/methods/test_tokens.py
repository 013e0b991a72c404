"""Maps of transformers: Grad-CAM on tokens, and attention rollout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import InputError

_WIDTH, _HEADS, _GRID = 12, 3, (3, 4)


class Block(nn.Module):
    """Attention by one of three spellings; keeps its weights, for tests to read."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = (
            nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, 3 * _WIDTH), nn.Linear(_WIDTH, _WIDTH),
        )  # fmt: skip
        self.spelling = spelling

    def weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        return (q @ k.mT / 2).softmax(-1), v

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
        if self.spelling == "function":
            y = F.scaled_dot_product_attention(q, k, v)
        elif self.spelling == "products":
            y = (q @ k.mT / 2).softmax(-1) @ v
        else:  # heads among the samples, as nn.MultiheadAttention has them
            q, k, v = (t.flatten(0, 1) for t in (q, k, v))
            y = torch.bmm((torch.bmm(q, k.mT) / 2).softmax(-1), v).unflatten(0, (-1, _HEADS))
        return x + self.out(y.transpose(1, 2).flatten(2))


class ViT(nn.Module):
    """Patches of 2 x 2, `front` tokens before them, a head that reads the first token, or the mean of all."""

    def __init__(self, front: int = 1, spelling: str = "function", registers: int = 0) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, _WIDTH, 2, stride=2)
        self.front = nn.Parameter(torch.randn(1, front, _WIDTH)) if front else None
        self.registers = nn.Parameter(torch.randn(1, registers, _WIDTH)) if registers else None
        self.blocks = nn.Sequential(*[Block(spelling) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, 5)

    def tokens(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        if self.front is not None:
            tokens = torch.cat([self.front.expand(len(x), -1, -1), tokens], 1)
        if self.registers is not None:  # behind the class token, as DINOv2 has them
            tokens = torch.cat([tokens[:, :1], self.registers.expand(len(x), -1, -1), tokens[:, 1:]], 1)
        return tokens

    def last(self, tokens: Tensor) -> Tensor:
        tokens = self.norm(tokens)
        return self.head(tokens[:, 0] if self.front is not None else tokens.mean(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.tokens(x)))


def pair(**settings: Any) -> tuple[ViT, Tensor]:
    torch.manual_seed(3)
    return ViT(**settings).double().eval(), torch.randn(2, 3, 6, 8, dtype=torch.float64)


FORMS = [{"front": 1}, {"front": 0}, {"front": 2}, {"front": 1, "registers": 4}]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("spelling", ["function", "products", "bmm"])
def test_rollout_is_the_product_of_the_weights(form: dict[str, int], spelling: str) -> None:
    model, x = pair(**form, spelling=spelling)
    tokens, total = model.tokens(x), None
    for block in model.blocks:
        a = block.weights(tokens)[0].mean(1).detach()
        a = (a + torch.eye(a.shape[-1], dtype=a.dtype)) / 2
        total = a if total is None else a @ total
        tokens = block(tokens)
    row = total[:, 0] if form["front"] else total.mean(1)
    front = form["front"] + form.get("registers", 0)
    e = relprop.explain(model, x, [0, 3], "attention-rollout")
    assert e.relevance.shape == (2, 2, 1, *_GRID)
    assert (e.at, e.signed) == ("embed", False)
    for k in (0, 1):
        assert_close_to_rounding(e.relevance[k, :, 0].flatten(1), row[:, front:], model)
    assert e.notes == ("Attention rollout doesn't read the output: the map is the same for every class.",)
    assert e.heatmap().shape == (2, 2, 6, 8)


@pytest.mark.parametrize("heads", ["max", "min"])
def test_rollout_of_the_strongest_or_weakest_head(heads: str) -> None:
    model, x = pair()
    total, tokens = torch.eye(13, dtype=torch.float64), model.tokens(x)
    for block in model.blocks:
        a = getattr(block.weights(tokens)[0].detach(), f"a{heads}")(1)
        total = (0.3 * torch.eye(13, dtype=a.dtype) + 0.7 * a / a.sum(-1, keepdim=True)) @ total
        tokens = block(tokens)
    e = relprop.explain(model, x, 0, relprop.AttentionRollout(skip=0.3, heads=heads))
    assert_close_to_rounding(e.relevance.flatten(1), total[:, 0, 1:], model)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_grad_cam_on_tokens(form: dict[str, int]) -> None:
    """In front of the last attention, tokens of patches on their grid, weights by their mean gradient."""
    model, x = pair(**form)
    before = model.blocks[:2](model.tokens(x)).detach()
    last: Any = model.blocks[2]
    normed = last.norm(before).detach().requires_grad_()
    last_norm, last.norm = last.norm, nn.Identity()
    (g,) = torch.autograd.grad(model.last(before + last(normed) - normed)[:, 3].sum(), normed)
    last.norm = last_norm
    front = form["front"] + form.get("registers", 0)
    g, a = g[:, front:], normed.detach()[:, front:]
    theirs = (a * g.mean(1, keepdim=True)).sum(-1).clamp(min=0)
    e = relprop.explain(model, x, 3, "grad-cam")
    assert e.at == "blocks.2.norm"
    assert_close_to_rounding(e.relevance.flatten(1), theirs, model)


def test_grad_cam_at_named_tokens() -> None:
    model, x = pair()
    value = model.blocks[:1](model.tokens(x)).detach().requires_grad_()
    (g,) = torch.autograd.grad(model.last(model.blocks[1:](value))[:, 1].sum(), value)
    theirs = (value.detach()[:, 1:] * g[:, 1:].mean(1, keepdim=True)).sum(-1).clamp(min=0)
    e = relprop.explain(model, x, 1, relprop.GradCAM(at="blocks.0"), layers=["blocks.1"])
    assert_close_to_rounding(e.relevance.flatten(1), theirs, model)
    assert e.layers["blocks.1"].shape == (2, 1, *_GRID)


def test_networks_without_attention_over_all_patches_are_refused() -> None:
    class Windows(ViT):
        """Attention in the two halves of the picture."""

        def forward(self, x: Tensor) -> Tensor:
            halves = self.blocks(self.tokens(x).unflatten(1, (2, -1)).flatten(0, 1))
            return self.last(halves.unflatten(0, (-1, 2)).flatten(1, 2))

    cnn = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)).double().eval()
    x = pair()[1]
    with pytest.raises(InputError, match="got no attention"):
        relprop.explain(cnn, x, 0, "attention-rollout")
    with pytest.raises(InputError, match="something else than the patches"):
        relprop.explain(Windows(0).double().eval(), x, 0, "attention-rollout")
    with pytest.raises(InputError, match="from 0 to 1"):
        relprop.AttentionRollout(skip=1.5)
