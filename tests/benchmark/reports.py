"""Small records of known numbers, metrics that measure nothing, and what figures of them hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from relprop.benchmark.record import Record
from relprop.benchmark.table import Table, tabulate
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


def small() -> Table:
    """The table of `records`."""
    return tabulate(records(), METRICS, METHODS, title="Small", published=PUBLISHED, network="a VGG")


def ranked(**changes: Any) -> Table:
    """Five rows of every kind; twenty pictures, so that the order of the first three is beyond doubt."""
    levels = {"center": 0.4, "alpha": 0.7, "beta": 0.3, "mask": 1.0, "world": 0.8}
    made = [
        Record(f"{i}", i % 3, m, "pointing", {"hit": level + 0.001 * i}, ("all", "all-p"))
        for i in range(20)
        for m, level in levels.items()
    ]
    kinds = {"controls": ["center", "mask"], "oracle": "mask", "ceiling": "world"}
    return tabulate(made, {"pointing": Pointing()}, list(levels), **(kinds | changes))


class Wide(Metric):
    name, summary = "wide", ""
    outcomes = (
        Outcome("hit", "A rather long title of an outcome, such as metrics may have", subsets=True),
        Outcome("error", "Error", better="lower", average="pair", percent=False),
        Outcome("ratio", "Ratio", better="", average="pair", percent=False),
    )


def wide() -> Table:
    """Twelve methods with long names, sixteen layers, values of both signs."""
    g = np.random.default_rng(0)
    methods = [f"a-method-of-long-name-{k}" for k in range(12)]
    made = []
    for image in range(6):
        for k, m in enumerate(methods):
            values = {"hit": float(g.random() < k / 12), "error": float(10 ** g.uniform(-9, -6))}
            values |= {f"ratio@{n:02} features.{n}.conv": float(g.normal()) for n in range(16)}
            made.append(Record(f"{image}", image % 3, m, "wide", values, ("all", "dif", "all-p", "dif-p")))
    return tabulate(made, {"wide": Wide()}, methods, title="Wide " * 60)


def axes_named(figure: Figure, name: str) -> Any:
    """The axes of that name."""
    return next(a for a in figure.axes if a.get_gid() == name)


def texts_of(figure: Figure) -> list[str]:
    """Every text on the page."""
    return [t.get_text() for t in figure.texts]
