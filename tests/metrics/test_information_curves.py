"""Information curves: areas by hand and as scipy sums them, what is shown, and what is left out."""

from __future__ import annotations

import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.interpolate import griddata, interp1d
from tests.metrics import make
from tests.refusals import assert_refused
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.metrics import Case, InformationCurves
from relprop.metrics.information_curves import coarse, compressed_size, curve_area
from relprop.models import load

PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
FOUR = {"mean": (0.0,) * 4, "std": (1.0,) * 4}
RANDOM = np.random.default_rng(0)
PICTURE = RANDOM.integers(0, 256, (12, 16, 3), dtype=np.uint8)


def test_areas_by_hand() -> None:
    # From (0, 0) by (0.5, 1) to (1, 1): a triangle and a square.
    assert curve_area([100, 200, 300], [0.1, 0.9, 0.9]) == pytest.approx(0.75)
    # The best so far counts, and what is beyond the whole picture counts as it.
    assert curve_area([100, 200, 250, 500], [0.0, 1.0, 0.5, 1.0]) == pytest.approx(0.125 + 0.75)
    assert curve_area([100, 250, 300], [0.0, 2.0, 1.0]) == pytest.approx(0.375 + 0.25)
    assert curve_area([10, 20], [0.0, 1.0]) == pytest.approx(0.5)


def test_areas_as_their_code_sums_them() -> None:
    for _ in range(20):
        sizes = np.sort(RANDOM.random(9)) * 100
        answers = np.append(np.sort(RANDOM.random(8) * 0.9), 0.95)
        RANDOM.shuffle(answers[1:-1])
        answers[0] = 0.0
        x = (sizes - sizes[0]) / (sizes[-1] - sizes[0])
        y = np.maximum.accumulate(answers / answers[-1])
        grid = np.linspace(0, 1, 1000, endpoint=False)
        line = interp1d([*x[1:-1], 0.0, 1.0], [*y[1:-1], 0.0, 1.0])
        expected = np.trapezoid([*line(grid), 1.0], [*grid, 1.0])
        assert curve_area(sizes.tolist(), answers.tolist()) == pytest.approx(expected, abs=1e-12)


