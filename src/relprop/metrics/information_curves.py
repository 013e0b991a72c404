"""Information curves: how sure is the network of a picture of which the map chose what to keep sharp?"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, features
from torch import Tensor, nn

from relprop.checks import check_choice, check_number
from relprop.errors import InputError
from relprop.methods.facts import facts_of
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.randomisation import check_seed
from relprop.metrics.ranking import as_picture, model_and_input, scores_of

__all__ = ["Codec", "InformationCurves", "coarse", "compressed_size", "curve_area"]

Codec = Literal["webp", "png"]
"""Whose lossless file's size stands for the information in a picture."""

_SHARES = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75)
_START = 0.01  # of the pixels are known from the start
_GRID = 1000  # parts of the axis on which a curve is summed up
_CHUNK = 16  # pictures per forward run


def coarse(picture: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The picture (H, W, C) where it is known, and linearly between: triangles over the known pixels.

    The corners are always known. Needs scipy.

    >>> line = np.array([[[0], [9], [9], [30]], [[0], [9], [9], [30]]], dtype=np.uint8)
    >>> coarse(line, np.zeros((2, 4), bool))[..., 0].tolist()
    [[0, 10, 20, 30], [0, 10, 20, 30]]
    """
    from scipy.interpolate import LinearNDInterpolator

    known = known.copy()
    known[np.ix_((0, -1), (0, -1))] = True
    if known.all():
        return picture
    between = LinearNDInterpolator(np.argwhere(known), picture[known].astype(np.float64))
    filled = picture.copy()
    filled[~known] = np.round(between(np.argwhere(~known))).astype(np.uint8)
    return filled


def compressed_size(picture: NDArray[np.uint8], codec: Codec = "webp") -> int:
    """Bytes of the picture (H, W, 3) or (H, W, 1) as a lossless file.

    Raises:
        InputError: this build of Pillow has no WebP.
    """
    if codec == "webp" and not features.check("webp"):
        raise InputError("Expected a Pillow that writes WebP but this one does not. Set codec='png'.")
    more: dict[str, Any] = {"lossless": True, "quality": 100} if codec == "webp" else {}
    file = io.BytesIO()
    Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0]).save(file, codec, **more)
    return file.tell()


def curve_area(information: Sequence[float], answers: Sequence[float], least: float = 0.8) -> float | None:
    """Area under one curve, each axis as a share of the way from the coarse picture to the whole one.

    Points are brought into [0, 1]; an answer counts from the best one so far on; the curve goes from (0, 0) to
    (1, 1) and is summed up on a grid of 1000 parts.

    Source: Kapishnikov et al. 2019 and their code (PAIR saliency, metrics/pic.py).

    Args:
        information: of the coarse picture, of those in between by falling relevance, and of the whole one.
        answers: the network's, for the same pictures.
        least: of the whole picture's answer.

    Returns:
        From 0 to 1; None where the whole picture's answer is below `least`, or one of its numbers isn't above
        the coarse picture's.

    >>> curve_area([100, 200, 300], [0.0, 1.0, 1.0])
    0.75
    """
    size, answer = (np.asarray(values, dtype=np.float64) for values in (information, answers))
    if answer[-1] < least or size[-1] <= size[0] or answer[-1] <= answer[0]:
        return None
    x, y = ((v[1:-1] - v[0]) / (v[-1] - v[0]) for v in (size, answer))
    x, y = np.clip(x, 0.0, 1.0), np.maximum.accumulate(np.clip(y, 0.0, 1.0))
    order = np.argsort(x, kind="stable")
    grid = np.linspace(0.0, 1.0, _GRID + 1)
    curve = np.interp(grid, [0.0, *x[order], 1.0], [0.0, *y[order], 1.0])
    return float((curve[1:] + curve[:-1]).sum() / 2 / _GRID)


class InformationCurves(Metric):
    """Areas under the softmax and the accuracy information curve (SIC, AIC).

    The picture is shown coarsely, from one pixel in a hundred; then the most relevant pixels come back in steps. A
    curve sets what the network says against how much information the picture holds by then, which is the size of
    its file: a map that scatters pixels pays for them.

    Source: Kapishnikov et al. 2019 (XRAI), "performance information curves", as their code computes them.

    Args:
        shares: of pixels that are sharp, in rising order; the authors' notebook's.
        least: pairs whose probability on the whole picture is lower are left out of SIC; the authors' code's.
        codec: "webp" (lossless, as the authors have it) or "png", which packs several times as fast.
        mean, std: of the model's normalised inputs, one number a channel; None: those it was loaded with.
        seed: of the pixels that are known from the start; they depend on it and on the picture's name.

    Raises:
        InputError: shares that don't rise or lie outside (0, 1), another codec, mean without std.
    """

    name = "information-curves"
    needs = "model"
    summary = (
        "Information curves: areas under SIC and AIC, the network's answer against the picture's information"
    )
    outcomes = (Outcome("sic", "SIC", average="pair"), Outcome("aic", "AIC", average="pair"))

    def __init__(
        self,
        *,
        shares: Sequence[float] = _SHARES,
        least: float = 0.8,
        codec: Codec = "webp",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(shares, str) or not shares:
            raise InputError(f"Expected shares to be a list of shares of pixels but got {shares!r}.")
        for share in shares:
            check_number("shares", share, least=0)
        if list(shares) != sorted(set(shares)) or shares[0] <= 0 or shares[-1] >= 1:
            raise InputError(f"Expected shares to rise from above 0 to below 1 but got {list(shares)}.")
        check_number("least", least, least=0)
        check_choice("codec", codec, ("webp", "png"))
        check_seed(seed)
        if (mean is None) != (std is None):
            raise InputError("Expected mean and std together but got one of them. Pass both.")
        for name, values in (("mean", mean), ("std", std)):
            for value in values or ():
                check_number(name, value)
        self.shares, self.least, self.codec = tuple(shares), least, codec
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)
        self.seed = seed

    def measure(self, case: Case) -> dict[str, float]:
        model, x = model_and_input(case, self.name)
        heat = as_picture(case.map, x).numpy()
        low, width = self._scale(model, x)
        shown = ((x[0].double() - low) / width * 255).round().clamp(0, 255)
        if len(shown) not in (1, 3):
            raise InputError(
                f"Expected pictures of 1 or 3 channels for {self.name!r}, as files have, but got {len(shown)}."
            )
        whole = shown.to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        pictures = [*self._pictures(whole, heat, case.sample.name), whole]
        said = self._answers(model, pictures, x, low, width)
        probability = (said.sigmoid() if case.multi_label else said.softmax(1))[:, case.target]
        right = probability >= 0.5 if case.multi_label else said.argmax(1) == case.target
        sizes = [compressed_size(picture, self.codec) for picture in pictures]
        areas = {
            "sic": curve_area(sizes, probability.tolist(), self.least),
            "aic": curve_area(sizes, right.double().tolist()),
        }
        return {key: area for key, area in areas.items() if area is not None}

    def _pictures(
        self, whole: NDArray[np.uint8], heat: NDArray[np.float64], name: str
    ) -> list[NDArray[np.uint8]]:
        """The coarse picture, and those with more and more of the most relevant pixels."""
        random = np.random.Generator(np.random.PCG64([self.seed, zlib.crc32(name.encode())]))
        start = np.zeros(heat.size, dtype=bool)
        start[random.permutation(heat.size)[: int(heat.size * _START)]] = True
        known = start.reshape(heat.shape)
        return [
            coarse(whole, known),
            *(coarse(whole, known | (heat >= np.quantile(heat, 1 - share))) for share in self.shares),
        ]

    def _answers(
        self, model: nn.Module, pictures: Sequence[NDArray[np.uint8]], x: Tensor, low: Tensor, width: Tensor
    ) -> Tensor:
        """Scores (pictures, classes)."""
        shown = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).to(x.device).double() / 255
        inputs = (shown * width + low).to(x.dtype)
        return torch.cat([scores_of(model, part) for part in inputs.split(_CHUNK)])

    def _scale(self, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """What black is in the model's units, and how far white lies from it, (C, 1, 1) each."""
        if self.mean is not None and self.std is not None:
            mean, std = (x.new_tensor(v, dtype=torch.float64)[:, None, None] for v in (self.mean, self.std))
            return -mean / std, 1 / std
        box = facts_of(model).box
        if box is None:
            raise InputError(
                f"Expected mean=(...) and std=(...), one number a channel, for {type(model).__name__}, as it "
                "isn't known what its pixels mean. Pass them, or load the model with relprop."
            )
        low, high = (bound.to(x.device).double().reshape(-1, 1, 1) for bound in box)
        return low, high - low
