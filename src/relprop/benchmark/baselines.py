"""Baselines: maps that know nothing of the model, drawn from a view of the picture."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from relprop import catalogue
from relprop.checks import check_number
from relprop.errors import InputError
from relprop.registry import Registry

__all__ = ["BASELINES", "Baseline", "Center", "Edges", "Noise", "Oracle", "View", "baseline", "seeded"]

BASELINES: Registry[type[Baseline]] = catalogue.BASELINES
"""Every baseline that a recipe knows by name."""

_LUMA = np.array(
    [0.299, 0.587, 0.114]
)  # ITU-R BT.601: what red, green and blue add to a picture's brightness
_WIDEST = 1000.0  # pixels; more would only run for long


@dataclass(frozen=True, eq=False)
class View:
    """What a baseline may look at: one picture and one class, as the model's input shows them.

    Attributes:
        size: (h, w) of the input, and of the map to draw.
        random: seeded by the recipe, the picture and the class.
        picture: (h, w, 3) float64 from 0 to 1.
        region: (h, w) bool, the class's mask, else its boxes; None where the picture has neither.
    """

    size: tuple[int, int]
    random: np.random.Generator
    picture: NDArray[np.float64]
    region: NDArray[np.bool_] | None = None


class Baseline:
    """A map made without the model. Subclasses write `draw`.

    Attributes:
        summary: one line for lists.
        oracle: it draws the truth itself, so that no method has to beat it.
    """

    summary: ClassVar[str] = ""
    oracle: ClassVar[bool] = False

    def draw(self, view: View) -> NDArray[np.float64] | None:
        """The map, (h, w); None where there is nothing to draw, and the pair is left out."""
        raise NotImplementedError


class Center(Baseline):
    """Highest in the middle."""

    summary = "Baseline: highest in the middle of the picture, falling with the distance from it"

    def draw(self, view: View) -> NDArray[np.float64]:
        """1 in the middle, 0 in the corners."""
        height, width = view.size
        y = (np.arange(height) - (height - 1) / 2)[:, None]
        x = (np.arange(width) - (width - 1) / 2)[None, :]
        distance = np.hypot(x, y)
        return np.asarray(1.0 - distance / max(float(distance.max()), 1.0))


class Noise(Baseline):
    """Uniform noise."""

    summary = "Baseline: uniform noise, one seeded draw a pair"

    def draw(self, view: View) -> NDArray[np.float64]:
        """From 0 to 1."""
        return view.random.random(view.size)


class Edges(Baseline):
    r"""How fast the picture's brightness changes: what an edge detector would call important.

    .. math:: |\nabla (G_\sigma * Y)|, \quad Y = 0.299 R + 0.587 G + 0.114 B

    It has seen the picture and no network. Adebayo et al. 2018 found maps of some methods hard to tell from
    it, and Clark et al. 2023 (XAI-TRIS) methods that are no better.

    Args:
        sigma: of the Gaussian that the picture is smoothed with, in pixels of the input.

    Raises:
        InputError: sigma out of range.
    """

    summary = "Baseline: how fast the picture's brightness changes, an edge filter"

    def __init__(self, *, sigma: float = 1.0) -> None:
        check_number("sigma", sigma, least=0.1)
        if sigma > _WIDEST:
            raise InputError(f"Expected sigma of at most {_WIDEST:g} pixels but got {sigma!r}.")
        self.sigma = float(sigma)

    def draw(self, view: View) -> NDArray[np.float64]:
        """From 0, where nothing changes, to 1 at the sharpest edge; 0 everywhere in an even picture."""
        from scipy.ndimage import gaussian_gradient_magnitude

        found = gaussian_gradient_magnitude(view.picture @ _LUMA, self.sigma, mode="nearest")
        most = float(found.max())
        # Rounding of an even picture is no edge.
        return np.asarray(found / most) if most > 1e-9 else np.zeros(view.size)


class Oracle(Baseline):
    """The truth itself: what a map would score that names the class's pixels and no others."""

    summary = "Baseline: the truth, 1 on the class's mask (else in its boxes) and 0 elsewhere"
    oracle = True

    def draw(self, view: View) -> NDArray[np.float64] | None:
        """1 inside, 0 outside; nothing where the picture has no region of the class."""
        return None if view.region is None else view.region.astype(np.float64)


def seeded(seed: int, image: str, label: int) -> np.random.Generator:
    """The random numbers of a pair, whatever was drawn before.

    Args:
        seed: of the recipe.
        image: the picture's name.
        label: the class.
    """
    key = hashlib.sha256(f"{seed}/{image}/{label}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "big")))


def baseline(which: str | Baseline, view: View) -> NDArray[np.float64] | None:
    """The map of a baseline, (h, w); ours lie in [0, 1]. None where it has nothing to draw.

    Args:
        which: a name of `BASELINES`, `file.py:Name`, or the baseline itself.
        view: what it looks at.

    Raises:
        InputError: no such baseline, or it draws another shape, or NaN or infinity.

    >>> baseline("center", View((3, 3), seeded(0, "a", 0), np.zeros((3, 3, 3))))[1, 1]
    np.float64(1.0)
    """
    drawer = BASELINES.find(which)() if isinstance(which, str) else which
    drawn: Any = drawer.draw(view)
    if drawn is None:
        return None
    found = np.asarray(drawn, dtype=np.float64)
    if found.shape != view.size or not np.isfinite(found).all():
        raise InputError(
            f"Expected {type(drawer).__name__} to draw a finite map {view.size} but got shape {found.shape}"
            f"{'' if np.isfinite(found).all() else ' with NaN or infinity'}."
        )
    return found
