"""What `relprop benchmark` changes in a recipe. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from relprop.catalogue import BASELINES, METHODS, METRICS, MODEL_SPECS
from relprop.cli.options import (
    Labels,
    MultiLabel,
    RandomWeights,
    Weights,
    checked,
    each,
    method_names,
    model_names,
)
from relprop.cli.panels import how_option, what_option
from relprop.errors import InputError
from relprop.own_file import split_file
from relprop.registry import split_settings

__all__ = ["Changes", "refuse"]


# Files of one's own are looked for beside the recipe first: whether they are there, the recipe tells.
def _known_method(text: str) -> None:
    name = split_settings(text)[0]
    if split_file(name) is None:
        (BASELINES if name in BASELINES else METHODS).check(text)


def _known_model(spec: str) -> None:
    if split_file(spec) is None:
        MODEL_SPECS.check(spec)


def _known_metric(text: str) -> None:
    if split_file(split_settings(text, "metric")[0]) is None:
        METRICS.check(text)


def _metric_names(incomplete: str) -> list[str]:
    return [name for name in METRICS if name.startswith(incomplete)]


@dataclass(frozen=True)
class Changes:
    """What is changed in the recipe."""

    data: Annotated[
        Path | None, what_option(metavar="PATH", help="Your folder (or file) of the recipe's data set.")
    ] = None
    difficult: Annotated[
        Path | None, what_option(metavar="FILE", help="Your list of difficult pairs, tab-separated.")
    ] = None
    model: Annotated[
        str | None,
        what_option(
            "--model",
            "-m",
            metavar="SPEC",
            help="Another model than the recipe's.",
            autocompletion=model_names,
            callback=checked(_known_model),
        ),
    ] = None
    weights: Weights = None
    random_weights: RandomWeights = False
    labels: Labels = None
    multi_label: MultiLabel = None
    methods: Annotated[
        list[str] | None,
        what_option(
            "--method",
            "-x",
            metavar="NAME[:KEY=VALUE,...]",
            help="Instead of the recipe's methods. Repeat for several; also baselines, such as center.",
            autocompletion=method_names,
            callback=checked(each(_known_method)),
        ),
    ] = None
    add_methods: Annotated[
        list[str] | None,
        what_option(
            "--add-method",
            metavar="NAME[:KEY=VALUE,...]",
            help="Beside the recipe's methods.",
            autocompletion=method_names,
            callback=checked(each(_known_method)),
        ),
    ] = None
    metrics: Annotated[
        list[str] | None,
        what_option(
            "--metric",
            metavar="NAME[:KEY=VALUE,...]",
            help="Instead of the recipe's metrics. Repeat for several; those of the recipe keep its settings.",
            autocompletion=_metric_names,
            callback=checked(each(_known_metric)),
        ),
    ] = None
    add_metrics: Annotated[
        list[str] | None,
        what_option(
            "--add-metric",
            metavar="NAME[:KEY=VALUE,...]",
            help="Beside the recipe's metrics.",
            autocompletion=_metric_names,
            callback=checked(each(_known_metric)),
        ),
    ] = None
    limit: Annotated[
        int | None, what_option(min=0, metavar="N", help="So many pictures, drawn with the seed; 0: all.")
    ] = None
    seed: Annotated[int | None, how_option(min=0, metavar="N", help="Of everything random.")] = None
    chunk: Annotated[
        int | None, how_option(min=1, metavar="N", help="Pictures that are written together.")
    ] = None
    batch: Annotated[
        int | None, how_option(min=1, metavar="N", help="Pictures that run through the model together.")
    ] = None
    threads: Annotated[int | None, how_option(min=1, metavar="N", help="CPU threads a worker.")] = None
    maps: Annotated[
        bool | None,
        how_option(
            "--maps/--no-maps", help="Whether maps are kept, so that another metric needs no explaining."
        ),
    ] = None

    def given(self) -> dict[str, bool]:
        """Option -> whether something else than the recipe's was asked for."""
        return {
            f"--{_SPELLED.get(field.name, field.name.replace('_', '-'))}": getattr(self, field.name)
            != field.default
            for field in fields(self)
        }


#: Options of another name than the field.
_SPELLED = {
    "methods": "method",
    "add_methods": "add-method",
    "metrics": "metric",
    "add_metrics": "add-metric",
    "maps": "maps/--no-maps",
    "multi_label": "multi-label/--single-label",
}


def refuse(given: Mapping[str, bool], where: str) -> None:
    """Refuse options that don't concern what is asked: nothing that was typed is passed over in silence.

    Args:
        given: option -> whether it was given.
        where: with what it doesn't go, and why, in words.

    Raises:
        InputError: one was.
    """
    for option, typed in given.items():
        if typed:
            raise InputError(f"Expected no {option} {where}. Leave it out.")
