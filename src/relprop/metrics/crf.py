"""Dense CRF: pull a foreground's border to the picture's colours."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.metrics.metric import as_heat

__all__ = ["DenseCRF"]


@dataclass(frozen=True)
class DenseCRF:
    r"""Mean-field inference in a fully connected CRF over the pixels of one picture, two labels.

    Labels that differ cost two pixels i, j at positions p with colours I

    .. math:: w_s \exp\Big(-\frac{|p_i - p_j|^2}{2 θ_s^2}\Big)
        + w_b \exp\Big(-\frac{|p_i - p_j|^2}{2 θ_p^2} - \frac{|I_i - I_j|^2}{2 θ_c^2}\Big)

    and each pixel costs -log of its probability. Source: Krähenbühl and Koltun 2011, eqs. 1-3; computed by
    their code (`pydensecrf2`), which approximates the sums on a lattice and scales each of the two terms
    symmetrically so that its sum over j is about its weight. The defaults are those of its examples; no paper on
    relevance states its own.

    Args:
        steps: of mean-field inference.
        smooth_weight, smooth_size: w_s and θ_s (pixels); weight 0 leaves the term out.
        weight, size, colour: w_b, θ_p (pixels) and θ_c (of 255); weight 0 leaves the term out.
        certain: probabilities are kept in [1 - certain, certain], so that no pixel is beyond doubt.

    Raises:
        InputError: settings out of range; when called, shapes that differ or a missing `pydensecrf2`.
    """

    steps: int = 5
    smooth_weight: float = 3.0
    smooth_size: float = 3.0
    weight: float = 10.0
    size: float = 80.0
    colour: float = 13.0
    certain: float = 0.99

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "steps" or field.name.endswith("weight") else 1e-9
            number = isinstance(value, int if field.name == "steps" else (int, float))
            if isinstance(value, bool) or not number or not least <= value < math.inf:
                raise InputError(
                    f"Expected {field.name} of a dense CRF to be >= {least:g} but got {value!r}."
                )
        if not 0.5 < self.certain < 1:
            raise InputError(f"Expected certain to be between 0.5 and 1 but got {self.certain!r}.")

    def __call__(self, picture: Any, probability: Any) -> NDArray[np.bool_]:
        """The foreground (H, W): where its probability ends up above the background's.

        Args:
            picture: (H, W, 3) uint8.
            probability: of the foreground, (H, W), 0 to 1.
        """
        return self.probability(picture, probability) > 0.5

    def probability(self, picture: Any, probability: Any) -> NDArray[np.float64]:
        """The foreground's probability after inference, (H, W); see `__call__`."""
        colours = np.ascontiguousarray(picture)
        start = as_heat(probability)
        if colours.dtype != np.uint8 or colours.shape != (*start.shape, 3):
            raise InputError(
                f"Expected a picture (H, W, 3) of uint8 and a probability (H, W) but got {colours.dtype} "
                f"{colours.shape} and {start.shape}."
            )
        if start.min() < 0 or start.max() > 1:
            raise InputError(
                f"Expected probabilities from 0 to 1 but got {start.min():g} to {start.max():g}."
            )
        densecrf = _library()
        height, width = start.shape
        front = start.clip(1 - self.certain, self.certain)
        cost = -np.log(np.stack([1 - front, front])).reshape(2, -1).astype(np.float32)
        field = densecrf.DenseCRF2D(width, height, 2)
        field.setUnaryEnergy(np.ascontiguousarray(cost))
        if self.smooth_weight:
            field.addPairwiseGaussian(sxy=self.smooth_size, compat=self.smooth_weight)
        if self.weight:
            field.addPairwiseBilateral(sxy=self.size, srgb=self.colour, rgbim=colours, compat=self.weight)
        found = np.array(field.inference(self.steps), dtype=np.float64)
        return np.asarray(found[1].reshape(height, width))


def _library() -> Any:
    try:
        return import_module("pydensecrf.densecrf")
    except ImportError:
        raise InputError(
            "The dense CRF needs `pydensecrf2`. Install it with: pip install 'relprop[crf]'. Or pass another "
            "refinement: Segmentation(refine=...)."
        ) from None
