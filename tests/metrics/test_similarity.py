"""Similarity: scipy and scikit-image as oracles, constant maps, refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import assert_refused

from relprop.errors import InputError
from relprop.metrics import hog_correlation, spearman, ssim
from relprop.metrics.similarity import SIMILARITIES, normalised

pytest.importorskip("skimage")
pytest.importorskip("scipy")


def two(seed: int = 0, size: tuple[int, int] = (20, 24)) -> tuple[np.ndarray, np.ndarray]:
    one, other = np.random.default_rng(seed).normal(size=(2, *size))
    return one, one + other


@given(st.integers(0, 10**6))
def test_spearman_is_scipys(seed: int) -> None:
    from scipy.stats import spearmanr

    one, other = (m.round(1) for m in two(seed))  # with ties
    assert spearman(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic, abs=1e-12)


def test_ssim_by_its_formula() -> None:
    one, other = two(size=(7, 7))  # one window
    a, b = normalised(one), normalised(other)
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    cov = np.cov(a.ravel(), b.ravel())  # with n - 1, as scikit-image does
    top = (2 * a.mean() * b.mean() + c1) * (2 * cov[0, 1] + c2)
    below = (a.mean() ** 2 + b.mean() ** 2 + c1) * (cov[0, 0] + cov[1, 1] + c2)
    assert ssim(one, other) == pytest.approx(top / below, abs=1e-12)


def test_hog_is_numpys_correlation_of_skimages_histograms() -> None:
    from skimage.feature import hog

    one, other = two(size=(42, 56))
    histograms = [hog(normalised(m), pixels_per_cell=(3, 3), cells_per_block=(3, 3)) for m in (one, other)]
    assert hog_correlation(one, other) == pytest.approx(np.corrcoef(*histograms)[0, 1], abs=1e-12)


def test_hog_cells_are_16_pixels_at_224() -> None:
    from skimage.feature import hog

    one, other = two(size=(224, 224))
    histograms = [hog(normalised(m), pixels_per_cell=(16, 16), cells_per_block=(3, 3)) for m in (one, other)]
    assert hog_correlation(one, other) == pytest.approx(np.corrcoef(*histograms)[0, 1], abs=1e-12)


@pytest.mark.parametrize("similarity", SIMILARITIES.values())
def test_identities(similarity: Callable[..., float]) -> None:
    one, other = two()
    assert similarity(one, one) == pytest.approx(1, abs=1e-12)
    assert similarity(one, 4 * one) == pytest.approx(1, abs=1e-12)  # only the form counts
    assert similarity(one, other) == pytest.approx(similarity(other, one), abs=1e-12)
    assert similarity(one, other) < 0.99
    assert similarity(one, -one, absolute=True) == pytest.approx(1, abs=1e-12)
    assert spearman(one, -one) == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize("similarity", [spearman, hog_correlation])
@pytest.mark.parametrize("constant", [0.0, 3.0, -2.0])
def test_constant_maps(similarity: Callable[..., float], constant: float) -> None:
    flat, (one, _) = np.full((20, 24), constant), two()
    assert similarity(flat, one) == similarity(one, flat) == 0.0
    assert similarity(flat, flat) == 1.0


def test_ssim_of_zeros() -> None:
    zeros, (one, _) = np.zeros((20, 24)), two()
    assert ssim(zeros, zeros) == 1.0
    assert 0 <= ssim(zeros, one) < 0.1


def test_tiny_values_do_not_underflow() -> None:
    one, other = two()
    for similarity in SIMILARITIES.values():
        assert similarity(one * 1e-200, other * 1e200) == pytest.approx(similarity(one, other), abs=1e-9)


@pytest.mark.parametrize("similarity", SIMILARITIES.values())
def test_refusals(similarity: Callable[..., float]) -> None:
    assert_refused(
        InputError,
        (lambda: similarity(np.ones((8, 8)), np.ones((8, 9))), r"one shape .*\(8, 9\)"),
        (lambda: similarity(np.ones((6, 8)), np.ones((6, 8))), r"7 x 7 .*\(6, 8\)"),
        (lambda: similarity(np.full((8, 8), np.nan), np.ones((8, 8))), "64 of 64 values"),
    )


@pytest.mark.parametrize(("module", "package"), [("skimage", "scikit-image"), ("scipy", "scipy")])
def test_missing_library(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    text = rf"Comparing maps needs `{package}`. Install it with: pip install 'relprop\[benchmark\]'."
    with pytest.raises(InputError, match=text):
        ssim(np.eye(8), np.eye(8))
