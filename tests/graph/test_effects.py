"""Training mode: refused where a value depends on the batch, not where a weight is standardised."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import InputError

#: What is said of large biases and the like is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class StdConv(nn.Conv2d):
    """Weight standardisation by a batch norm of the weight, one of `kinds`."""

    kind = "batch_norm"

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        if self.kind == "batch_norm":
            rows = F.batch_norm(rows, None, None, training=True, momentum=0.0, eps=1e-6)
        elif self.kind == "instance_norm":
            rows = F.instance_norm(rows, eps=1e-6)
        else:
            rows = (rows - rows.mean(-1, keepdim=True)) / (
                rows.var(-1, keepdim=True, correction=0) + 1e-6
            ).sqrt()
        return F.conv2d(x, rows.reshape_as(self.weight), self.bias, self.stride, self.padding)


def net(kind: str) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        StdConv(3, 4, 3), nn.ReLU(), StdConv(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 36, 3),
    ).double().eval()  # fmt: skip
    for module in model.modules():
        if isinstance(module, StdConv):
            module.kind = kind
    return model


@pytest.mark.parametrize("method", ["lrp-0", "lrp-epsilon", "lrp-composite", "gradient", "rsp", "affine"])
def test_a_standardised_weight_is_a_weight(method: str) -> None:
    """However it is written, and as in the network with the weights put in."""
    plain = net("by hand")
    found = [relprop.explain(net(kind), X, 1, method) for kind in ("batch_norm", "instance_norm", "by hand")]
    for e in found:
        assert_close_to_rounding(e.relevance, found[-1].relevance, plain)
        assert e.ledger is None or e.ledger.closes


REFUSED: dict[str, Any] = {
    "of the input": lambda m, x: F.batch_norm(x, None, None, training=True),
    "of a detached value": lambda m, x: x * F.batch_norm(x.detach(), None, None, training=True),
    "of a value without a gradient": lambda m, x: x * F.batch_norm((x > 0).double(), None, None, training=True),
    "of a weight, with running statistics": lambda m, x: x * F.batch_norm(
        m.w, m.mean, m.var, training=True
    ),
    "dropout of a weight": lambda m, x: x * F.dropout(m.w, 0.5, training=True),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_training_mode_is_refused(name: str) -> None:
    parts = {"w": torch.rand(1, 3, 8, 8), "mean": torch.zeros(3), "var": torch.ones(3)}
    model = Fn(
        lambda m, x: REFUSED[name](m, x).flatten(1), **{k: v.double() for k, v in parts.items()}
    ).eval()  # fmt: skip
    with pytest.raises(InputError, match=r"runs in training mode. Call model.eval\(\) first"):
        relprop.explain(model, X, 1, "lrp-0")
    assert torch.equal(model.mean, torch.zeros(3).double())
