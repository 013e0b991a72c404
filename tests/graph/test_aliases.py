"""Two names of one storage: what is written through one is read through the other, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

from relprop import explain, trace
from relprop.errors import CaptureError

# Each gives its argument another name, or a part of it, or (the last ones) a copy.
NAMES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "same": lambda m, y: y,
    "identity": lambda m, y: m.same(y),
    "dropout": lambda m, y: F.dropout(y, 0.5, False),
    "dropout module": lambda m, y: m.drop(y),
    "dropout without chance": lambda m, y: F.dropout(y, 0.0, True),
    "dropout2d": lambda m, y: F.dropout2d(y, 0.5, False),
    "alpha dropout": lambda m, y: F.alpha_dropout(y, 0.5, False),
    "feature alpha dropout": lambda m, y: F.feature_alpha_dropout(y, 0.5, False),
    "contiguous": lambda m, y: y.contiguous(),
    "to": lambda m, y: y.to(y.dtype),
    "type_as": lambda m, y: y.type_as(y),
    "double": lambda m, y: y.double(),
    "positive": lambda m, y: +y,
    "real": lambda m, y: torch.real(y),
    "detach": lambda m, y: y.detach(),
    "reshape": lambda m, y: y.reshape(y.shape[0], -1),
    "reshape to its own shape": lambda m, y: y.reshape(y.shape),
    "reshape that copies": lambda m, y: y.transpose(1, 2).reshape(y.shape[0], -1),
    "flatten": lambda m, y: y.flatten(1),
    "view": lambda m, y: y.view(y.shape[0], -1),
    "expand": lambda m, y: y.expand(-1, -1, -1, -1),
    "chunk": lambda m, y: y.chunk(2, 1)[0],
    "unsafe chunk": lambda m, y: y.unsafe_chunk(2, 1)[1],
    "split": lambda m, y: y.split([1, 3], 1)[1],
    "unbind": lambda m, y: y.unbind(1)[2],
    "unfold": lambda m, y: y.unfold(2, 2, 2),
    "squeeze": lambda m, y: y[:, :1].squeeze(1),
    "unsqueeze": lambda m, y: y.unsqueeze(1),
    "diagonal": lambda m, y: y.diagonal(0, 2, 3),
    "narrow": lambda m, y: y.narrow(1, 1, 2),
    "slice": lambda m, y: y[:, ::2],
    "permute": lambda m, y: y.permute(0, 2, 3, 1),
    "as_strided": lambda m, y: y.as_strided((2, 3), (48, 1), 1),
    "view_as_real": lambda m, y: torch.view_as_real(torch.complex(y, y)),
    "clone": lambda m, y: y.clone(),
    "relu": lambda m, y: y.relu(),
    "pad by nothing": lambda m, y: F.pad(y, (0, 0)),
    "average of one": lambda m, y: F.adaptive_avg_pool2d(y, (4, 4)),
    "permuted copy": lambda m, y: y.permute(0, 2, 3, 1).contiguous(),
}


def _assign(z: Tensor) -> None:
    z[...] = 2 * z


def _assign_a_part(z: Tensor) -> None:
    z[:1] = 0.5


WRITES: dict[str, Callable[[Tensor], Any]] = {
    "mul_": lambda z: z.mul_(2),
    "relu_": lambda z: F.relu(z, inplace=True),
    "+=": lambda z: z.__iadd__(1),
    "out=": lambda z: torch.add(z, 1, out=z),
    "assignment": _assign,
    "assignment to a part": _assign_a_part,
    "copy_": lambda z: z.copy_(3 * z),
    "zero_": lambda z: z.zero_(),
    "masked_fill_": lambda z: z.masked_fill_(z < 0, 0.1),
    "hardswish_": lambda z: F.hardswish(z, True),
    "dropout_": lambda z: F.dropout(z, 0.5, False, True).mul_(2),
    "index_add_": lambda z: z.index_add_(0, torch.tensor([0]), z[:1] * 1),
}


def _network(name: Callable[[Any, Tensor], Tensor], write: Callable[[Tensor], Any], form: str) -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        y = x if form == "the input" else m.conv(x)
        z = name(m, y)
        if form == "the base":
            write(y)
            return m.head(y.flatten(1)) + z.sum()
        write(z)
        return m.head((y - 0.5 * y.relu()).flatten(1)) + z.sum()

    torch.manual_seed(0)
    parts = {"conv": nn.Conv2d(4, 4, 3, padding=1), "head": nn.Linear(64, 3), "same": nn.Identity()}
    return Fn(forward, **parts, drop=nn.Dropout(0.5)).double().eval()


CASES = [
    *((name, "mul_", form) for name in NAMES for form in ("the view", "the base")),
    *(("dropout", write, "the view") for write in WRITES),
    *(("reshape", write, "the view") for write in WRITES),
    *((name, "relu_", "the input") for name in ("dropout", "reshape", "to", "narrow")),
]


@pytest.mark.parametrize(("name", "write", "form"), dict.fromkeys(CASES))
def test_a_write_is_read_through_every_name(name: str, write: str, form: str) -> None:
    model = _network(NAMES[name], WRITES[write], form)
    x = torch.randn(2, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kept = x.clone()
    with torch.no_grad():
        expected = model(x.clone())
    assert_close_to_rounding(trace(model, x).output, expected, model)
    assert torch.equal(x, kept)


def test_a_write_to_overlapping_places_is_refused() -> None:
    model = _network(lambda m, y: y.unfold(2, 2, 1), WRITES["mul_"], "the view")
    with pytest.raises(CaptureError, match=r"operator 'mul' .* read through another name"):
        trace(model, torch.randn(2, 4, 4, 4, dtype=torch.float64))


class Doubled(nn.Module):
    """In evaluation mode dropout returns its argument itself: y is doubled with z."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        z = self.drop(y)
        z.mul_(2)
        return y + z


def test_dropout_is_another_name_of_its_input() -> None:
    e = explain(Doubled().eval(), torch.tensor([[1.0, 2.0, 3.0]]), 0, "lrp-0")
    assert e.outputs.tolist() == [[4.0, 8.0, 12.0]]
    assert e.relevance.tolist() == [[4.0, 0.0, 0.0]]
    assert e.ledger is not None
    assert e.ledger.closes


def test_a_batch_in_another_layout_is_another_graph() -> None:
    """Of a tensor with the channels last `flatten` copies: a write behind it stays there."""

    def forward(m: Any, x: Tensor) -> Tensor:
        y = x * 1
        y.flatten(1).mul_(2)
        return m.head(y.flatten(1))

    torch.manual_seed(0)
    model = Fn(forward, head=nn.Linear(48, 3)).double().eval()
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = x.contiguous(memory_format=layout)
        with torch.no_grad():
            expected = model(given.clone())
        assert_close_to_rounding(trace(model, given).output, expected, model)
