"""Reading: a benchmark as far as its results are kept, without computing anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from relprop.benchmark.plan import missing
from relprop.benchmark.recipe import Recipe, recipe_from
from relprop.benchmark.run import Finished
from relprop.benchmark.seen import ModelSeen
from relprop.benchmark.store import RESULTS, Store
from relprop.benchmark.worker import Worker
from relprop.datasets.data_set import DataSet
from relprop.datasets.sample import Sample
from relprop.errors import InputError
from relprop.files import expanded

__all__ = ["read_finished", "recipe_of", "results_in"]


class _Listed(DataSet):
    """A data set of which only the names are known."""

    def __init__(self, classes: Sequence[str], names: Sequence[str]) -> None:
        self.classes, self.names = classes, names

    def __getitem__(self, index: int) -> Sample:
        raise InputError(
            f"Expected pictures to draw '{self.names[index]}' but only results are read. Run the benchmark."
        )


def results_in(place: str | Path) -> Path:
    """The results of a benchmark: in a folder, by a recipe's name or file (where they go by default), or the file.

    Raises:
        InputError: there are none.
    """
    path = expanded(place)
    if path.is_dir():
        path = path / RESULTS
    elif path.suffix == ".toml" or not path.exists():
        path = Path("relprop-benchmark") / (path.stem if path.suffix == ".toml" else path) / RESULTS
    if not path.is_file():
        raise InputError(
            f"Expected results of a benchmark in '{path}' but there are none. Run it, or name the folder that was "
            "given as --out."
        )
    return path


def recipe_of(results: str | Path) -> Recipe:
    """The recipe that was run last.

    Raises:
        InputError: no results, or of another version.
        RelpropError: they are damaged, or another run is writing to them.
    """
    with Store(results, None) as kept:
        return _recipe(kept)


def read_finished(results: str | Path) -> Finished:
    """The results of what was run last, as far as they are there. Neither data nor model are needed.

    Args:
        results: the SQLite file.

    Raises:
        InputError: no results, or of another version; or a file of your own that the recipe names is gone.
        RelpropError: they are damaged, or another run is writing to them.
    """
    with Store(results, None) as kept:
        recipe, told = _recipe(kept), kept.told()
        seen = ModelSeen.read(told.get("model", ""))
        try:
            classes = list(json.loads(told["classes"]))
        except (KeyError, ValueError, TypeError) as error:
            raise kept.damaged("the names of the classes aren't in it") from error
        if seen is None:
            raise kept.damaged("what is to be known of the model isn't in it")
        worker = Worker(recipe, seen=seen, data=_Listed(classes, kept.wanted.pictures))
        return Finished(
            recipe,
            worker,
            tuple(kept.records()),
            tuple(kept.problems()),
            worker.pictures,
            computed=0,
            explained=0,
            seconds=0.0,
            work=kept.work(),
            open=sum(len(parts) for _, parts in missing(worker, kept)),
        )


def _recipe(kept: Store) -> Recipe:
    told = kept.told().get("recipe")
    if told is None:
        raise InputError(
            f"Expected results of a benchmark but '{kept.path}' has none yet. Run the benchmark."
        )
    try:
        return recipe_from(json.loads(told))
    except (ValueError, TypeError) as error:
        raise kept.damaged(f"its recipe can't be read ({error})") from error
