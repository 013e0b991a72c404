"""Cases made of arrays: a picture, a map and a truth of a few pixels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import relprop
from relprop.datasets.sample import Sample
from relprop.datasets.world import World, WorldPart
from relprop.metrics import Case, PartGame


def sample(size: tuple[int, int] = (4, 6), name: str = "p", **truth: Any) -> Sample:
    """A grey picture (H, W) with the given truth."""
    return Sample(name, Image.new("RGB", (size[1], size[0]), "grey"), **truth)


def masked_case(heat: Any, mask: Any, label: int = 0, **more: Any) -> Case:
    """A case whose class has this mask (H, W); `ignore` goes to the sample."""
    array = np.asarray(heat, dtype=np.float64)
    truth = {
        "masks": {label: np.asarray(mask, dtype=bool)},
        "labels": (label,),
        "ignore": more.pop("ignore", None),
    }
    return Case(sample(array.shape, **truth), label, array, **more)


def boxed_case(
    heat: Any, boxes: list[tuple[float, ...]], labels: list[int], label: int = 0, **more: Any
) -> Case:
    """A case with boxes `x0, y0, x1, y1`."""
    array = np.asarray(heat, dtype=np.float64)
    truth = {
        "boxes": np.array(boxes, dtype=np.float64).reshape(-1, 4),
        "box_labels": np.array(labels, dtype=np.int64),
        "difficult": np.zeros(len(labels), dtype=bool),
        "labels": tuple(sorted(set(labels))),
    }
    return Case(sample(array.shape, **truth), label, array, **more)


def net(seed: int = 0, classes: int = 6) -> nn.Module:
    """Conv, batch norm, ReLU, pool, conv, ReLU, linear: (N, 3, 16, 16) to (N, classes), float64."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, classes),
    )  # fmt: skip
    with torch.no_grad():
        for p in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            p.copy_(torch.rand(p.shape, generator=generator) - (0.5 if p.ndim > 1 else -0.1))
    return model.double().eval()


class Bands(World):
    """Three bands across a picture of 16 x 16: each is light where it is there, and black where it is not."""

    @cached_property
    def parts(self) -> tuple[WorldPart, ...]:
        owner = np.repeat([0, 0, 1, 2], 4)[:, None].repeat(16, axis=1)
        return tuple(WorldPart(f"band {k}", k, owner == k) for k in range(3))

    def draw(self, kept: Collection[int], draw: int = 0) -> np.ndarray:
        picture = np.zeros((16, 16, 3), np.uint8)
        for k in kept:
            picture[self.parts[k].pixels] = 100 + 50 * k
        return picture


def scores_of_pictures(model: nn.Module, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """What a network of `net`'s kind says of pictures (H, W, 3) of bytes: (N, classes)."""
    with torch.no_grad():
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).double() / 64
        return np.asarray(model(x.to(next(model.parameters()))).double().numpy())


def model_case(
    seed: int = 0, method: str = "lrp-epsilon", label: int = 0, model: nn.Module | None = None
) -> Case:
    """A case with everything: a seeded picture, a network, its explanation; one box and a mask."""
    model = net() if model is None else model
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    target = seed % 3
    explanation = relprop.explain(model, x, target, method)
    heat = explanation.heatmap()[0]
    mask = np.zeros((16, 16), dtype=bool)
    mask[2:9, 3:12] = True
    truth = {
        "boxes": np.array([[3.0, 2.0, 12.0, 9.0], [0.0, 0.0, 1.0, 1.0]]),
        "box_labels": np.array([label, label + 1]),
        "difficult": np.zeros(2, dtype=bool),
        "labels": (label, label + 1),
        "masks": {label: mask},
    }
    return Case(
        sample((16, 16), f"p{seed}", **truth),
        label,
        heat.numpy().astype(np.float64),
        map=heat,
        x=x,
        target=target,
        model=model,
        explanation=explanation,
        predicted=bool(seed % 2),
        explain=lambda network: relprop.explain(network, x, target, method).heatmap()[0],
        explain_at=lambda other: relprop.explain(model, other, target, method).heatmap(),
        game=PartGame(Bands(), lambda pictures: scores_of_pictures(model, pictures)),
    )


def twin() -> nn.Module:
    """Another network of the same layers, as `net` is what a case explains."""
    return net(seed=1)