def test_pairs_that_say_nothing_are_left_out() -> None:
    assert curve_area([1, 2, 3], [0.0, 0.5, 0.79]) is None  # not sure of the whole picture
    assert curve_area([1, 2, 3], [0.9, 0.9, 0.9]) is None  # as sure of the coarse one
    assert curve_area([3, 2, 3], [0.0, 0.9, 0.9]) is None  # the coarse one holds as much
    assert curve_area([1, 2, 3], [0.0, 0.5, 0.79], least=0.7) is not None


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_coarse_pictures_are_those_of_griddata(share: float) -> None:
    known = RANDOM.random((12, 16)) < share
    found = coarse(PICTURE, known)
    known[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    for channel in range(3):
        own = PICTURE[..., channel]
        between = griddata(np.argwhere(known), own[known].astype(float), np.argwhere(~known), method="linear")
        assert np.abs(found[~known, channel] - np.round(between)).max() <= 1  # halves may round either way
    assert np.array_equal(found[known], PICTURE[known])
    assert coarse(PICTURE, np.ones((12, 16), bool)) is PICTURE


def test_information_is_the_files_size() -> None:
    for codec, more in (("webp", {"lossless": True, "quality": 100}), ("png", {})):
        file = io.BytesIO()
        Image.fromarray(PICTURE).save(file, codec, **more)
        assert compressed_size(PICTURE, codec) == len(file.getvalue())  # type: ignore[arg-type]
    assert compressed_size(PICTURE[..., :1], "png") < compressed_size(PICTURE, "png")
    assert compressed_size(np.zeros_like(PICTURE)) < compressed_size(PICTURE)


class Corner(nn.Module):
    """Sure of class 0 as far as the texture in the upper left corner is there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        rough = (x[:, :, :8, :7] - x[:, :, :8, 1:8]).abs().mean((1, 2, 3))
        return torch.stack([40 * (rough - 0.15), torch.zeros_like(rough)], 1)


def corner_case(heat: Tensor, **more: object) -> Case:
    x = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    case = Case(make.sample((24, 24)), 0, heat.numpy(), map=heat, x=x, model=Corner())
    return replace(case, **more)


def test_a_map_of_what_the_network_looks_at_is_worth_more() -> None:
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    right = -torch.maximum(rows, columns)
    metric = InformationCurves(**PLAIN)
    here, there = (metric.measure(corner_case(heat)) for heat in (right, -right))
    assert here["sic"] > 0.7 > 0.4 > there["sic"]
    assert here["aic"] > 0.7 > 0.4 > there["aic"]
    smaller = InformationCurves(**PLAIN, codec="png").measure(corner_case(right))["sic"]
    assert 0.7 < smaller != here["sic"]


def test_pictures_in_between() -> None:
    heat = torch.arange(576.0).reshape(24, 24)
    case = corner_case(heat)
    InformationCurves(shares=(0.25, 0.5), **PLAIN).measure(case)
    assert isinstance(case.model, Corner)
    (shown,) = case.model.seen  # one run for the four pictures
    assert case.x is not None
    whole = (case.x * 255).round() / 255
    assert len(shown) == 4
    assert torch.allclose(shown[3], whole[0], atol=1e-6)
    random = np.random.Generator(np.random.PCG64([0, zlib.crc32(b"p")]))
    start = np.zeros(576, bool)
    start[random.permutation(576)[:5]] = True
    for k, share in ((1, 0.25), (2, 0.5)):
        known = torch.from_numpy(start.reshape(24, 24)) | (heat >= 576 * (1 - share))
        assert torch.allclose(shown[k][:, known], whole[0][:, known], atol=1e-6)
        assert not torch.allclose(shown[k][:, ~known], whole[0][:, ~known], atol=1e-2)


def test_several_labels_are_each_right_or_wrong() -> None:
    rows = torch.arange(24.0)[:, None].expand(24, 24)
    several = InformationCurves(**PLAIN).measure(corner_case(-rows, multi_label=True))
    one = InformationCurves(**PLAIN).measure(corner_case(-rows))
    assert several.keys() == one.keys() == {"sic", "aic"}
    assert several["aic"] == one["aic"]  # the other class's score is 0: more than it, or more than a half


def test_scale_of_a_model_that_relprop_loaded() -> None:
    bundled = load("scenes-resnet")
    low, width = InformationCurves()._scale(bundled.module, torch.zeros(1, 3, 2, 2))
    assert torch.allclose(
        low.ravel(), -torch.tensor(bundled.mean).double() / torch.tensor(bundled.std), atol=1e-6
    )
    assert torch.allclose(width.ravel(), 1 / torch.tensor(bundled.std).double(), atol=1e-5)


def test_refusals() -> None:
    case = make.model_case()
    assert_refused(
        InputError,
        (lambda: InformationCurves(shares=()), r"shares to be a list of shares of pixels but got \(\)"),
        (
            lambda: InformationCurves(shares=(0.5, 0.2)),
            r"shares to rise from above 0 to below 1 but got \[0.5, 0.2\]",
        ),
        (lambda: InformationCurves(shares=(0.5, 1.0)), "shares to rise"),
        (lambda: InformationCurves(codec="jpeg"), r"codec .*got 'jpeg'"),  # type: ignore[arg-type]
        (lambda: InformationCurves(mean=(0.0,)), "mean and std together"),
        (lambda: InformationCurves().measure(case), r"mean=\(\.\.\.\) and std=.* for Sequential"),
        (lambda: InformationCurves(**PLAIN).measure(replace(case, map=None)), "but got map=None"),
        (
            lambda: InformationCurves(**FOUR).measure(replace(case, x=torch.zeros(1, 4, 16, 16))),
            "channels .*but got 4",
        ),
    )
