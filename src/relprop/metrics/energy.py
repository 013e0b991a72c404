"""Energy: the share of positive relevance that lies on the object, or near it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from relprop.checks import check_number
from relprop.metrics.metric import Case, Outcome
from relprop.metrics.region import RegionMetric, Truth, grown, masked, of_whole_parts

__all__ = ["Energy", "energy"]


def energy(heat: Any, region: Any, ignore: Any = None) -> float | None:
    r"""Positive relevance inside the region, as a share of all of it.

    .. math:: E = \frac{\sum_{p \in \text{region}} \max(0, R_p)}{\sum_p \max(0, R_p)}

    Source: Wang et al. 2020 (Score-CAM), "energy-based pointing game"; for maps without negative values it is the
    relevance mass accuracy of Arras et al. 2022 (CLEVR-XAI). For the share within some pixels of the region, pass
    `grown(region, pixels)`.

    Args:
        heat: (H, W), finite.
        region: (H, W), booleans or 0 and 1.
        ignore: (H, W), pixels that count for neither sum, or None.

    Returns:
        From 0 to 1; 0 for a map without positive values (nothing is claimed, so nothing inside); None if
        the region is empty.

    Raises:
        InputError: shapes that differ, NaN or infinity.

    >>> energy([[3.0, 1.0], [0.0, -5.0]], [[1, 0], [0, 1]])
    0.75
    """
    values, inside = masked(heat, region, ignore)
    if not inside.any():
        return None
    positive = np.maximum(values, 0.0)
    if positive.max() == 0:
        return 0.0
    positive = positive / positive.max()  # sums of very large values stay finite
    # Both sums run over the same terms in the same order: a region of everything gives exactly 1.
    return float(np.where(inside, positive, 0.0).sum() / positive.sum())


class Energy(RegionMetric):
    """Share of positive relevance on the object, and near it, averaged per class, then over classes.

    Source: Wang et al. 2020 (Score-CAM). See `energy` for maps without positive values and empty regions.

    Args:
        region: "boxes", "masks", or "auto" (boxes where the picture has some, else masks).
        ignore: leave pixels without truth out (masks only).
        within: also report the share on the object or at most so many pixels of the picture from it; 0: don't.

    Raises:
        InputError: another region, or a distance below 0.
    """

    name = "energy"
    needs = "heat"
    summary = "Energy: share of positive relevance that lies on the object, or within some pixels of it"
    outcomes = (
        Outcome("inside", "Energy inside"),
        Outcome("inside-pair", "Energy inside (pairs)", average="pair", detail=True),
        Outcome("near", "Energy near"),
        Outcome("near-pair", "Energy near (pairs)", average="pair", detail=True),
    )

    def __init__(self, *, region: Truth = "boxes", ignore: bool = True, within: float = 0) -> None:
        super().__init__(region=region, ignore=ignore)
        check_number("within", within, least=0)
        self.within = within

    def measure(self, case: Case) -> dict[str, float]:
        region, ignore = self.truth(case)
        if region is None:
            return {}
        share = energy(case.heat, region, ignore)
        if share is None:
            return {}
        found = {"inside": share, "inside-pair": share}
        if self.within:
            # Not None: a region with a pixel that counts has it here, too.
            near = float(energy(case.heat, grown(region, self.within), ignore) or 0.0)
            found |= {"near": near, "near-pair": near}
        return found

    def ceiling(self, case: Case) -> dict[str, float]:
        """The share that the class's objects hold; by masks alone, for the world doesn't cut its parts up."""
        region, _ = self.truth(case)
        if region is None or not of_whole_parts(case, region):
            return {}
        return {key: value for key, value in self.measure(case).items() if not key.startswith("near")}

    def reported(self) -> tuple[Outcome, ...]:
        if not self.within:
            return self.outcomes[:2]
        said = f"Energy within {self.within:g} px"
        near, pairs = self.outcomes[2:]
        return (*self.outcomes[:2], replace(near, title=said), replace(pairs, title=f"{said} (pairs)"))
