"""Registry: the metrics by name. Adding one is a line here."""

from __future__ import annotations

import inspect
from typing import Any

from relprop.errors import unknown_name
from relprop.metrics.bias_ratio import BiasRatio
from relprop.metrics.energy import Energy
from relprop.metrics.iou import MeanIoU
from relprop.metrics.ledger import LedgerClosure
from relprop.metrics.masking import MaskingFidelity
from relprop.metrics.metric import Metric
from relprop.metrics.opposition import Opposition
from relprop.metrics.perturbation import Perturbation
from relprop.metrics.pointing_game import PointingGame
from relprop.metrics.randomisation import Randomisation
from relprop.metrics.segmentation import Segmentation

__all__ = ["METRICS", "load_metric", "metrics"]

METRICS: dict[str, type[Metric]] = {
    m.name: m
    for m in (
        PointingGame,
        MeanIoU,
        Energy,
        Opposition,
        Segmentation,
        Randomisation,
        MaskingFidelity,
        Perturbation,
        BiasRatio,
        LedgerClosure,
    )
}
"""Every metric that a benchmark knows by name."""


def metrics() -> dict[str, str]:
    """Name -> one-line description of every metric.

    >>> metrics()["energy"]
    'Energy: share of positive relevance that lies on the object'
    """
    return {name: m.summary for name, m in METRICS.items()}


def load_metric(name: str, **settings: Any) -> Metric:
    """A metric of a name with settings.

    Raises:
        UnknownNameError: no metric, or no setting, of that name; lists the valid ones.
        InputError: a setting that the metric refuses.

    >>> load_metric("pointing-game", tolerance=10)
    PointingGame(tolerance=10, region='boxes')
    """
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    metric = METRICS[name]
    valid = list(inspect.signature(metric).parameters)
    for setting in settings:
        if setting not in valid:
            raise unknown_name(f"setting of {name}", setting, valid)
    return metric(**settings)
