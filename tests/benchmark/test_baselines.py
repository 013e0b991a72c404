"""Baselines: what they are, and that nothing but their arguments decides them."""

from __future__ import annotations

import numpy as np
import pytest

from relprop.benchmark.baselines import BASELINES, baseline


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 1), (5, 8)])
def test_range_and_shape(name: str, size: tuple[int, int]) -> None:
    found = baseline(name, size, 0, "a", 0)
    assert found.shape == size
    assert found.dtype == np.float64
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("size", [(5, 7), (7, 5), (4, 6)])
def test_center_falls_with_the_distance(size: tuple[int, int]) -> None:
    found = baseline("center", size, 0, "a", 0)
    assert np.array_equal(found, found[::-1, ::-1])
    assert found[0, 0] == 0  # the corner is farthest
    y, x = np.mgrid[: size[0], : size[1]]
    far = (y - (size[0] - 1) / 2) ** 2 + (x - (size[1] - 1) / 2) ** 2
    order = np.argsort(far.ravel(), kind="stable")
    assert (np.diff(found.ravel()[order]) <= 1e-12).all()
    assert np.argmax(found) in np.flatnonzero(far.ravel() == far.min())


def test_center_knows_the_size_alone() -> None:
    assert np.array_equal(baseline("center", (4, 5), 0, "a", 0), baseline("center", (4, 5), 9, "b", 3))


def test_random_is_decided_by_its_arguments_alone() -> None:
    keys = [(seed, image, label) for seed in (0, 1) for image in ("a", "b") for label in (-1, 0, 1)]
    forward = [baseline("random", (6, 5), *key) for key in keys]
    np.random.default_rng(0).random(7)
    backward = [baseline("random", (6, 5), *key) for key in reversed(keys)][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert np.array_equal(one, other)
    for k, one in enumerate(forward):
        assert not any(np.array_equal(one, other) for other in forward[:k])


def test_random_keys_dont_run_into_each_other() -> None:
    # "1" of picture "2/3" and "1/2" of picture "3" would read the same without their places.
    assert not np.array_equal(baseline("random", (3, 3), 1, "2/3", 4), baseline("random", (3, 3), 1, "2", 34))


def test_random_is_uniform() -> None:
    found = baseline("random", (300, 300), 0, "a", 0)
    assert abs(found.mean() - 0.5) < 4 * np.sqrt(1 / 12) / 300
    assert abs(found.var() - 1 / 12) < 0.002


def test_the_global_state_stays() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    baseline("random", (3, 3), 0, "a", 0)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
