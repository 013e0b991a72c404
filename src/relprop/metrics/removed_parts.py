"""Removed parts: does a map say of a drawn picture's parts what taking them away does to the score?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from relprop.checks import check_number
from relprop.datasets.world import World
from relprop.errors import InputError
from relprop.metrics.metric import Case, Metric, Outcome, as_heat

__all__ = ["RemovedParts", "part_sums", "removed_parts"]

Array = NDArray[np.float64]


def part_sums(heat: object, world: World) -> Array:
    """A map's relevance on each part, (parts,).

    Args:
        heat: (H, W), finite.
        world: the picture in parts.

    Raises:
        InputError: another shape than the picture's, NaN or infinity.
    """
    values = as_heat(heat)
    parts = world.parts
    if values.shape != parts[0].pixels.shape:
        raise InputError(
            f"Expected a map of the picture's shape {parts[0].pixels.shape} but got {values.shape}. "
            "Resize it first."
        )
    return np.array([values[part.pixels].sum() for part in parts])


def removed_parts(
    sums: object, effects: object, *, least: float = 0.05, signed: bool = True
) -> dict[str, float]:
    """How well a map's sums over parts tell what the score loses without each.

    Args:
        sums: (n,), the map's relevance on each part.
        effects: (n,), the score less the score without that part.
        least: the sign counts of parts whose |effect| is at least this share of the largest one.
        signed: the map can say "against"; without, no sign is counted.

    Returns:
        - "sign": of the parts whose effect counts, the share whose sum has the effect's sign; a sum of 0 has none.
        - "rank": Spearman's correlation of sums and effects over all parts, from -1 to 1; ties take their mean
          rank, and sums that are all equal have no order, 0.
        - "top": 1 where the part with the largest sum is the one whose removal costs most; shared among ties.

        Nothing where no part has an effect, or there is one part only.

    Raises:
        InputError: lists of different lengths, NaN or infinity.

    >>> removed_parts([5.0, -1.0, 2.0], [8.0, 0.1, 3.0])
    {'sign': 1.0, 'rank': 1.0, 'top': 1.0}
    """
    told, true = np.asarray(sums, dtype=np.float64), np.asarray(effects, dtype=np.float64)
    if told.ndim != 1 or told.shape != true.shape or not np.isfinite([told, true]).all():
        raise InputError(
            f"Expected a finite sum and effect for each part but got shapes {told.shape} and {true.shape}. "
            "Pass one number a part."
        )
    largest = np.abs(true).max(initial=0.0)
    if len(true) < 2 or largest == 0:
        return {}
    found: dict[str, float] = {}
    if signed:
        counted = np.abs(true) >= least * largest
        found["sign"] = float((np.sign(told) == np.sign(true))[counted].mean())
    if not (true == true[0]).all():
        found["rank"] = _spearman(told, true)
    best, named = true == true.max(), told == told.max()
    found["top"] = float(best[named].mean())
    return found


class RemovedParts(Metric):
    """What a map says of the parts of a drawn picture against what taking each away does to the score.

    The renderer draws the picture again without an object, without a shadow, before other backdrops; nothing is
    inpainted. Pictures that weren't drawn are left out.

    Source: the idea is FunnyBirds' (Hesse, Schaub-Meyer and Roth 2023), whose "single deletion" correlates
    the importance of a bird's parts with what their removal does to the score, by ranks. Worlds, parts, the sign
    and the top part are ours.

    Args:
        least: see `removed_parts`.
    """

    name = "removed-parts"
    needs = "model"
    summary = "Removed parts: does the map say what taking parts of a drawn picture away does to the score"
    outcomes = (
        Outcome("sign", "Parts: sign", average="pair"),
        Outcome("rank", "Parts: rank", average="pair", percent=False),
        Outcome("top", "Parts: top", average="pair"),
    )

    def __init__(self, *, least: float = 0.05) -> None:
        check_number("least", least, least=0)
        if least > 1:
            raise InputError(f"Expected least to be a share of at most 1 but got {least!r}.")
        self.least = float(least)

    def measure(self, case: Case) -> dict[str, float]:
        if case.game is None:
            return {}
        effects = case.game.removals()
        own = effects if effects.ndim == 1 else effects[:, case.target]
        sums = part_sums(case.heat, case.game.world)
        return removed_parts(sums, own, least=self.least, signed=case.signed)

    def ceiling(self, case: Case) -> dict[str, float]:
        """What Shapley's values get: they share out what parts only do together, removal doesn't."""
        return self.measure(case)


def _spearman(one: Array, two: Array) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(one), rankdata(two)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0
