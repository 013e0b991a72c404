"""Registry: the data sets by name. Adding one is a line here."""

from __future__ import annotations

import inspect
from typing import Any

from relprop.datasets.coco import COCO
from relprop.datasets.folder import Folder
from relprop.datasets.imagenet_segmentation import ImageNetSegmentation
from relprop.datasets.sample import Annotated
from relprop.datasets.scene_samples import SceneSamples
from relprop.datasets.voc import VOC
from relprop.errors import InputError, unknown_name

__all__ = ["DATASETS", "datasets", "load_dataset"]

DATASETS: dict[str, type[SceneSamples | VOC | COCO | ImageNetSegmentation | Folder]] = {
    d.name: d for d in (SceneSamples, VOC, COCO, ImageNetSegmentation, Folder)
}
"""Every data set that `load_dataset` knows by name."""


def datasets() -> dict[str, str]:
    """Name -> one-line description of every data set.

    >>> datasets()["scenes"]
    'built in: drawn scenes of eight classes with boxes and masks'
    """
    return {name: d.summary for name, d in DATASETS.items()}


def load_dataset(name: str, **options: Any) -> Annotated:
    """The data set of a name, with its options (the arguments of its class).

    Raises:
        UnknownNameError: no data set, or no option, of that name; lists the valid ones.
        InputError: an option is missing, or what the data set itself refuses.

    >>> len(load_dataset("scenes", n=5))
    5
    >>> load_dataset("voc", fodler="VOC2007")
    Traceback (most recent call last):
    ...
    relprop.errors.UnknownNameError: Expected a known option of voc but got 'fodler'. Did you mean 'folder'? \
Valid: difficult, folder, masks, split, year.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    known = inspect.signature(DATASETS[name]).parameters
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise InputError(
                f"Expected the option {option!r} of {name} but it is missing. Say where the data is."
            )
    return DATASETS[name](**options)
