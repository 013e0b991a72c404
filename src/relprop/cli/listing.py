"""`relprop methods` and `relprop models`: what there is. Nothing here imports torch before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from relprop.cli.options import Debug, Json

__all__ = ["list_recipes", "methods", "models"]

_Source = Annotated[
    str | None,
    typer.Option(
        metavar="LIBRARY", help="List the names of torchvision or timm instead of the bundled models."
    ),
]


def methods(json: Json = False, debug: Debug = False) -> None:
    """List the methods."""
    from relprop.methods.registry import methods

    _show({"method": methods()}, json, "what it does")


def models(source: _Source = None, json: Json = False, debug: Debug = False) -> None:
    """List the bundled models, or those of torchvision or timm."""
    from relprop.cli.output import print_json, print_lines
    from relprop.detectors.bundled import models as detectors
    from relprop.models import models
    from relprop.models.bundled_clips import models as clips
    from relprop.models.sources import source_names

    if source is not None:
        names = [f"{source}:{name}" for name in source_names(source)]
        if json:
            print_json(names)
        else:
            print_lines(*names)
        return
    found = models()
    found |= {name: f"for relprop detect: {text}" for name, text in detectors().items()}
    found |= {name: f"for relprop video: {text}" for name, text in clips().items()}
    _show({"model": found}, json)
    if not json:
        print_lines(
            "",
            "Others: torchvision:NAME and timm:NAME (list them: relprop models --source torchvision), c3d with",
            "--weights (published layout), or file.py:factory for your own, where factory() returns the module.",
        )


def list_recipes(json: bool) -> None:
    """Print the recipes that come with the package, and what a recipe of one's own can name."""
    from relprop.benchmark.baselines import BASELINES
    from relprop.benchmark.recipe import recipes
    from relprop.cli.output import print_json, print_lines, print_table
    from relprop.datasets.registry import datasets
    from relprop.metrics.registry import metrics

    found = {"recipe": recipes(), "data set": datasets(), "metric": metrics(), "baseline": BASELINES}
    if json:
        print_json(found)
        return
    for kind, entries in found.items():
        print_table([kind, "what it is"], [[name, text] for name, text in entries.items()])
        print_lines("")
    print_lines("A recipe of your own is a FILE.toml that names these and any of: relprop methods.")


def _show(found: dict[str, dict[str, str]], json: bool, what: str = "what it is") -> None:
    from relprop.cli.output import print_json, print_table

    ((kind, entries),) = found.items()
    if json:
        print_json(entries)
    else:
        print_table([kind, what], [[name, text] for name, text in entries.items()])
