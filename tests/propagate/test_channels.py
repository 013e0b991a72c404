"""Maps laid out with the channels last: the same relevance, from weights as they are now."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from unittest.mock import patch

import pytest
import torch
from tests.nets import METHODS, seeded
from torch import Tensor, nn

import relprop
from relprop.graph import agreement
from relprop.tracing import channels, values

SIZE = 96  # the smallest side that is laid out so


class Mixed(nn.Module):
    """What may lay maps out anew: joins, gates, groups, a transposed convolution, resizing, views."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.wide = nn.Conv2d(16, 12, 1)
        self.up = nn.ConvTranspose2d(12, 6, 2, 2)
        self.down = nn.Conv2d(6, 12, 3, 2, 1, groups=3)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 12, 1), nn.Sigmoid())
        self.head = nn.Linear(12 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.cat([x, torch.relu(self.deep(x))], 1)
        x = torch.relu(self.wide(nn.functional.max_pool2d(x, 3, 2, 1)))
        x = torch.relu(self.down(torch.relu(self.up(x))) + x)
        x = x * self.gate(x)
        x = nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear")
        x = nn.functional.avg_pool2d(x, 2)
        return self.head(x.permute(0, 2, 3, 1).reshape(len(x), -1))


class Residual(nn.Module):
    """Bottlenecks with batch norms, one with another stride, and a mean at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, 2, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.bodies = nn.ModuleList(self.body(stride) for stride in (1, 2))
        self.short = nn.Sequential(nn.Conv2d(8, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    @staticmethod
    def body(stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 6, 3, stride, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        x = torch.relu(self.bodies[0](x) + x)
        x = torch.relu(self.bodies[1](x) + self.short(x))
        return self.head(x.mean((2, 3)))


def vgg() -> nn.Sequential:
    """Convolutions, max pools and two linear layers."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4),
        nn.Flatten(), nn.Linear(12 * 36, 24), nn.ReLU(), nn.Linear(24, 5),
    )  # fmt: skip
    return seeded(model, 0).float()  # type: ignore[return-value]


def resnet() -> nn.Module:
    return seeded(Residual(), 1).float()


def mixed() -> nn.Module:
    return seeded(Mixed(), 2).float()


def pictures(n: int, side: int = SIZE) -> Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(3))


