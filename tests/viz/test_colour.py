from __future__ import annotations

import numpy as np
import pytest

from relprop.errors import InputError
from relprop.viz.colour import colourise, colours, matplotlib_colormap, oklab


def test_zero_is_exactly_white_whatever_the_limit() -> None:
    for limit in (0.0, 1e-310, 1e-8, 1.0, 1e30):
        assert (colourise(np.zeros(5), limit) == 255).all()


def test_sign_becomes_hue() -> None:
    # From a tenth of the scale on, red pixels have most red and blue pixels most blue.
    values = np.linspace(0.1, 1, 50)
    red, blue = colourise(values, 1.0).astype(int), colourise(-values, 1.0).astype(int)
    assert (red[:, 0] > red[:, 1]).all()
    assert (red[:, 0] > red[:, 2]).all()
    assert (blue[:, 2] > blue[:, 1]).all()
    assert (blue[:, 1] > blue[:, 0]).all()


def test_lightness_is_symmetric_and_falls_evenly() -> None:
    lightness = oklab(colours())[:, 0]
    assert np.abs(lightness - lightness[::-1]).max() < 0.006  # rounding to 8 bits
    arm = lightness[255:]
    assert (np.diff(arm) < 0.002).all()
    assert np.abs(arm - np.linspace(1, 0.4, 256)).max() < 0.006


@pytest.mark.parametrize(
    "matrix",
    [
        # Linear-RGB simulations of complete red- and green-blindness: Vienot, Brettel and Mollon (1999).
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    ],
    ids=["protanopia", "deuteranopia"],
)
def test_for_and_against_stay_apart_in_colour_blindness(matrix: list[list[float]]) -> None:
    srgb = colours() / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(matrix).T).clip(0, 1)
    lab = oklab(255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    apart = np.linalg.norm(lab - lab[::-1], axis=1)
    assert apart[:128].min() > 0.12  # about six just noticeable steps from half the scale on


def test_values_beyond_the_limit_take_the_end_colour() -> None:
    assert (colourise([2.0, 1.0], 1.0)[0] == colourise([2.0, 1.0], 1.0)[1]).all()
    assert (colourise([-9e300], 1e-300) == colours()[0]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(InputError, match=r"1 NaN or infinite of 4 .*\(1, 0\)"):
        colourise([[0.0, 1.0], [bad, 0.0]], 1.0)


@pytest.mark.parametrize("limit", [-1.0, np.nan, np.inf])
def test_refuses_limits_that_mean_nothing(limit: float) -> None:
    with pytest.raises(InputError, match="colour limit"):
        colourise([0.0], limit)


def test_matplotlib_gets_the_same_table() -> None:
    table = np.rint(matplotlib_colormap()(np.arange(511))[:, :3] * 255)
    assert (table == colours()).all()


def test_table_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        colours()[0] = 0
