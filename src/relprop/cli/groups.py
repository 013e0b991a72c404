"""Groups of options: declared once as a class, and one by one on the command line. Nothing here imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from relprop.cli.options import (
    Debug,
    Device,
    Json,
    Labels,
    Mean,
    Memory,
    Out,
    RandomWeights,
    Size,
    Std,
    Weights,
    parsed_numbers,
    parsed_size,
)

if TYPE_CHECKING:
    from relprop.bar import Shows
    from relprop.models.loaded import LoadedModel
    from relprop.reports import Report

__all__ = ["Loading", "Output", "PictureLoading", "flat"]


@dataclass(frozen=True)
class Loading:
    """How a model is loaded."""

    weights: Weights = None
    random_weights: RandomWeights = False
    labels: Labels = None
    device: Device = "cpu"

    def settings(self) -> dict[str, Any]:
        """The arguments of the function that loads it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def model(self, spec: str, output: Output, **others: Any) -> Callable[[], LoadedModel]:
        """What loads the model: reports call it once pictures and names were looked at."""
        from relprop.models.sources import load_model

        return partial(load_model, spec, progress=not output.json, **self.settings(), **others)


@dataclass(frozen=True)
class PictureLoading(Loading):
    """How a model of pictures is loaded."""

    size: Size = None
    mean: Mean = None
    std: Std = None

    def settings(self) -> dict[str, Any]:
        """The arguments of the function that loads it."""
        return super().settings() | {
            "size": parsed_size(self.size),
            "mean": parsed_numbers(self.mean),
            "std": parsed_numbers(self.std),
        }


@dataclass(frozen=True)
class Output:
    """Where results go, how they are told, and what memory they may take."""

    out: Out = Path("relprop-out")
    memory: Memory = None
    json: Json = False
    debug: Debug = False

    def show(self, make: Callable[[Shows | None], Report], unit: str = "") -> None:
        """Make a report, with a bar on the terminal meanwhile, and print it; exit code 1 if it is open.

        Args:
            make: gets what tells the bar.
            unit: of what is counted, for the bar's rate.
        """
        from relprop.bar import progress_bar
        from relprop.cli.output import print_report, results_alone
        from relprop.tracing.limit import memory_limit

        with results_alone(), memory_limit(self.memory), progress_bar(unit, self.json) as bar:
            report = make(bar)
        print_report(report, self.json)
        if report.open:  # everything is written, but something on it can't be trusted
            raise typer.Exit(1)


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every option of its groups standing among its own, as the parser needs them."""
    signature = inspect.signature(command, eval_str=True)
    annotated = [(p.name, p.annotation) for p in signature.parameters.values()]
    groups: dict[str, Any] = {name: kind for name, kind in annotated if is_dataclass(kind)}
    single: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        group = groups.get(parameter.name)
        single += [parameter] if group is None else _members(group)
    single = [member.replace(kind=inspect.Parameter.KEYWORD_ONLY) for member in single]

    def call(**options: Any) -> None:
        for name, group in groups.items():
            options[name] = group(**{field.name: options.pop(field.name) for field in fields(group)})
        command(**options)

    call.__name__, call.__doc__ = command.__name__, command.__doc__
    call.__signature__ = signature.replace(parameters=single)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in single}
    return call


def _members(group: Any) -> list[inspect.Parameter]:
    # Annotations are text, to be read in the module of the class that each field was declared in.
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(group)
    ]
