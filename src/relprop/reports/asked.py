"""Asked: what is asked of a model about one picture: which output, which part of a map, which hidden place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from relprop.errors import InputError
from relprop.explanation.running import run_of
from relprop.models.classes import Prediction, check_names, predictions
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import read_picture
from relprop.reports.sources import Picture
from relprop.tracing.view import Key, member, natural

__all__ = ["Region", "Spot", "Value", "read_region"]

Region = str | Path | Tensor | NDArray[Any] | None
"""A picture of the region, white on black; "all"; a mask in the positions of the output's map; None for all."""


def read_region(
    region: Region, pictures: Sequence[Picture]
) -> Image.Image | Tensor | NDArray[Any] | str | None:
    """The region, read; files are held against the pictures that they are laid on.

    Raises:
        InputError: a file that is no picture, or of another size than a picture.
    """
    if not isinstance(region, (str, Path)) or region == "all":
        return region
    mask = read_picture(region).convert("L")
    for picture in pictures:
        width, height = mask.size
        image = picture.image
        own = tuple(image.shape[:-3:-1]) if isinstance(image, Tensor) else image.size
        if own != (width, height):
            raise InputError(
                f"Expected a region of the picture's size {own[0]} x {own[1]} but '{region}' is {width} x "
                f"{height}. Draw it on the picture, white on black."
            )
    return mask


@dataclass(frozen=True)
class Spot:
    """What is explained of a model: a part of its output or a hidden place, and where in a map.

    Attributes:
        output: as for `relprop.explain`.
        start: as for `relprop.explain`.
        region: as `read_region` gives it.
        named: the region, as it was given.
    """

    output: Key = None
    start: str | None = None
    region: Image.Image | Tensor | NDArray[Any] | Literal["all"] | str | None = None
    named: str = ""

    def value(self, model: LoadedModel, picture: Picture, x: Tensor) -> Value:
        """What the model computed there for one picture.

        Raises:
            InputError: outputs that are no scores of classes, no such output, or a region that doesn't fit.
        """
        returned = model.run(x)
        key = natural(returned)[0] if self.output is None else self.output
        outputs = member(returned, key)
        if isinstance(outputs, Tensor) and outputs.dim() < 2 and outputs.numel() == len(x):
            outputs = outputs.reshape(-1, 1)
        names = model.classes
        if self.start is not None:
            trace = run_of(model.module, x, self.output).trace
            outputs, names = trace.value(trace.graph.find(self.start)), None
        elif self.output is not None and isinstance(outputs, Tensor) and outputs.dim() > 1:
            names = names if names is None or len(names) == outputs.shape[1] else None
        found = check_names(outputs, names, maps=True)
        region = self._laid(model, picture, found)
        inside = None
        if region is not None and not isinstance(region, str):
            mask = torch.as_tensor(region)
            inside = mask if mask.shape == found.shape[2:] else None  # another is refused by explain
        said = predictions(found[0], names, model.multi_label, inside)
        if self.start is not None:
            said = [Prediction(p.index, f"{self.start}[{p.index}]", p.output, math.nan) for p in said]
        return Value(said, names, region)

    def _laid(self, model: LoadedModel, picture: Picture, value: Tensor) -> Any:
        """The region in the positions of a map: those of which at least half lies in it."""
        region = self.region
        if not isinstance(region, Image.Image):
            return region
        if value.dim() != 4:
            return torch.ones(1)  # refused by explain, which says what the output is
        mask = region.convert("RGB")
        black, white = (Image.new("RGB", mask.size, (shade,) * 3) for shade in (0, 255))
        if isinstance(picture.image, Tensor):
            inside = torch.from_numpy(np.asarray(region).astype("float64") / 255)[None, None]
        else:  # as the picture itself is resized and cut
            low, high, own = (model.preprocess(image).double() for image in (black, white, mask))
            inside = ((own - low) / (high - low)).mean(1, keepdim=True)
        return F.adaptive_avg_pool2d(inside, (value.shape[2], value.shape[3]))[0, 0] >= 0.5

    def said(self) -> str:
        """In words, for a heading; "" where it is the output as it is."""
        output = self.output if isinstance(self.output, (str, int)) else "of a function"
        parts = [
            "" if self.output is None else f"output {output}",
            "" if self.start is None else f"channels of {self.start}",
            "" if self.region is None else f"region {self.named}",
        ]
        return ", ".join(part for part in parts if part)

    def facts(self) -> dict[str, Any]:
        """For a document: what was given."""
        output = "a function" if callable(self.output) else self.output
        given = {"output": output, "start": self.start, "region": self.named or None}
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True)
class Value:
    """What is explained, for one picture.

    Attributes:
        predictions: its classes, or channels, best first.
        classes: their names, or None.
        region: as `relprop.explain` takes it.
    """

    predictions: list[Prediction]
    classes: list[str] | None
    region: Any
