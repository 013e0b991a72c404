"""Baselines: what they are, and that nothing but their view decides them."""

from __future__ import annotations

import numpy as np
import pytest

from relprop.benchmark.baselines import BASELINES, Baseline, Edges, View, baseline, seeded
from relprop.errors import InputError


def view(
    size: tuple[int, int], seed: int = 0, image: str = "a", label: int = 0, picture: object = None
) -> View:
    """A noisy picture, the left half of which is the region."""
    if picture is None:
        picture = np.random.default_rng(5).random((*size, 3))
    region = np.arange(size[1])[None, :] < np.full((size[0], 1), (size[1] + 1) // 2)
    return View(size, seeded(seed, image, label), np.asarray(picture, dtype=np.float64), region)


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (5, 8)])
def test_range_and_shape(name: str, size: tuple[int, int]) -> None:
    found = baseline(name, view(size))
    assert found is not None
    assert found.shape == size
    assert found.dtype == np.float64
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("size", [(5, 7), (7, 5), (4, 6)])
def test_center_falls_with_the_distance(size: tuple[int, int]) -> None:
    found = baseline("center", view(size))
    assert found is not None
    assert np.array_equal(found, found[::-1, ::-1])
    assert found[0, 0] == 0  # the corner is farthest
    y, x = np.mgrid[: size[0], : size[1]]
    far = (y - (size[0] - 1) / 2) ** 2 + (x - (size[1] - 1) / 2) ** 2
    order = np.argsort(far.ravel(), kind="stable")
    assert (np.diff(found.ravel()[order]) <= 1e-12).all()
    assert np.argmax(found) in np.flatnonzero(far.ravel() == far.min())


def test_center_knows_the_size_alone() -> None:
    one, other = view((4, 5)), view((4, 5), 9, "b", 3, np.zeros((4, 5, 3)))
    assert np.array_equal(baseline("center", one), baseline("center", other))


def test_random_is_decided_by_its_keys_alone() -> None:
    keys = [(seed, image, label) for seed in (0, 1) for image in ("a", "b") for label in (-1, 0, 1)]
    forward = [baseline("random", view((6, 5), *key)) for key in keys]
    np.random.default_rng(0).random(7)
    backward = [baseline("random", view((6, 5), *key, picture=np.zeros((6, 5, 3)))) for key in reversed(keys)]
    for one, other in zip(forward, backward[::-1], strict=True):
        assert np.array_equal(one, other)
    for k, one in enumerate(forward):
        assert not any(np.array_equal(one, other) for other in forward[:k])


def test_random_keys_dont_run_into_each_other() -> None:
    # "1" of picture "2/3" and "1/2" of picture "3" would read the same without their places.
    one, other = view((3, 3), 1, "2/3", 4), view((3, 3), 1, "2", 34)
    assert not np.array_equal(baseline("random", one), baseline("random", other))


def test_random_is_uniform() -> None:
    found = baseline("random", view((300, 300)))
    assert found is not None
    assert abs(found.mean() - 0.5) < 4 * np.sqrt(1 / 12) / 300
    assert abs(found.var() - 1 / 12) < 0.002


def test_the_global_state_stays() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    baseline("random", view((3, 3)))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_edges_lie_where_brightness_changes() -> None:
    picture = np.zeros((9, 16, 3))
    picture[:, 8:] = 0.5
    found = baseline("edges", view((9, 16), picture=picture))
    assert found is not None
    assert np.array_equal(np.sort(np.argsort(found[4])[-2:]), [7, 8])  # on both sides of the step
    assert found[:, :3].max() < 1e-3
    # The derivative of a step smoothed by a Gaussian is the Gaussian: half a pixel and 2.5 pixels off its middle.
    picture = np.zeros((9, 40, 3))
    picture[:, 20:] = 0.5
    for sigma in (2.0, 3.0):  # wide enough for pixels to be fine
        row = Edges(sigma=sigma).draw(view((9, 40), picture=picture))[4]
        assert row[17] / row[19] == pytest.approx(np.exp(-(2.5**2 - 0.5**2) / (2 * sigma**2)), rel=0.02)


def test_edges_see_no_change_of_colour_alone_and_nothing_in_an_even_picture() -> None:
    even = np.full((6, 7, 3), 0.3)
    assert np.array_equal(baseline("edges", view((6, 7), picture=even)), np.zeros((6, 7)))
    same = even.copy()  # red up and green down so far that the brightness stays
    same[:, 3:, 0] += 0.1
    same[:, 3:, 1] -= 0.1 * 0.299 / 0.587
    assert np.array_equal(baseline("edges", view((6, 7), picture=same)), np.zeros((6, 7)))


def test_the_oracle_is_the_region() -> None:
    seen = view((4, 6))
    found = baseline("oracle", seen)
    assert found is not None
    assert np.array_equal(found > 0, seen.region)
    assert np.array_equal(np.unique(found), [0, 1])
    assert baseline("oracle", View((4, 6), seen.random, seen.picture)) is None
    assert [name for name in BASELINES if BASELINES[name].oracle] == ["oracle"]


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), 1e4, "1"])
def test_edges_refuse(sigma: object) -> None:
    with pytest.raises(InputError, match="Expected sigma"):
        Edges(sigma=sigma)  # type: ignore[arg-type]


def test_a_map_of_another_shape_is_refused() -> None:
    class Odd(Baseline):
        def draw(self, view: View) -> np.ndarray:
            return np.full(view.size, np.nan)

    with pytest.raises(InputError, match=r"Expected Odd to draw a finite map \(2, 3\) .* NaN or infinity"):
        baseline(Odd(), view((2, 3)))
