"""Small records of known numbers, and metrics that measure nothing."""

from __future__ import annotations

from relprop.benchmark.record import Record
from relprop.metrics.metric import Metric, Outcome


class Pointing(Metric):
    name, summary = "pointing", "hits"
    outcomes = (
        Outcome("hit", "Pointing", subsets=True),
        Outcome("hit-pair", "Pointing (pairs)", average="pair"),
    )


class Closing(Metric):
    name, summary = "closing", "errors"
    outcomes = (Outcome("error", "Error", better="lower", average="pair", percent=False),)


class Randomising(Metric):
    name, summary = "randomising", "similarity"
    outcomes = (
        Outcome("ssim", "SSIM", better="lower", average="pair", percent=False),
        Outcome("share", "Share", better="", average="pair"),
    )


METRICS = {"pointing": Pointing(), "closing": Closing(), "randomising": Randomising()}
METHODS = ["alpha", "beta", "random"]
PUBLISHED = {"pointing.hit": {"alpha": 57.6, "not-run": 1.0}, "pointing.hit[dif]": {"beta": 40}}

#          picture, class, subsets,                          hit by method
_PAIRS = [
    ("a", 0, ("all", "all-p"), (1.0, 1.0, 0.0)),
    ("b", 0, ("all", "dif"), (0.0, 1.0, 0.0)),
    ("b", 1, ("all", "dif", "all-p", "dif-p"), (1.0, 1.0, 0.0)),
    ("c", 0, ("all", "all-p"), (0.0, 0.0, 0.0)),
]


def records() -> list[Record]:
    """alpha hits 1/3 of class 0 and 1/1 of class 1: 2/3 over classes and 1/2 over pairs; DIF: 0/1 and 1/1."""
    found = []
    for image, label, subsets, hits in _PAIRS:
        for method, hit in zip(METHODS, hits, strict=True):
            values = {"hit": hit, "hit-pair": hit}
            found.append(Record(image, label, method, "pointing", values, subsets))
            if method != "random":
                error = 1e-8 if method == "alpha" else 3e-8
                found.append(Record(image, label, method, "closing", {"error": error}, subsets))
                steps = {f"ssim@{k:02} conv{k}": 1 / k for k in range(1, 4)}
                found.append(Record(image, label, method, "randomising", steps, subsets))
            else:
                found.append(Record(image, label, method, "closing", {}, subsets))
    return found
