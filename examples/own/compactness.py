"""A metric of one's own: on how little of the picture does most of the red lie?"""

import numpy as np

from relprop.metrics import Case, Metric, Outcome


class Compactness(Metric):
    """Share of the picture that the strongest pixels with `part` of the positive relevance take up."""

    needs = "heat"
    outcomes = (Outcome("share", "Compactness", better="lower"),)

    def __init__(self, *, part: float = 0.5) -> None:
        self.part = part

    def measure(self, case: Case) -> dict[str, float]:
        """Nothing for a map without red."""
        red = np.sort(case.heat.clip(min=0), axis=None)[::-1].cumsum()
        return {"share": int((red < self.part * red[-1]).sum() + 1) / red.size} if red[-1] > 0 else {}
