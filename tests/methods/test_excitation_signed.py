"""Excitation backprop where values have both signs: shares stay in [0, 1], whatever the operators."""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import UnsupportedOperatorError

EB, CEB = relprop.ExcitationBackprop, relprop.ContrastiveExcitationBackprop


class RepVGG(nn.Module):
    """relu(bn(conv3(x)) + bn(conv1(x)) + bn(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.point = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.norms
        return F.relu(a(self.wide(x)) + b(self.point(x)) + c(x))


class Bottleneck(nn.Module):
    """Widen, convolve each channel, narrow without activation, and a sum of signed values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(3 * width, width, 1)
        self.each = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.narrow(F.relu6(self.each(F.relu6(self.widen(x))))))


class Gated(nn.Module):
    """Squeeze and excitation behind a SiLU, a subtraction, pools and upsampling of signed values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.squeeze = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.conv(x))
        y = y * self.squeeze(y.mean((2, 3), keepdim=True)).sigmoid()
        small = F.avg_pool2d(x, 2)
        return y - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)


class Attentive(nn.Module):
    """Attention with a norm in front, over the positions as tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(2).transpose(1, 2)
        read = self.norm(z)
        z = z + self.attention(read, read, read, need_weights=False)[0]
        z = z + F.gelu(self.out(z))
        return z.transpose(1, 2).reshape(x.shape)


def convs(activation: type[nn.Module]) -> list[nn.Module]:
    return [layer for _ in range(8) for layer in (nn.Conv2d(8, 8, 3, padding=1), activation())]


BODIES = {
    "RepVGG": lambda: [RepVGG(8) for _ in range(8)],
    "linear bottlenecks": lambda: [Bottleneck(8) for _ in range(8)],
    "gates, pools, differences": lambda: [Gated(8) for _ in range(4)],
    "attention": lambda: [Attentive(8) for _ in range(3)],
    "SiLU": lambda: convs(nn.SiLU),
    "GELU": lambda: convs(nn.GELU),
    "hardswish": lambda: convs(nn.Hardswish),
    "tanh": lambda: convs(nn.Tanh),
    "softplus": lambda: convs(nn.Softplus),
    "no activation": lambda: convs(nn.Identity),
}


@cache
def net(body: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), *BODIES[body]()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.weight)  # some turn their channel over
    return model.double().eval()


@pytest.mark.parametrize("at", [None, "input"])
@pytest.mark.parametrize("body", BODIES)
def test_a_probability_everywhere(body: str, at: str | None) -> None:
    """No warning, nothing below 0, nothing grows; what isn't lost arrives. The same for the contrast's sizes."""
    for seed in range(2):
        model = net(body, seed)
        x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
        e = relprop.explain(model, x, [0, 3], EB(at=at))
        assert e.ledger is not None
        assert e.ledger.closes, str(e.ledger)
        assert float(e.relevance.min()) >= 0
        start = e.ledger.start
        assert start == 4  # two pictures, two classes
        assert max(row.absolute for row in e.ledger.rows) <= start * (1 + 1e-12)
        assert min(row.lost for row in e.ledger.rows) >= -1e-12
        total = float(e.relevance.sum()) + e.ledger.lost + e.ledger.aside
        assert total == pytest.approx(start, abs=1e-11)
        d = relprop.explain(model, x, [0, 3], CEB(at=at))
        assert d.ledger is not None
        assert d.ledger.closes, str(d.ledger)
        sizes = [row.absolute for row in d.ledger.rows]
        assert max(sizes) <= sizes[0] * (1 + 1e-12) <= 2 * start * (1 + 1e-12)
        assert float(d.relevance.abs().sum()) > 1e-6


def shares(terms: Tensor, rising: Tensor) -> Tensor:
    """What each unit (rows) hands to each term (columns): those > 0 where it is `rising`, else those < 0."""
    kept = torch.where(rising[:, None], terms.clamp(min=0), terms.clamp(max=0))
    total = kept.sum(1, keepdim=True)
    return torch.where(total == 0, 0, kept / torch.where(total == 0, 1, total))


