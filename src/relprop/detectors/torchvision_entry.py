"""What torchvision's detectors have in common: how a picture gets in, their maps, where their anchors lie."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from relprop.detectors.prepare import Prepared, to_tensor
from relprop.errors import InputError

__all__ = ["Anchors", "Transform", "feature_maps"]


def feature_maps(backbone: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """A backbone's maps by name, fine to coarse; one without names is "0", as torchvision calls it."""
    made = backbone(x)
    return {"0": made} if isinstance(made, Tensor) else dict(made)


class Transform:
    """How a picture gets into the input, by the model's own transform."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, image: Any) -> Prepared:
        """Prepare a picture; see `to_tensor` for what it may be."""
        transform = self.model.transform
        if transform.training:
            raise InputError(
                "Expected a detector in evaluation mode but its 'transform' is in training mode. Call .eval() "
                "on the model first."
            )
        picture = to_tensor(image).to(next(self.model.parameters()))
        batch, _ = transform([picture])
        (height, width), size = batch.image_sizes[0], picture.shape[-2:]
        return Prepared(batch.tensors, (size[1] / width, size[0] / height), (size[0], size[1]))


class Anchors:
    """Where the anchors lie on an input, by the model's own generator."""

    def __init__(self, backbone: nn.Module, generator: Any) -> None:
        self.backbone = backbone
        self.generator = copy.deepcopy(generator)  # generating anchors writes to the generator
        self.sizes: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """The anchors (A_l, 4) of each level."""
        key = (x.shape[2], x.shape[3])
        if key not in self.sizes:
            # The maps' sizes depend on the backbone: it has to be run once for each input size.
            self.sizes[key] = [(m.shape[2], m.shape[3]) for m in feature_maps(self.backbone, x).values()]
        return self.on(x, self.sizes[key])

    def on(self, x: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The same for maps of known sizes."""
        # What the generator reads of torchvision's ImageList.
        images = SimpleNamespace(tensors=x[:1], image_sizes=[(x.shape[2], x.shape[3])])
        (table,) = self.generator(images, [x.new_empty(1, 1, *size) for size in sizes])
        counts = self.generator.num_anchors_per_location()
        return list(torch.split(table, [h * w * n for (h, w), n in zip(sizes, counts, strict=True)]))