@cache
def twins(net: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    """The network twice: each keeps to one order, so that each is captured once for all methods."""
    return net(), net()


def both(
    net: Callable[[], nn.Module], x: Tensor, method: str, **asked: object
) -> tuple[relprop.Explanation, ...]:
    """The explanation with the channels last, and with them first."""
    one, other = twins(net)
    with patch.object(values, "wants_last_channels", lambda *_: False):
        first = relprop.explain(other, x, method=method, **asked)
        assert not relprop.trace(other, x).last_channels
    last = relprop.explain(one, x, method=method, **asked)
    assert relprop.trace(one, x).last_channels
    return last, first


@pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")
@pytest.mark.parametrize(
    ("net", "method"),
    [
        (net, "lrp:rule=alpha-beta" if method == "lrp" else method)
        for net in (vgg, resnet, mixed)
        for method in METHODS
        if (net, method) != (mixed, "affine")  # which a sigmoid isn't
    ],
)
def test_every_method_gives_the_same_map_in_both_orders(net: Callable[[], nn.Module], method: str) -> None:
    last, first = both(net, pictures(2), method, target=[1, 0, 2])
    size = first.relevance.abs().amax()
    assert size > 0
    assert float((last.relevance - first.relevance).abs().amax() / size) < 1e-3
    assert last.ledger is None or last.ledger.closes
    assert last.relevance.is_contiguous()


def test_weights_written_through_data_are_seen() -> None:
    model, x = vgg(), pictures(1)
    relprop.explain(model, x, 0, "lrp:rule=z-plus")
    kernel = next(m for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 3).weight
    kernel.data[1, 1, 0, 1] += 0.5
    now = relprop.explain(model, x, 0, "lrp:rule=z-plus").relevance
    relprop.clear_cache()
    fresh = relprop.explain(model, x, 0, "lrp:rule=z-plus").relevance
    assert float((now - fresh).abs().amax() / fresh.abs().amax()) < 1e-5


def test_the_model_keeps_its_own_order() -> None:
    model, x = vgg(), pictures(1)
    relprop.explain(model, x, 0)
    assert all(p.is_contiguous() for p in model.parameters())
    assert model(x).is_contiguous()


def test_a_model_that_lies_so_already_is_taken_as_it_is() -> None:
    x = pictures(1)
    there = resnet().to(memory_format=torch.channels_last)
    own = relprop.explain(there, x.contiguous(memory_format=torch.channels_last), 1, "lrp:rule=z-plus")
    plain = relprop.explain(resnet(), x, 1, "lrp:rule=z-plus")
    assert float((own.relevance - plain.relevance).abs().amax() / plain.relevance.abs().amax()) < 1e-4


def test_networks_that_go_by_addresses_or_are_small_keep_the_usual_order() -> None:
    class Strided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = vgg()[:9]

        def forward(self, x: Tensor) -> Tensor:
            y = self.body(x)
            return y.as_strided((len(y), 4), (y.stride(0), 1))

    assert not relprop.trace(resnet(), pictures(1, 48)).last_channels
    assert relprop.trace(vgg(), pictures(1)).last_channels
    x = pictures(1)
    graph = relprop.trace(Strided().eval(), x).graph
    assert not channels.wants_last_channels(graph, x)


def test_a_kernel_of_one_pixel_may_be_asked_for_as_dilated() -> None:
    x = torch.randn(2, 8, 48, 48).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(6, 8, 1, 1)
    assert channels.dilation_of(x, weight, (1, 1)) == (2, 2)
    assert channels.dilation_of(x.contiguous(), weight, (1, 1)) == (1, 1)
    assert channels.dilation_of(x[:, :, :20, :20], weight, (1, 1)) == (1, 1)
    assert channels.dilation_of(x, torch.randn(6, 8, 3, 3), (1, 1)) == (1, 1)
    found, wanted = channels.convolved(x, weight, None, 2), torch.conv2d(x.double(), weight.double(), None, 2)
    assert float((found - wanted).abs().max()) < 1e-5


def wide_sums() -> nn.Sequential:
    """Sums of thousands of terms that mostly cancel: what another order of adding moves most."""
    layers: list[nn.Module] = []
    for inside, out in ((3, 64), (64, 128), (128, 256), (256, 256)):
        layers += [nn.Conv2d(inside, out, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)]
    whole = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 36, 1000), nn.Linear(1000, 4))
    return seeded(whole, 3).float()  # type: ignore[return-value]


def test_sums_in_another_order_are_rounding_and_a_wrong_map_is_not() -> None:
    model, x = wide_sums(), pictures(1)
    run = relprop.trace(model, x)
    assert run.last_channels
    assert run.graph.reorders
    whole = run.output
    size = float(whole.abs().max())
    assert agreement.reordering(run.graph, whole + 30 * torch.finfo(x.dtype).eps * size, whole) is None
    moved = whole.clone()
    moved[0, 1] += 1e-3 * size
    assert "differs by up to" in str(agreement.reordering(run.graph, moved, whole))
    assert agreement.reordering(run.graph, (whole,), whole) == "is of another structure"


def test_the_first_run_computes_nothing_in_double_precision() -> None:
    """Where the two orders differ by rounding a run in the model's own order settles it, at half the memory."""
    model, x = wide_sums(), pictures(1)
    seen: list[torch.dtype] = []
    replay = values.replay

    def noted(graph: object, params: object, at: Tensor) -> object:
        seen.append(at.dtype)
        return replay(graph, params, at)  # type: ignore[arg-type]

    with patch.object(values, "replay", noted):
        relprop.trace(model, x)
    assert set(seen) <= {torch.float32}
