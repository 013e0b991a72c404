"""Data randomisation: does a map change when the network never could learn what pictures show?"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from torch import nn

from relprop.checks import check_flag
from relprop.errors import InputError
from relprop.graph import capture_lock
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.ranking import map_and, model_and_input
from relprop.metrics.similarity import SIMILARITIES, check_similarities
from relprop.models.sources import load_model
from relprop.models.twins import load_twin, twinned
from relprop.own_file import seeded

__all__ = ["DataRandomisation"]

_TWINS: WeakKeyDictionary[nn.Module, dict[str, nn.Module]] = WeakKeyDictionary()


class DataRandomisation(Metric):
    """Similarity of the map with that of the network's twin, which was trained on shuffled labels.

    The twin fits its training set by heart. A method that explains what the network learned gives another map.

    Source: Adebayo et al. 2018, data randomization test.

    Args:
        twin: the network to compare with, as `load_model` takes it: `file.py:Name` of your own, of the same inputs
            and outputs; "": the bundled twin, where the network is a bundled one that has one.
        similarities: among "ssim", "spearman" and "hog".
        absolute: compare |maps|.

    Raises:
        InputError: other settings.
    """

    name = "data-randomisation"
    needs = "model"
    summary = (
        "Data randomisation: how much of the map stays on a twin trained on shuffled labels (less is better)"
    )
    outcomes = (
        Outcome("ssim", "SSIM shuffled", better="lower", average="pair", percent=False),
        Outcome("spearman", "Spearman shuffled", better="lower", average="pair", percent=False),
        Outcome("hog", "HOG shuffled", better="lower", average="pair", percent=False),
    )

    def __init__(
        self,
        *,
        twin: str = "",
        similarities: Sequence[str] = ("ssim", "spearman", "hog"),
        absolute: bool = False,
    ) -> None:
        if not isinstance(twin, str):
            raise InputError(f"Expected twin to be the specification of a model but got {twin!r:.80}.")
        check_flag("absolute", absolute)
        self.twin, self.similarities, self.absolute = twin, check_similarities(similarities), absolute

    def measure(self, case: Case) -> dict[str, float]:
        model, _ = model_and_input(case, self.name)
        here, explain = map_and(case, self.name, "explain")
        there = explain(self.network(model))
        return {name: SIMILARITIES[name](here, there, self.absolute) for name in self.similarities}

    def reported(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.key in self.similarities)

    def network(self, model: nn.Module) -> nn.Module:
        """The twin, on the model's device and in its dtype; made once for a model, forgotten with it.

        Raises:
            InputError: no bundled twin of this network, or a specification that can't be used.
        """
        # In this order, as where a file of one's own is run, which may explain.
        with seeded(), capture_lock:
            known = _TWINS.setdefault(model, {})
            if self.twin not in known:
                like = next(model.parameters())
                known[self.twin] = self._loaded(model).to(device=like.device, dtype=like.dtype)
            return known[self.twin]

    def _loaded(self, model: nn.Module) -> nn.Module:
        if self.twin:
            return load_model(self.twin).module
        name = twinned(model)
        if not name:
            raise InputError(
                f"Expected twin='file.py:Name', the same network trained on shuffled labels, for "
                f"{type(model).__name__}, as it isn't a bundled one that has a twin. Train one with "
                "scripts/train_shuffled.py as a pattern."
            )
        return load_twin(name).module
