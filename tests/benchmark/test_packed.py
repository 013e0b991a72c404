"""Packed maps: what comes out is what went in, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from relprop.benchmark.packed import as_kept, packed, unpacked
from relprop.errors import RelpropError


def noise(*size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=size) * 1e-3).to(dtype)


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (112, 112), (224, 337), (3, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_nothing_is_lost(size: tuple[int, int], dtype: torch.dtype) -> None:
    values = noise(*size, dtype=dtype)
    found = unpacked(packed(values))
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(found, as_kept(values))
    assert torch.equal(found.double(), values.double())


def test_extremes() -> None:
    values = torch.tensor([[0.0, -0.0, 1e-45], [float("inf"), float("nan"), -3.4e38]])
    found = unpacked(packed(values))
    assert found.numpy().tobytes() == values.numpy().tobytes()


def test_views_and_their_owners() -> None:
    whole = noise(10, 12).requires_grad_()
    for view in (whole.T, whole[::2, 3:], whole[:0]):
        found = unpacked(packed(view))
        assert torch.equal(found, view.detach())
    found[...] = 1  # it belongs to nobody else


def test_it_is_smaller() -> None:
    smooth = torch.linspace(0, 1, 112)[:, None] * torch.linspace(0, 1, 112)
    assert len(packed(smooth)) < 0.85 * smooth.numel() * 4
    assert len(packed(noise(112, 112))) < 0.95 * 112 * 112 * 4
    assert len(packed(torch.zeros(112, 112))) < 400


def test_damage_is_seen() -> None:
    data = packed(noise(20, 30))
    for k in [*range(25), 100, len(data) - 1]:
        broken = bytearray(data)
        broken[k] ^= 0x10
        with pytest.raises(RelpropError, match="bytes of a kept map but they are damaged"):
            unpacked(bytes(broken))
    for broken in (b"", data[:10], data[:-1], data + b"x", b"x" * 100):
        with pytest.raises(RelpropError, match="bytes of a kept map but they are damaged"):
            unpacked(broken)
