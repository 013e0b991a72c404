"""torchvision's convolutional video networks through both splits that run frozen clips."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from tests import nets
from torch import Tensor, nn

import relprop
from relprop.compat import load_torchvision
from relprop.video.separation import MotionSeparation

METHOD = relprop.DeepTaylor(bounds=(0.0, 1.0), seed="one")
FILMS = ("original", "spatial", "temporal")


@lru_cache(maxsize=1)  # 33 million weights each
def net(name: str) -> nn.Module:
    """In float64, with seeded weights and batch norms."""
    build = getattr(load_torchvision().models.video, name)
    with torch.device("meta"):  # torchvision's own initialisation takes longer than all else here
        model = build(weights=None)
    return nets.seeded(model.to_empty(device="cpu"), 0)


def clip(frames: int, side: int) -> Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, frames, side, side, generator=g, dtype=torch.float64)


def check(s: MotionSeparation, x: Tensor, ledgers: set[str]) -> float:
    """What every split keeps, and the gap between the sum of the streams and the original's."""
    for name in FILMS:
        film = getattr(s, name)
        assert film.shape == (1, *x.shape[2:])
        assert bool(torch.isfinite(film).all())
    assert set(s.ledgers) == ledgers
    for name, ledger in s.ledgers.items():
        print(f"{s.mode} {name}: largest error {ledger.max_error:.1e}")
        assert ledger.closes, f"{name}: {ledger}"
    original, spatial, temporal = (float(getattr(s, name).sum()) for name in FILMS)
    gap = abs(spatial + temporal - original) / abs(original)
    print(f"{s.mode}: {original:.6f} = {spatial:.6f} + {temporal:.6f}, gap {gap:.1e}")
    return gap


def separated(name: str, x: Tensor, mode: Any, chunk: int = 4) -> MotionSeparation:
    return relprop.separate_motion(net(name), x, 3, METHOD, mode, chunk=chunk)


@pytest.mark.parametrize("name", ["r3d_18", "mc3_18", "r2plus1d_18"])
def test_both_splits(name: str) -> None:
    x = clip(4, 16)
    s = separated(name, x, "conserving")
    assert check(s, x, {"original", "spatial", "temporal"}) < 1e-12
    assert min(float(getattr(s, part).min()) for part in FILMS) >= 0
    assert bool(s.temporal.any())
    assert bool(s.spatial.any())
    naive = separated(name, x, "naive")
    assert check(naive, x, {"original", "frozen"}) < 1e-12
    assert torch.equal(naive.temporal, naive.original - naive.spatial)
    torch.testing.assert_close(naive.original, s.original, rtol=1e-10, atol=1e-15)
    still = x[:, :, 1:2].expand_as(x).contiguous()
    assert not bool(separated(name, still, "conserving").temporal.any())


@pytest.mark.nightly
def test_s3d() -> None:
    """At the least clip that its average pool takes; some minutes."""
    x = clip(13, 209)
    for less in (x[:, :, :12], x[..., :208]):
        with pytest.raises(RuntimeError, match="smaller than kernel size"), torch.no_grad():
            net("s3d")(less)
    s = separated("s3d", x, "conserving", chunk=1)
    assert check(s, x, {"original", "spatial", "temporal"}) < 1e-12
    assert min(float(getattr(s, part).min()) for part in FILMS) >= 0
    assert bool(s.temporal.any())
    naive = separated("s3d", x, "naive", chunk=1)
    assert check(naive, x, {"original", "frozen"}) < 1e-12
