"""Twins: bundled networks trained on shuffled labels, for comparison with those that learned something."""

from __future__ import annotations

import torch
from torch import nn

from relprop.catalogue import MODELS, TWINS
from relprop.errors import unknown_name
from relprop.graph import capture_lock
from relprop.models.bundled import BundledModel, bundled_of, read_bundled

__all__ = ["load_twin", "twinned"]


def load_twin(name: str) -> BundledModel:
    """The twin of a bundled model: the same network, trained by heart on shuffled labels of scenes.

    `card["fit"]` says how well it knows them, `card["test"]` that it knows nothing else.

    Raises:
        UnknownNameError: no bundled model of that name has a twin; the text lists those that do.
        RelpropError: its weights or its card are missing or damaged.

    >>> twin = load_twin("scenes-resnet")
    >>> twin.name, twin.card["fit"]["answers right"] > 0.99
    ('scenes-resnet-shuffled', True)
    """
    if name not in TWINS:
        raise unknown_name("bundled model with a twin", name, TWINS)
    return bundled_of(TWINS[name], MODELS[name])


def twinned(model: nn.Module) -> str:
    """The name of the bundled model with a twin that this network is, by its weights; "" where it is none."""
    with capture_lock:
        own = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    for name in TWINS:
        if isinstance(model, MODELS[name]):
            _, ours = read_bundled(name)
            if own.keys() == ours.keys() and all(torch.equal(own[k].to(t.dtype), t) for k, t in ours.items()):
                return name
    return ""
