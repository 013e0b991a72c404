"""Likeness: whether a picture or clip looks like those that a bundled network knows, by its statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Likeness", "statistics"]

_SHARES = (0.1, 0.5, 0.9)  # of the pixels or patches that lie below each quantile
_SCALES = 3  # patches of 4, 8 and 16 pixels
_FLOOR = 1e-3  # added to a spread before its logarithm: flat patches stay finite


def statistics(pictures: Tensor) -> Tensor:
    """19 numbers a picture: how rough its patches are at three scales, how colourful and how bright it is.

    Per scale the logarithms of three quantiles of the grey patches' standard deviations; mean and standard
    deviation of red less blue and of red less green; three quantiles of the saturation and of the brightness.

    Args:
        pictures: (N, 3, H, W) in 0-1.

    Returns:
        (N, 19), float64.
    """
    shares = pictures.new_tensor(_SHARES)
    red, green, blue = pictures.unbind(1)
    grey = pictures.mean(1, keepdim=True)
    found, level = [], grey
    for _ in range(_SCALES):
        mean = F.avg_pool2d(level, 4)
        spread = (F.avg_pool2d(level.square(), 4) - mean.square()).clamp_min(0).sqrt()
        found.append((spread.flatten(1).quantile(shares, dim=1).T + _FLOOR).log())
        level = F.avg_pool2d(level, 2)
    for contrast in (red - blue, red - green):
        found += [contrast.flatten(1).mean(1, keepdim=True), contrast.flatten(1).std(1, keepdim=True)]
    saturation = pictures.amax(1) - pictures.amin(1)
    found += [values.flatten(1).quantile(shares, dim=1).T for values in (saturation, grey)]
    return torch.cat(found, 1).double()


@dataclass(frozen=True, eq=False)
class Likeness:
    """How far a picture's statistics lie from those of a network's world: Mahalanobis' distance, squared.

    A clip's are the means of its frames'.

    Attributes:
        world: what the network was trained on, in words: "the drawn scenes of relprop.datasets.scenes".
        centre: mean of the statistics, (19,), float64.
        precision: inverse of their covariance, (19, 19), float64.
        limit: the distance that one picture in a thousand of that world exceeds.
        size: (H, W) of the pictures, or (T, H, W) of the clips: roughness is measured in pixels.
        mean, std: how pictures in 0-1 become inputs.
        instead: a network that knows photographs, or films, named in the sentence.
    """

    world: str
    centre: Tensor
    precision: Tensor
    limit: float
    size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    instead: str = "efficientnet-lite0"

    @classmethod
    def of_card(
        cls,
        card: dict[str, Any],
        size: tuple[int, ...],
        mean: Sequence[float],
        std: Sequence[float],
        instead: str = "efficientnet-lite0",
    ) -> Likeness:
        """As a script `measure_scenes.py` or `measure_motion.py` wrote it, for this preprocessing."""
        return cls(
            world=card["world"],
            centre=torch.tensor(card["centre"], dtype=torch.float64),
            precision=torch.tensor(card["precision"], dtype=torch.float64),
            limit=float(card["limit"]),
            size=size,
            mean=tuple(mean),
            std=tuple(std),
            instead=instead,
        )

    def distances(self, x: Tensor) -> Tensor:
        """Distance of each input from the world's centre, (N,) float64.

        Args:
            x: inputs as the network sees them, (N, 3, *size).
        """
        shape = (3, 1, 1)
        values = x.detach().float()
        frames = values.movedim(2, 1).flatten(0, 1) if x.dim() == 5 else values
        frames = frames * values.new_tensor(self.std).view(shape) + values.new_tensor(self.mean).view(shape)
        away = statistics(frames).cpu().unflatten(0, (len(x), -1)).mean(1) - self.centre
        return (away @ self.precision * away).sum(1)

    def __call__(self, x: Tensor) -> str:
        """What is to be said of inputs that are unlike the world; "" where none is, or where they can't be judged.

        Inputs of another size can't, nor can other than finite ones.
        """
        if x.shape[1:] != (3, *self.size) or not bool(torch.isfinite(x).all()):
            return ""
        beyond = self.distances(x) > self.limit
        if not bool(beyond.any()):
            return ""
        count, first = int(beyond.sum()), int(beyond.nonzero()[0])
        thing, things = ("clip", "real films") if len(self.size) == 3 else ("picture", "photographs")
        which = "The input looks" if len(x) == 1 else f"{count} of {len(x)} inputs (the first: {first}) look"
        return (
            f"{which} unlike {self.world}, the only world that this network knows: what it says there, and why, "
            f"says nothing about the {thing}. For {things} take a network that was trained on some, such as "
            f"{self.instead}."
        )
