"""Segmentation: a map as a cut-out of the object, pixel by pixel (the ImageNet-segmentation protocol)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.metrics.metric import Case, Outcome, as_heat, as_region
from relprop.metrics.region import RegionMetric, Truth, masked

__all__ = ["Refine", "Segmentation", "foreground", "foreground_probability", "segmentation_scores"]

Refine = Callable[[NDArray[np.uint8], NDArray[np.float64]], NDArray[np.bool_]]
"""(picture (H, W, 3) uint8, probability of the foreground (H, W)) -> foreground (H, W)."""


def foreground(heat: Any, signed: bool = True) -> NDArray[np.bool_]:
    """Pixels above 0, or, for methods without negative values, above the map's mean: (H, W) bool.

    Source: Nam et al. 2021 (RSP), ImageNet segmentation: positive attributions, Grad-CAM at its mean.

    >>> foreground([[3.0, 1.0, -1.0]]).tolist(), foreground([[3.0, 1.0, 0.0]], signed=False).tolist()
    ([[True, True, False]], [[True, False, False]])
    """
    values = as_heat(heat)
    return values > _threshold(values, signed)


def foreground_probability(heat: Any, signed: bool = True) -> NDArray[np.float64]:
    r"""A map as a probability of being foreground, for a refinement: 0.5 at the threshold of `foreground`.

    .. math:: p = \tfrac12 + \tfrac12 \, \frac{R - t}{\max |R - t|}

    Ours: no paper states how relevance becomes a probability. A constant map is 0.5 everywhere.

    >>> foreground_probability([[4.0, 0.0, -2.0]]).tolist()
    [[1.0, 0.5, 0.25]]
    """
    values = as_heat(heat)
    above = values - _threshold(values, signed)
    top = np.abs(above).max()
    return 0.5 + 0.5 * above / top if top else np.full(values.shape, 0.5)


def _threshold(values: NDArray[np.float64], signed: bool) -> float:
    if signed:
        return 0.0
    # The mean of equal values may round to a neighbour: none would be above it, or all.
    return float(np.clip(values.mean(), values.min(), values.max()))


def segmentation_scores(cut: Any, region: Any, ignore: Any = None) -> dict[str, float] | None:
    """How well a cut-out fits the object.

    Args:
        cut: (H, W), booleans or 0 and 1: the foreground that is claimed.
        region: (H, W), the object.
        ignore: (H, W), pixels that don't count, or None.

    Returns:
        "foreground": IoU of the foreground; "mean": mean of it and the background's IoU (of the foreground
        alone where neither side has background); "pixel-accuracy": share of pixels that agree. From 0
        to 1 each. None if the region is empty.

    Raises:
        InputError: shapes that differ, values besides 0 and 1.

    >>> segmentation_scores([[1, 1, 0, 0]], [[1, 0, 0, 0]])
    {'foreground': 0.5, 'mean': 0.5833333333333333, 'pixel-accuracy': 0.75}
    """
    claimed, inside = masked(cut, region, ignore)
    mask = as_region(claimed, inside.astype(np.float64))
    if not inside.any():
        return None
    front = int((mask & inside).sum()) / int((mask | inside).sum())
    behind = int((~mask | ~inside).sum())
    both = (front + int((~mask & ~inside).sum()) / behind) / 2 if behind else front
    return {"foreground": front, "mean": both, "pixel-accuracy": float((mask == inside).mean())}


class Segmentation(RegionMetric):
    """The map's foreground against the object's mask, averaged over pictures.

    Source: Guillaumin et al. 2014 (the masks), Nam et al. 2021 (RSP), whose table gives one mIoU without saying
    which; hence both. IoU is taken per picture and then averaged, not summed over the data set's pixels.
    Pictures with an empty mask are left out.

    Args:
        region: "masks", "boxes" or "auto".
        ignore: leave pixels without truth out (masks only).
        crf: refine the foreground with `relprop.metrics.crf.DenseCRF` and its defaults.
        refine: another refinement, a function of (picture (H, W, 3) uint8, probability (H, W)) to the
            foreground (H, W); see `foreground_probability`.

    Raises:
        InputError: another region; both crf and refine.
    """

    name = "segmentation-miou"
    needs = "heat"
    summary = (
        "Segmentation mIoU: the map's foreground against the object's mask, plain or refined by a dense CRF"
    )
    outcomes = (
        Outcome("foreground", "Foreground IoU", average="pair"),
        Outcome("mean", "Mean IoU", average="pair"),
        Outcome("pixel-accuracy", "Pixel accuracy", average="pair"),
    )

    def __init__(
        self,
        *,
        region: Truth = "masks",
        ignore: bool = True,
        crf: bool = False,
        refine: Refine | None = None,
    ) -> None:
        super().__init__(region=region, ignore=ignore)
        if crf and refine is not None:
            raise InputError("Expected crf=True or refine=... but got both. Leave one out.")
        if refine is not None and not callable(refine):
            raise InputError(
                f"Expected refine to be a function of (picture, probability) but got {refine!r}."
            )
        self.crf, self.refine = crf, refine

    def measure(self, case: Case) -> dict[str, float]:
        region, ignore = self.truth(case)
        if region is None:
            return {}
        cut = self._cut(case)
        return segmentation_scores(cut, region, ignore) or {}

    def _cut(self, case: Case) -> NDArray[np.bool_]:
        refine = self.refine
        if self.crf:
            from relprop.metrics.crf import DenseCRF

            refine = DenseCRF()
        if refine is None:
            return foreground(case.heat, case.signed)
        picture = np.array(case.sample.image.convert("RGB"))
        heat = as_heat(case.heat)
        if picture.shape[:2] != heat.shape:
            raise InputError(
                f"Expected a map of the picture's size {picture.shape[:2]} but got {heat.shape}."
            )
        return as_region(refine(picture, foreground_probability(heat, case.signed)), heat)
