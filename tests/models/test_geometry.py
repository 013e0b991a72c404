"""Pictures to inputs and maps back: what is bright in the picture has to be where the map is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.close import assert_close_to_rounding

from relprop.catalogue import GEOMETRIES, GeometryMode
from relprop.models.geometry import Geometry
from relprop.models.pictures import Preprocess

SIZES = [(48, 48), (50, 80), (81, 47), (37, 200), (160, 41), (301, 299), (20, 23)]  # (h, w)


def seen(mode: GeometryMode, size: tuple[int, int] = (32, 32), resize: int | None = None) -> Geometry:
    return Geometry(mode, Preprocess(size, (0.0,) * 3, (1.0,) * 3, resize))


def square(size: tuple[int, int], x: int, y: int, side: int) -> Image.Image:
    values = np.zeros((*size, 3), np.uint8)
    values[y : y + side, x : x + side] = 255
    return Image.fromarray(values)


def brightness(geometry: Geometry, picture: Image.Image) -> torch.Tensor:
    return geometry.input(picture)[0].mean(0)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["shorter", "squash"])
@pytest.mark.parametrize("where", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.3, 0.7), (0.5, 0.5)])
def test_the_maximum_lies_in_the_square(
    mode: GeometryMode, size: tuple[int, int], where: tuple[float, float]
) -> None:
    side = min(size) // 3 if mode == "shorter" else max(size) // 8
    side = min(side, *size)
    x, y = (round(share * (length - side)) for share, length in zip(where, reversed(size), strict=True))
    geometry = seen(mode)
    heat = geometry.back(brightness(geometry, square(size, x, y, side)), size)
    assert heat.shape == size
    assert heat.dtype == np.float64
    top, left = divmod(int(heat.argmax()), size[1])
    assert x <= left < x + side
    assert y <= top < y + side
    # Neither shifted nor turned: what is above half lies where the square does, to a pixel of the input.
    rows, columns = np.nonzero(heat > 0.5)
    fine_y = max(1.0, size[0] / 32 if mode == "squash" else min(size) / 32)
    fine_x = max(1.0, size[1] / 32 if mode == "squash" else min(size) / 32)
    assert abs(rows.min() - y) <= fine_y
    assert abs(rows.max() + 1 - y - side) <= fine_y
    assert abs(columns.min() - x) <= fine_x
    assert abs(columns.max() + 1 - x - side) <= fine_x


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_shorter_keeps_proportions(size: tuple[int, int]) -> None:
    shape = seen("shorter", (32, 40)).input(square(size, 0, 0, 1)).shape
    assert shape[:2] == (1, 3)
    assert min(shape[2:]) == 32
    longer = 32 * max(size) / min(size)
    assert abs(max(shape[2:]) - longer) <= 0.5
    assert shape[2] >= shape[3] if size[0] > size[1] else shape[3] >= shape[2]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("mode", ["squash", "crop"])
def test_the_others_give_the_size(mode: GeometryMode, size: tuple[int, int]) -> None:
    assert seen(mode, (24, 32)).input(square(size, 0, 0, 1)).shape == (1, 3, 24, 32)


@pytest.mark.parametrize("mode", GEOMETRIES)
def test_a_picture_of_the_size_goes_through_unchanged(mode: GeometryMode) -> None:
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    geometry = Geometry(mode, Preprocess((32, 32), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    x = geometry.input(Image.fromarray(values))
    shift, scale = torch.tensor([0.5, 0.4, 0.3])[:, None, None], torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    expected = (torch.from_numpy(values).permute(2, 0, 1).float() / 255 - shift) / scale
    assert_close_to_rounding(x[0], expected, 4)  # /255, - mean, / std
    heat = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(geometry.back(heat, (32, 32)), heat.double().numpy())


@pytest.mark.parametrize("mode", ["shorter", "squash"])
def test_a_constant_map_stays_constant(mode: GeometryMode) -> None:
    heat = seen(mode).back(torch.full((7, 9), -2.5), (50, 81))
    assert heat.min() == pytest.approx(-2.5, abs=1e-12)
    assert heat.max() == pytest.approx(-2.5, abs=1e-12)


@pytest.mark.parametrize("mode", ["shorter", "squash"])
def test_maps_of_layers(mode: GeometryMode) -> None:
    heat = torch.zeros(4, 4)
    heat[1, 2] = 1.0  # pixels 8 to 15 down and 16 to 23 across
    found = seen(mode).back(heat, (32, 32))
    top, left = divmod(int(found.argmax()), 32)
    assert 8 <= top < 16
    assert 16 <= left < 24
    assert found.sum() == pytest.approx(64)  # an inner cell loses nothing to the edges


def frame(geometry: Geometry, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of what the crop sees, in pixels of the picture."""
    (width, height), left, top = geometry.preprocess.frame((size[1], size[0]))
    h, w = geometry.preprocess.size
    across, down = size[1] / width, size[0] / height
    return left * across, top * down, (left + w) * across, (top + h) * down


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("shape", "resize"), [((32, 32), None), ((32, 32), 40), ((24, 36), 40)])
def test_crop_puts_the_square_back(size: tuple[int, int], shape: tuple[int, int], resize: int | None) -> None:
    geometry = seen("crop", shape, resize)
    x0, y0, x1, y1 = frame(geometry, size)
    side = max(4, round(min(x1 - x0, y1 - y0) / 3))
    for down in (0.1, 0.5, 0.9):
        for across in (0.1, 0.5, 0.9):
            x, y = round(x0 + across * (x1 - x0 - side)), round(y0 + down * (y1 - y0 - side))
            heat = geometry.back(brightness(geometry, square(size, x, y, side)), size)
            assert heat.shape == size
            top, left = divmod(int(heat.argmax()), size[1])
            assert x <= left < x + side
            assert y <= top < y + side
            rows, columns = np.nonzero(heat > 0.5)
            fine = 1 + max(size[0], size[1]) / min(shape) / 2
            assert abs(rows.mean() - y - (side - 1) / 2) <= fine
            assert abs(columns.mean() - x - (side - 1) / 2) <= fine


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("shift", [0.0, 3.0, -3.0, -100.0])
def test_crop_says_nothing_about_what_it_did_not_see(size: tuple[int, int], shift: float) -> None:
    geometry = seen("crop", (32, 32), 40)
    x0, y0, x1, y1 = frame(geometry, size)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    # A pixel that is resized takes from its neighbours: one step of the coarser grid on either side.
    pad_x, pad_y = (max(1.0, (b - a) / 32) for a, b in ((x0, x1), (y0, y1)))
    outside = (x < x0 - pad_x) | (x > x1 + pad_x) | (y < y0 - pad_y) | (y > y1 + pad_y)
    assert outside.any()
    for seed in range(3):
        values = torch.randn(32, 32, generator=torch.Generator().manual_seed(seed)) + shift
        heat = geometry.back(values, size)
        assert (heat[outside] <= 0).all()
        top, left = divmod(int(heat.argmax()), size[1])
        assert not outside[top, left]
        assert heat.max() > heat[outside].max()