class Small(nn.Module):
    """Both signs in everything: SiLU, a difference, a norm that turns channels over, a mean over pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = (nn.Linear(n, m) for n, m in ((5, 6), (6, 8), (6, 8), (4, 3)))
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.a(x))
        z = F.gelu(self.norm(self.b(y)) - self.c(y))
        return self.head(z.reshape(-1, 4, 2).mean(2))  # type: ignore[no-any-return]


def by_hand(model: Small, x: Tensor, target: int) -> Tensor:
    """Transition matrices of the walk, written down from the values."""
    y = F.silu(model.a(x))
    b, c = model.b(y), model.c(y)
    normed = model.norm(b[None])[0]
    z = F.gelu(normed - c)
    pooled = z.reshape(4, 2).mean(1)
    p = shares((model.head.weight[target] * pooled)[None], torch.tensor([True]))[0]
    p = (shares(z.reshape(4, 2), pooled >= 0) * p[:, None]).flatten()
    both = shares(torch.stack([normed, -c], 1), normed - c >= 0) * p[:, None]
    p = both[:, 0] @ shares(model.b.weight * y, normed >= 0) + both[:, 1] @ shares(model.c.weight * y, c >= 0)
    return p @ shares(model.a.weight * x, y >= 0)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_walk_of_its_transition_matrices(seed: int) -> None:
    torch.manual_seed(seed)
    model = Small().double().eval()
    nn.init.normal_(model.norm.weight)
    nn.init.normal_(model.norm.running_mean)
    x = torch.randn(3, 5, dtype=torch.float64)
    e = relprop.explain(model, x, [0, 1, 2], EB(at="input"))
    assert bool((e.outputs < 0).any())  # also of classes whose score is negative
    with torch.no_grad():
        expected = torch.stack([torch.stack([by_hand(model, row, t) for row in x]) for t in range(3)])
    assert_close_to_rounding(e.relevance, expected, model)


def test_what_pulls_a_unit_down_is_followed() -> None:
    """The unit is 1 - 4 = -3 and speaks for the class by being negative: the walk goes to the 4."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    model[0].weight.data = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    model[1].weight.data = torch.tensor([[-1.0]], dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert relprop.explain(model, x, 0, EB(at="input")).relevance.tolist() == [[0.0, 1.0]]


class Scores(nn.Module):
    """Class maps, averaged and doubled by a sum: nothing but fixed weights behind the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(F.relu(x))
        return maps.mean((2, 3)) + maps[:, :, 0, 0]


def test_behind_the_last_layer_it_follows_what_speaks_for_the_class() -> None:
    """Scores of both signs: positions where the class's map is positive, or all where none is."""
    model = Scores().double().eval()
    model.conv.weight.data = torch.tensor([[1.0, -3.0], [1.0, -9.0]], dtype=torch.float64)[:, :, None, None]
    x = torch.tensor([[[[1.0, 8.0]], [[1.0, 2.0]]]], dtype=torch.float64)
    # Class 1: maps -8 and -10, mean -9, corner -8. No position speaks for it.
    e = relprop.explain(model, x, [0, 1], EB(at="relu"))
    assert e.relevance[1].flatten().tolist() == pytest.approx(
        [8 / 17 + 9 / 17 * 8 / 18, 9 / 17 * 10 / 18, 0, 0]
    )
    assert e.ledger is not None
    assert e.ledger.closes
    up = torch.tensor([[[[3.0, 8.0]], [[1.0, 2.0]]]], dtype=torch.float64)  # maps 0 and 2
    e = relprop.explain(model, up, 0, EB(at="relu"))
    assert e.relevance.flatten().tolist() == [0, 1, 0, 0]


def test_weights_of_both_signs_without_a_rule_are_refused() -> None:
    class Bicubic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = F.interpolate(F.silu(self.a(x)), scale_factor=2, mode="bicubic", align_corners=False)
            return self.b(y).mean((2, 3))

    with pytest.raises(UnsupportedOperatorError, match="bicubic"):
        relprop.explain(Bicubic().eval(), torch.randn(1, 1, 6, 6), 0, EB(at="input"))
