"""Infidelity: do the map's values say how much the score changes where a square is covered?"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relprop.checks import check_choice, check_count
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.ranking import as_picture, model_and_input, scores_of
from relprop.quantus import load_quantus
from relprop.quiet import no_warnings

__all__ = ["Infidelity"]

Values = Literal["contributions", "slopes"]
"""What a pixel has of the score, or how fast the score changes with it."""


class Infidelity(Metric):
    r"""Mean squared difference between what the map says of covered squares and what covering them does.

    .. math:: \frac1n \sum_k (s_k - \Delta_k)^2, \quad \Delta_k = f(x) - f(x \text{ without square } k)

    where s_k is the sum of the map over the square ("contributions"), or of the map times what was taken away
    from each channel ("slopes", as Quantus computes it whatever the map). Squares tile the picture; a covered
    pixel is 0 in normalised units, the mean colour; f is the score, not its probability.

    Beside it the same after the best factor on the map, min over b of (b s - Δ)², as Yeh et al.'s code takes it,
    and that as a share of what there was to say, mean Δ², where only factors above 0 are allowed.

    Source: Yeh et al. 2019, definition 2.1, with squares removed; computed by Quantus. Its own way to perturb
    covers squares one after the other and uncovers none; it is given one that covers each alone.

    Args:
        patch: side of a square in pixels of the input; where squares don't tile it, those at its borders are cut.
        values: what the map holds: "contributions" or "slopes" (gradients).

    Raises:
        InputError: patch < 1, other values.
    """

    name = "infidelity"
    needs = "model"
    summary = (
        "Infidelity: squared difference between map and effect where squares are covered (less is better)"
    )
    outcomes = (
        Outcome("infidelity", "Infidelity", better="lower", average="pair", percent=False, detail=True),
        Outcome("scaled", "Infidelity, scaled", better="lower", average="pair", percent=False),
        Outcome("unexplained", "Effects unexplained", better="lower", average="pair"),
    )

    def __init__(self, *, patch: int = 16, values: Values = "contributions") -> None:
        check_count("patch", patch)
        check_choice("values", values, ("contributions", "slopes"))
        self.patch, self.values = patch, values

    def measure(self, case: Case) -> dict[str, float]:
        model, x = model_and_input(case, self.name)
        said, done = self._squares(model, x, as_picture(case.map, x), case.target)
        product, power = float(said @ done), float(said @ said)
        factor = product / power if power else 0.0
        effect = float(done @ done)
        found = {
            "infidelity": float(np.square(said - done).mean()),
            "scaled": float(np.square(factor * said - done).mean()),
        }
        if effect:
            found["unexplained"] = float(np.square(max(0.0, factor) * said - done).sum()) / effect
        return found

    def _squares(
        self, model: nn.Module, x: Tensor, heat: Tensor, target: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the map says of each square and what covering it does, (squares,) each."""
        quantus = load_quantus(self.name)
        picture = x.detach().double().cpu().numpy()
        kept: list[tuple[Any, Any]] = []

        # Quantus adds a margin where squares don't tile the picture, and takes it away again.
        margins = [
            import_module("quantus.helpers.utils").get_padding_size(n, self.patch) for n in x.shape[2:]
        ]
        framed = np.pad(picture, ((0, 0), (0, 0), *margins))

        def cover(indices: NDArray[np.int64], **_: Any) -> NDArray[np.float64]:
            flat = framed.reshape(1, -1).copy()
            flat[0, indices[0]] = 0.0
            return flat

        def loss(a: Any, b: Any, **_: Any) -> Any:
            kept.append((b[0], a[0]))
            return np.square(a - b).mean(-1)

        metric = quantus.Infidelity(
            loss_func=loss, perturb_func=cover, perturb_patch_sizes=[self.patch], n_perturb_samples=1,
            disable_warnings=True,
        )  # fmt: skip
        with no_warnings():  # it warns where covering changes nothing
            metric.evaluate_batch(
                model=_Scores(model, x),
                x_batch=picture,
                y_batch=np.array([target]),
                a_batch=self._slopes(heat.numpy(), picture),
            )
        ((said, done),) = kept
        return np.asarray(said, dtype=np.float64), np.asarray(done, dtype=np.float64)

    def _slopes(self, heat: NDArray[np.float64], picture: NDArray[np.float64]) -> NDArray[np.float64]:
        """What, times what is taken away from each channel, sums to the map's values: (1, C, H, W)."""
        if self.values == "slopes":
            return np.broadcast_to(heat, picture.shape)
        # A pixel that is 0 in a channel loses nothing there: the others have its value among them.
        there = picture != 0
        shares = heat / np.maximum(there.sum(1, keepdims=True), 1)
        return np.divide(shares, picture, out=np.zeros_like(picture), where=there)


class _Scores:
    """The model as Quantus asks it: arrays in, scores out, in the model's own precision and on its device."""

    def __init__(self, model: nn.Module, like: Tensor) -> None:
        self._model, self._like = model, like

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (N, classes)."""
        return scores_of(self._model, torch.from_numpy(x).to(self._like)).numpy()

    def shape_input(self, x: NDArray[np.float64], *_: Any, **__: Any) -> NDArray[np.float64]:
        """As it is: (N, C, H, W)."""
        return x
