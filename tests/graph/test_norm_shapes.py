"""While a model is captured its batch norms tell shapes alone; what they compute is the model's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import RelpropError
from relprop.graph import capture


class Normed(nn.Module):
    def __init__(self, norm: Callable[..., Tensor], dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 3, 3), nn.Linear(3, 2)
        self.bn = nn.BatchNorm2d(3)
        with torch.no_grad():
            self.bn.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            self.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        self.norm = norm
        self.to(dtype).eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self, self.conv(x)).relu_().mean((2, 3)))


def _function(net: Normed, x: Tensor) -> Tensor:
    return F.batch_norm(x, net.bn.running_mean, net.bn.running_var, None, net.bn.bias, False, 0.1, 1e-3)


def _asks_for_derivatives(net: Normed, x: Tensor) -> Tensor:
    """A forward that does something else where a value has no derivative, as checkpointing does."""
    y = net.bn(x)
    return y if y.requires_grad else y * 0


NORMS: dict[str, Callable[..., Tensor]] = {
    "module": lambda net, x: net.bn(x),
    "function": _function,
    "channels last": lambda net, x: net.bn(x.contiguous(memory_format=torch.channels_last)),
    "derivatives": _asks_for_derivatives,
    "on the input": lambda net, x: net.bn(x.detach()) + x,
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
def test_maps_are_the_models_own(norm: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    net, x = Normed(norm), torch.randn(2, 2, 6, 6, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf)[:, 1].sum(), leaf)
    assert_close_to_rounding(relprop.explain(net, x, 1, "gradient").relevance, gradient, terms=100)
    e = relprop.explain(net, x, 1, "lrp-epsilon")
    assert e.ledger is not None
    assert e.ledger.closes


def test_only_norms_with_fixed_statistics_tell_shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics of the batch, and shapes that don't fit, go to torch's own code, with its own refusals."""
    x = torch.randn(2, 2, 6, 6)
    learning = Normed(lambda n, y: F.batch_norm(y, None, None, n.bn.weight, n.bn.bias, True)).float()
    with pytest.raises(RelpropError):
        capture(learning, x)
    wrong = Normed(lambda n, y: n.bn(torch.cat([y, y], 1))).float()
    with pytest.raises(RelpropError, match="running_mean"):
        relprop.explain(wrong, x, 1, "lrp-0")
    with monkeypatch.context() as patched:
        kernels = torch.ops.aten.native_batch_norm.default.py_kernels
        called: list[int] = []
        for key, theirs in list(kernels.items()):
            patched.setitem(kernels, key, lambda *given, theirs=theirs: called.append(1) or theirs(*given))
        torch.ops.aten.native_batch_norm.default._dispatch_cache.clear()
        capture(Normed(NORMS["module"]).float(), x)
        assert called == []
    torch.ops.aten.native_batch_norm.default._dispatch_cache.clear()
