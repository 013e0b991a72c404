"""Data sets by name."""

from __future__ import annotations

from typing import Any

from relprop import catalogue
from relprop.datasets.data_set import DataSet
from relprop.errors import InputError
from relprop.registry import Registry

__all__ = ["DATASETS", "datasets", "load_dataset"]

DATASETS: Registry[type[DataSet]] = catalogue.DATASETS
"""Every data set that `load_dataset` knows by name."""


def datasets() -> dict[str, str]:
    """Name -> one-line description of every data set.

    >>> datasets()["scenes"]
    'built in: drawn scenes of eight classes with boxes and masks'
    """
    return DATASETS.summaries()


def load_dataset(name: str, **options: Any) -> DataSet:
    """The data set of a name, with its options (the arguments of its class).

    Args:
        name: of `datasets()`, or `file.py:Name`: a `DataSet` of your own, or a function that returns one.
        options: as the data set takes them.

    Raises:
        UnknownNameError: no data set, or no option, of that name; lists the valid ones.
        InputError: an option is missing, or what the data set itself refuses.

    >>> len(load_dataset("scenes", n=5))
    5
    >>> load_dataset("voc", fodler="VOC2007")
    Traceback (most recent call last):
    ...
    relprop.errors.UnknownNameError: Expected a known setting of voc but got 'fodler'. Did you mean 'folder'? \
Valid: difficult, folder, masks, split, year.
    """
    found = DATASETS.make(name, options)
    if not isinstance(found, DataSet):
        raise InputError(
            f"Expected {name} to be a relprop.datasets.DataSet, or a function that returns one, but got "
            f"{type(found).__name__}."
        )
    return found
