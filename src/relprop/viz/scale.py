"""Drawing scales: which value takes the strongest colour. They choose colours and never touch numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.viz.colour import check_finite
from relprop.viz.labels import number

__all__ = ["CLIP", "Limit", "Scale", "limits"]

Scale = Literal["symmetric", "shared"] | float

#: Default percentile of the non-zero |values| that takes the end colour. Relevance at pixels is
#: heavy-tailed: with the maximum at the end of the scale a handful of pixels leaves the rest nearly white.
CLIP = 99.5


@dataclass(frozen=True)
class Limit:
    """The scale of one drawn map.

    Attributes:
        value: the magnitude that takes the end colour; 0 where all values are zero.
        peak: the largest magnitude in the map itself.
        signed: whether the scale runs from ``-value`` or from 0.
    """

    value: float
    peak: float
    signed: bool = True

    @property
    def text(self) -> str:
        """One short line for the picture.

        >>> Limit(0.012, 0.087).text
        '±0.012 (max 0.087)'
        >>> Limit(0.5, 0.5, signed=False).text
        '0 to 0.5'
        """
        if self.peak == 0:
            return "all zero"
        span = f"±{number(self.value)}" if self.signed else f"0 to {number(self.value)}"
        return span if number(self.peak) == number(self.value) else f"{span} (max {number(self.peak)})"


def check_scale(scale: object, clip: object) -> None:
    """Refuse scales and percentiles that mean nothing.

    Raises:
        InputError: unless scale is 'symmetric', 'shared' or a finite number > 0, and clip None or in (0, 100].
    """
    is_number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
    if not (scale in ("symmetric", "shared") or (is_number and math.isfinite(scale) and scale > 0)):  # type: ignore[arg-type,operator]
        raise InputError(
            f"Expected scale 'symmetric' (each map its own), 'shared' (one for all maps) or a number > 0 "
            f"but got {scale!r}."
        )
    if clip is not None and not (
        isinstance(clip, (int, float)) and not isinstance(clip, bool) and 0 < clip <= 100
    ):
        raise InputError(f"Expected clip to be None or a percentile in (0, 100] but got {clip!r}.")


def limits(
    maps: Sequence[NDArray[np.floating]],
    scale: Scale = "symmetric",
    clip: float | None = CLIP,
    signed: Sequence[bool] | None = None,
) -> list[Limit]:
    """The scale of each map.

    Args:
        maps: relevance maps of any shape.
        scale: ``"symmetric"``: ±s for each map by itself; ``"shared"``: one s for all; a number: that s.
        clip: s is this percentile of the non-zero magnitudes (a value that occurs, never an interpolated
            one), or the maximum where None. A number as scale is taken as it is.
        signed: per map, False where its method can't give negative values: the scale then starts at 0,
            unless the map does hold negative values.

    Raises:
        InputError: on NaN or infinite values, an unknown scale, a clip outside (0, 100].

    >>> [l.value for l in limits([np.array([0.0, 1.0]), np.array([-4.0, 2.0])], clip=None)]
    [1.0, 4.0]
    >>> [l.value for l in limits([np.array([0.0, 1.0]), np.array([-4.0, 2.0])], "shared", clip=None)]
    [4.0, 4.0]
    """
    check_scale(scale, clip)
    for values in maps:
        check_finite(np.asarray(values))
    signs = [True] * len(maps) if signed is None else list(signed)
    magnitudes = [np.abs(np.asarray(values, dtype=np.float64)).ravel() for values in maps]
    if not isinstance(scale, str):
        ends = [float(scale)] * len(maps)
    elif scale == "shared":
        ends = [_end(magnitudes, clip)] * len(maps)
    else:
        ends = [_end([own], clip) for own in magnitudes]
    return [
        Limit(end, float(own.max(initial=0)), sign or bool(np.min(values, initial=0) < 0))
        for end, own, sign, values in zip(ends, magnitudes, signs, maps, strict=True)
    ]


def _end(magnitudes: Sequence[NDArray[np.float64]], clip: float | None) -> float:
    values = np.concatenate([m[m > 0] for m in magnitudes]) if magnitudes else np.empty(0)
    if values.size == 0:
        return 0.0
    if clip is None:
        return float(values.max())
    return float(np.percentile(values, clip, method="higher"))
