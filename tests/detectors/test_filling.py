"""How pixels are taken away."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from relprop.detectors.filling import FILLS, fill_words, filled
from relprop.errors import InputError


def noise(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def holes(height: int, width: int) -> Tensor:
    """Nothing, one pixel, a corner, scattered pixels, nearly everything, everything."""
    masks = torch.zeros(6, height, width, dtype=torch.bool)
    masks[1, height // 2, width // 2] = True
    masks[2, : height // 2, : width // 2] = True
    masks[3] = noise(height, width) > 0
    masks[4:] = True
    masks[4, -1, -1] = False
    return masks


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (40, 31), (65, 130)])
def test_a_constant_picture_stays(fill: str, size: tuple[int, int]) -> None:
    x = torch.tensor([0.3, -2.0, 5.0], dtype=torch.float64)[None, :, None, None].expand(1, 3, *size)
    masks = holes(*size)
    torch.testing.assert_close(filled(x, masks, fill), x.expand(6, -1, -1, -1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("fill", FILLS)
def test_only_hidden_pixels_of_the_picture_change(fill: str) -> None:
    x, masks = noise(1, 3, 40, 31), holes(40, 31)
    before = x.clone()
    window = (4, 2, 29, 33)
    made = filled(x, masks, fill, window)
    assert torch.equal(x, before)
    changed = (made != x).any(1)
    allowed = torch.zeros_like(masks)
    allowed[:, 2:33, 4:29] = masks[:, 2:33, 4:29]
    assert torch.equal(changed, allowed)
    # What lies around the picture is never read either.
    other = x.clone()
    other[..., :2, :] = 7
    other[..., 29:] = -9
    assert torch.equal(filled(other, masks, fill, window)[..., 2:33, 4:29], made[..., 2:33, 4:29])


def test_mean_is_the_pictures() -> None:
    x, masks = noise(1, 3, 10, 12), holes(10, 12)
    made = filled(x, masks, "mean", (1, 2, 9, 8))
    torch.testing.assert_close(made[5, :, 2, 1], x[0, :, 2:8, 1:9].mean((1, 2)), rtol=1e-12, atol=1e-14)


def test_what_is_hidden_is_not_read_by_inpainting() -> None:
    x, masks = noise(1, 3, 40, 31), holes(40, 31)[1:5]
    other = torch.where(masks[:, None], 100.0, x)
    for k in range(len(masks)):
        one, two = (filled(t, masks[k : k + 1]) for t in (x, other[k : k + 1]))
        assert torch.equal(one, two)


def test_a_small_hole_is_the_normalised_convolution() -> None:
    """With ε for the coarser level, which a known surrounding leaves little to say."""
    x, hole = noise(1, 1, 41, 41), torch.zeros(1, 41, 41, dtype=torch.bool)
    hole[0, 19:22, 19:22] = True
    sigma = 2.0
    place = torch.arange(41, dtype=torch.float64) - 20
    distance = place[:, None].square() + place.square()
    near = torch.maximum(place[:, None].abs(), place.abs()) <= 3 * sigma
    weights = torch.exp(-distance / (2 * sigma**2)) * near * ~hole[0]
    exact = (weights * x[0, 0]).sum() / weights.sum()
    trusted = weights.sum() / (2 * torch.pi * sigma**2)
    made = filled(x, hole, sigma=sigma)[0, 0, 20, 20]
    coarse = (made * (trusted + 0.01) - exact * trusted) / 0.01  # what the coarser level said
    assert x.min() < coarse < x.max()
    assert abs(made - exact) <= 0.01 / trusted * (x.max() - x.min())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("fill", FILLS)
def test_in_the_inputs_own_precision(fill: str, dtype: torch.dtype) -> None:
    x, masks = noise(1, 3, 20, 24), holes(20, 24)
    made = filled(x.to(dtype), masks, fill)
    assert made.dtype == dtype
    bound = 8 * torch.finfo(dtype).eps * float(x.abs().max())
    torch.testing.assert_close(made.double(), filled(x.to(dtype).double(), masks, fill), rtol=0, atol=bound)


def test_refusals() -> None:
    x = noise(1, 3, 4, 5)
    with pytest.raises(
        InputError, match="Expected fill to be one of 'inpaint', 'blur', 'mean' but got 'grey'"
    ):
        filled(x, torch.zeros(1, 4, 5, dtype=torch.bool), "grey")
    with pytest.raises(InputError, match=re.escape("Expected masks of bool (M, 4, 5)")):
        filled(x, torch.zeros(1, 5, 4, dtype=torch.bool))
    with pytest.raises(InputError, match=re.escape("but got torch.float32 (1, 4, 5)")):
        filled(x, torch.zeros(1, 4, 5))
    with pytest.raises(InputError, match="Expected fill to be one of"):
        fill_words("grey")
