"""Similarity: how alike two maps are, by structure, by rank and by edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relprop.checks import check_choice
from relprop.errors import InputError
from relprop.metrics.metric import as_heat

__all__ = ["SIMILARITIES", "check_similarities", "hog_correlation", "normalised", "spearman", "ssim"]

_LEAST = 7  # the window of SSIM


def ssim(one: Any, two: Any, absolute: bool = False) -> float:
    """Structural similarity of two maps, each divided by its largest |value| first.

    Source: Wang et al. 2004, as scikit-image computes it (window 7 x 7, K1 = 0.01, K2 = 0.03); its dynamic range
    is that of the normalised maps: 2 (from -1 to 1), or 1 with `absolute`. Compared after normalising, as
    Adebayo et al. 2018 do.

    Args:
        one, two: (H, W), at least 7 x 7, finite.
        absolute: compare |values|.

    Returns:
        At most 1, which equal maps have.

    Raises:
        InputError: shapes that differ or are too small, NaN or infinity; scikit-image isn't there.

    >>> heat = np.sin(np.arange(64.0)).reshape(8, 8)
    >>> ssim(heat, 2 * heat), ssim(heat, heat.T) < 1
    (1.0, True)
    """
    a, b = _pair(one, two, absolute)
    from skimage.metrics import structural_similarity

    return float(structural_similarity(a, b, data_range=1.0 if absolute else 2.0))


def spearman(one: Any, two: Any, absolute: bool = False) -> float:
    """Spearman's rank correlation of two maps' pixels; ties take their mean rank.

    Source: Adebayo et al. 2018. A constant map has no order: 1 if both are constant, 0 if one is.

    Args:
        one, two: (H, W), at least 7 x 7, finite.
        absolute: rank by |value|.

    Returns:
        From -1 to 1.

    Raises:
        InputError: as for `ssim`; scipy isn't there.

    >>> heat = np.arange(64.0).reshape(8, 8)
    >>> round(spearman(heat, heat**3), 9), round(spearman(heat, -heat), 9), spearman(heat, 0 * heat)
    (1.0, -1.0, 0.0)
    """
    a, b = _pair(one, two, absolute)
    from scipy.stats import rankdata

    return _pearson(rankdata(a), rankdata(b))


def hog_correlation(one: Any, two: Any, absolute: bool = False) -> float:
    """Pearson correlation of two maps' histograms of oriented gradients.

    Source: Adebayo et al. 2018; the histograms are scikit-image's (Dalal and Triggs 2005: 9
    orientations, blocks of 3 x 3 cells, L2-Hys). A cell is a 14th of the shorter side: 16 pixels at 224, as
    theirs. Histograms without contrast: 1 if both have none, 0 if one has.

    Args:
        one, two: (H, W), at least 7 x 7, finite.
        absolute: compare |values|.

    Returns:
        From -1 to 1.

    Raises:
        InputError: as for `ssim`.

    >>> heat = np.sin(np.arange(400.0)).reshape(20, 20)
    >>> round(hog_correlation(heat, heat), 9), hog_correlation(heat, heat.T) < 1
    (1.0, True)
    """
    a, b = _pair(one, two, absolute)
    from skimage.feature import hog

    cell = max(1, min(a.shape) // 14)
    histograms = [hog(m, pixels_per_cell=(cell, cell), cells_per_block=(3, 3)) for m in (a, b)]
    return _pearson(*histograms)


SIMILARITIES: dict[str, Callable[[Any, Any, bool], float]] = {
    "ssim": ssim,
    "spearman": spearman,
    "hog": hog_correlation,
}
"""Name -> function of two maps and `absolute`."""


def check_similarities(names: Any) -> tuple[str, ...]:
    """The setting `similarities` of a metric, as a tuple.

    Raises:
        InputError: no list of names, or another name.
    """
    if isinstance(names, str) or not names:
        raise InputError(f"Expected similarities to be a list of names but got {names!r}.")
    for name in names:
        check_choice("similarities", name, tuple(SIMILARITIES))
    return tuple(names)


def normalised(heat: Any, absolute: bool = False) -> NDArray[np.float64]:
    """A map divided by its largest |value|: from -1 to 1; zeros stay zeros.

    >>> normalised([[2.0, -4.0]]).tolist(), normalised([[2.0, -4.0]], absolute=True).tolist()
    ([[0.5, -1.0]], [[0.5, 1.0]])
    """
    values = as_heat(heat)
    top = np.abs(values).max()
    if top:
        values = values / top
    return np.abs(values) if absolute else values


def _pair(one: Any, two: Any, absolute: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = normalised(one, absolute), normalised(two, absolute)
    if a.shape != b.shape:
        raise InputError(
            f"Expected two maps of one shape but got {a.shape} and {b.shape}. Resize one of them."
        )
    if min(a.shape) < _LEAST:
        raise InputError(f"Expected maps of at least {_LEAST} x {_LEAST} to compare but got {a.shape}.")
    _need()
    return a, b


def _need() -> None:
    try:
        import scipy
        import skimage
    except ImportError as error:
        raise InputError(
            f"Comparing maps needs `{_PACKAGES.get(error.name or '', error.name)}`. "
            "Install it with: pip install 'relprop[benchmark]'."
        ) from None
    del scipy, skimage


_PACKAGES = {"skimage": "scikit-image"}


def _pearson(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    a, b = one.ravel(), two.ravel()
    constant = [bool((v == v[0]).all()) for v in (a, b)]
    if any(constant):
        return float(all(constant))
    a, b = a - a.mean(), b - b.mean()
    # Each by its own norm: the product of the norms may underflow.
    r = float((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)))
    return min(1.0, max(-1.0, r))
