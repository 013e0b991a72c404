"""One clip's frames and films, checked and ready to draw, and the one scale of its films."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relprop.errors import InputError
from relprop.viz.scale import Limit, limits

__all__ = ["Reel", "film_limit"]


@dataclass(frozen=True)
class Reel:
    """What is drawn of one clip.

    Attributes:
        frames: as shown to the network, (T, H, W, 3) uint8.
        films: relevance by name, (T, H, W) each, in float64.
        said: the method and how it was split, or "".
        target: the explained class, or None.
        output: its score, or None.
        frozen: the class predicted for each frozen clip, or None.
        share: the temporal film's part of the original's sum where both streams are parts of it, or None.
        caution: why sums of the films say nothing, in a few words, or "" where they can be compared.
        remarks: sentences without which the films would be misread.
        place: (T, 2) x and y in pixels of one place of the scene in every frame, where the camera moves; None: it
            doesn't.
        warnings: sentences that speak against the films; the first stands in every picture of the film.

    Raises:
        InputError: on frames or films of another shape or type.
    """

    frames: NDArray[np.uint8]
    films: dict[str, NDArray[np.float64]]
    said: str = ""
    target: int | None = None
    output: float | None = None
    frozen: list[int] | None = None
    share: float | None = None
    caution: str = ""
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    place: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not self.films:
            raise InputError("Expected at least one film to draw but got none.")
        size = next(iter(self.films.values())).shape
        for name, film in self.films.items():
            if film.ndim != 3 or film.shape != size:
                raise InputError(
                    f"Expected films (T, H, W) of one size but got {size} and {name!r} {film.shape}."
                )
        frames = self.frames
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.shape != (*size, 3):
            got = (
                f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
            )
            raise InputError(
                f"Expected the clip's frames as a uint8 array of the films' size {(*size, 3)} but got {got}. "
                "Give them as the network saw them: sampled, resized and cropped, before means are subtracted."
            )

    def part(self, name: str) -> float | None:
        """The part of the original's sum that a stream holds; None where it is none, or there are no streams."""
        if self.share is None or name not in ("spatial", "temporal"):
            return None
        return self.share if name == "temporal" else 1 - self.share


def film_limit(films: Mapping[str, ArrayLike], scale: Literal["shared"] | float = "shared") -> Limit:
    """The one scale of all films of a clip: figure and overlay film draw with it.

    Args:
        films: (T, H, W) by name.
        scale: ``"shared"``: the percentile of :func:`relprop.viz.limits` over all films; or a number > 0.

    Raises:
        InputError: on NaN or infinite values, or another scale.

    >>> film_limit({"a": [[[0.0, 1.0]]], "b": [[[-4.0, 2.0]]]})
    Limit(value=4.0, peak=4.0, signed=True)
    """
    if isinstance(scale, str) and scale != "shared":
        raise InputError(
            f"Expected scale 'shared' (one for all films of a clip) or a number > 0 but got {scale!r}."
        )
    values = [np.asarray(film, dtype=np.float64) for film in films.values()]
    found = limits(values, scale, signed=[False] * len(values))
    return Limit(found[0].value, max(limit.peak for limit in found), any(limit.signed for limit in found))
