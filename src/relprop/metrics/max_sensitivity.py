"""Max-sensitivity: how far does a map move when the picture hardly does?"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relprop.checks import check_count, check_number
from relprop.methods.facts import facts_of
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.randomisation import check_seed
from relprop.metrics.ranking import map_and, model_and_input
from relprop.quantus import load_quantus
from relprop.quiet import no_warnings

__all__ = ["MaxSensitivity"]


class MaxSensitivity(Metric):
    r"""The largest change of the map among pictures with a little noise, as a share of the map.

    .. math:: \max_k \frac{\lVert R(x + \epsilon_k) - R(x) \rVert}{\lVert R(x) \rVert}, \quad
        \epsilon_k \sim U(-r, r)

    The target stays the same. The noise depends on the seed and the picture's name, so that methods meet the same;
    where it would leave the range of pixels that is known of the model, it is cut off.

    Source: Yeh et al. 2019, eq. 4, by sampling, over the map's norm; computed by Quantus.

    Args:
        radius: r, in the model's normalised units; Quantus' default.
        samples: noisy pictures; Quantus takes 200 by default, captum 10.
        seed: of the noise.

    Raises:
        InputError: a radius below 0, samples not from 1 to 10,000, a seed that is none.
    """

    name = "max-sensitivity"
    needs = "model"
    summary = "Max-sensitivity: largest relative change of the map under small noise (less is better)"
    outcomes = (Outcome("largest", "Max-sensitivity", better="lower", average="pair", percent=False),)

    def __init__(self, *, radius: float = 0.2, samples: int = 10, seed: int = 0) -> None:
        check_number("radius", radius, least=0)
        check_count("samples", samples, most=10_000)
        check_seed(seed)
        self.radius, self.samples, self.seed = radius, samples, seed

    def measure(self, case: Case) -> dict[str, float]:
        model, x = model_and_input(case, self.name)
        here, explain_at = map_and(case, self.name, "explain_at")
        heat = here.detach().double().cpu().numpy()
        if not heat.any():
            return {}  # nothing to compare with
        quantus = load_quantus(self.name)
        name = zlib.crc32(case.sample.name.encode())
        random = np.random.Generator(np.random.PCG64([self.seed, name]))

        box = facts_of(model).box
        # Pictures stay pictures: methods that know the range of pixels refuse what lies beyond.
        low, high = (-np.inf, np.inf) if box is None else (_beside(bound, x) for bound in box)

        def noisy(arr: NDArray[np.float64], **_: Any) -> NDArray[np.float64]:
            moved = arr + random.uniform(-self.radius, self.radius, arr.shape)
            return np.asarray(np.clip(moved, low, high))

        def explained(_: Any, x_batch: NDArray[np.float64], *__: Any) -> NDArray[np.float64]:
            return explain_at(torch.from_numpy(x_batch).to(x)).double().cpu().numpy()

        metric = quantus.MaxSensitivity(nr_samples=1, perturb_func=noisy, disable_warnings=True)
        # Its own asks for maps that aren't negative everywhere.
        metric.explain_batch = explained
        # One noisy picture a row, so that all of them are explained together.
        rows = np.repeat(x.detach().double().cpu().numpy(), self.samples, 0)
        with no_warnings():  # it warns of noise that changes nothing
            found = metric.evaluate_batch(
                model=None, x_batch=rows, y_batch=np.repeat(case.target, self.samples),
                a_batch=np.repeat(heat[None], self.samples, 0),
            )  # fmt: skip
        return {"largest": float(np.max(found))}


def _beside(bound: Tensor, x: Tensor) -> NDArray[np.float64]:
    """A bound of pixels for each value of an input, (1, C * H * W)."""
    whole = bound.reshape(1, -1, 1, 1) if bound.ndim == 1 else bound
    return np.asarray(whole.expand(x.shape).double().cpu().reshape(1, -1).numpy())