@pytest.mark.parametrize("level", [2.0, 0.0, -2.0])
def test_crop_of_a_constant_map(level: float) -> None:
    heat = seen("crop", (32, 32), 40).back(torch.full((32, 32), level), (60, 90))
    assert heat[0, 0] == min(0.0, level)
    assert heat[30, 45] == level


def test_maps_come_from_any_dtype_and_stay_as_they_are() -> None:
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        heat = torch.tensor([[0.0, 1.0], [0.5, 0.25]], dtype=dtype, requires_grad=True)
        found = seen("squash").back(heat, (2, 2))
        found[0, 0] = 9.0  # what was handed out is the caller's
        assert heat[0, 0] == 0


def test_native_pictures_are_left_at_their_size() -> None:
    geometry, picture = seen("native", (8, 8)), square((21, 34), 3, 5, 6)
    x = geometry.input(picture)
    assert x.shape == (1, 3, 21, 34)
    assert_close_to_rounding(
        x[0].permute(1, 2, 0), torch.from_numpy(np.asarray(picture) / np.float32(255)), 1
    )
    heat = torch.arange(21 * 34.0).reshape(21, 34)
    assert (geometry.back(heat, (21, 34)) == heat.numpy()).all()


def test_a_cut_picture_is_what_the_input_shows() -> None:
    prepare = Preprocess((8, 10), (0.2, 0.3, 0.4), (0.5, 0.6, 0.7), 12)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 21, 3), dtype=np.uint8))
    cut = prepare.cut(picture)
    assert cut.size == (10, 8)
    assert torch.equal(prepare.scaled(cut, (8, 10)), prepare(picture))
