"""Ceiling: what the world's own map gets, where the pictures are drawn and can be drawn again in part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from relprop.datasets.sample import Sample
from relprop.errors import InputError
from relprop.metrics.metric import Case, Metric
from relprop.metrics.part_game import PartGame

__all__ = ["WORLD", "ceilings", "game_of", "with_ceiling"]

#: The row of the world's own map.
WORLD = "the world"


def game_of(
    sample: Sample, prepare: Callable[[Image.Image], Tensor], model: Callable[[Tensor], Any]
) -> PartGame | None:
    """The model's outputs for a sample's picture with any of its parts; None where it isn't drawn.

    Nor has one a sample whose picture was changed after it was drawn, such as turned over: its world draws
    another.

    Args:
        sample: the picture and its world.
        prepare: a picture -> the model's input (1, C, h, w).
        model: inputs (n, C, h, w) -> scores (n, classes).
    """
    world = sample.world
    if world is None or not np.array_equal(world.without(), np.asarray(sample.image)):
        return None

    def score(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        x = torch.cat([prepare(Image.fromarray(picture)) for picture in pictures])
        with torch.no_grad():
            # The channels of a pixel together in memory: convolutions on a CPU take about half the time.
            outputs = model(x.contiguous(memory_format=torch.channels_last))
        if not isinstance(outputs, Tensor):
            raise InputError(f"Expected a model that returns scores but got {type(outputs).__name__}.")
        return outputs.double().cpu().numpy()

    return PartGame(world, score)


def with_ceiling(metrics: Mapping[str, Metric]) -> tuple[str, ...]:
    """Those of the metrics, by the recipe's label, that can say what the world's own map gets."""
    return tuple(name for name, m in metrics.items() if type(m).ceiling is not Metric.ceiling)


def ceilings(metrics: Mapping[str, Metric], case: Case) -> dict[str, dict[str, float]]:
    """Metric -> what the world's own map gets. Metrics that say nothing of it are left out.

    Args:
        metrics: by the recipe's label.
        case: of the world's own map, see `world_map`.
    """
    found = {name: metric.ceiling(case.limited(metric.needs)) for name, metric in metrics.items()}
    return {name: values for name, values in found.items() if values}
