"""Metrics by name."""

from __future__ import annotations

from typing import Any

from relprop import catalogue
from relprop.errors import InputError
from relprop.metrics.metric import Metric
from relprop.registry import Registry

__all__ = ["METRICS", "load_metric", "metrics"]

METRICS: Registry[type[Metric]] = catalogue.METRICS
"""Every metric that a benchmark knows by name."""


def metrics() -> dict[str, str]:
    """Name -> one-line description of every metric.

    >>> metrics()["energy"]
    'Energy: share of positive relevance that lies on the object, or within some pixels of it'
    """
    return METRICS.summaries()


def load_metric(name: str, **settings: Any) -> Metric:
    """A metric of a name with settings.

    Args:
        name: of `metrics()`, or `file.py:Name`: a subclass of `Metric` of your own.
        settings: as the metric takes them.

    Raises:
        UnknownNameError: no metric, or no setting, of that name; lists the valid ones.
        InputError: a setting that the metric refuses.

    >>> load_metric("pointing-game", tolerance=10)
    PointingGame(tolerance=10, region='boxes')
    """
    kind = METRICS.find(name)
    if not (isinstance(kind, type) and issubclass(kind, Metric)):
        raise InputError(f"Expected {name} to be a subclass of relprop.metrics.Metric but got {kind!r}.")
    metric: Metric = METRICS.make(name, settings)
    return metric
