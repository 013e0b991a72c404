"""`relprop methods` and `relprop models`: what there is. Nothing here imports torch before a command runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from relprop.catalogue import (
    BASELINES,
    CLIP_MODELS,
    DATASETS,
    DETECTORS,
    METHODS,
    METRICS,
    MODEL_SOURCES,
    MODELS,
    PACKAGED_MODELS,
)
from relprop.checks import check_known
from relprop.cli.options import Debug, Json, checked, method_names
from relprop.cli.panels import what_option

__all__ = ["list_recipes", "methods", "models"]

_Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="List the settings of this one (or of your own, file.py:Name) instead.",
        autocompletion=method_names,
        show_default=False,
    ),
]
_Source = Annotated[
    str | None,
    what_option(
        metavar="LIBRARY",
        help="List the names of torchvision or timm instead of the bundled models.",
        callback=checked(lambda source: check_known("source of models", source, MODEL_SOURCES)),
    ),
]


def methods(name: _Name = None, json: Json = False, debug: Debug = False) -> None:
    """List the methods, or the settings of one."""
    from relprop.cli.output import print_lines

    if name is None:
        _show({"method": METHODS.summaries()}, json, "what it does")
        return
    found = METHODS.settings(name)
    if found or json:
        _show({"setting": found if json else {k: repr(v) for k, v in found.items()}}, json, "default")
    else:
        print_lines(f"{name} has no settings.")


def models(source: _Source = None, json: Json = False, debug: Debug = False) -> None:
    """List the bundled models, or those of torchvision or timm."""
    from relprop.cli.output import print_json, print_lines

    if source is not None:
        from relprop.models.sources import source_names

        names = [f"{source}:{name}" for name in source_names(source)]
        if json:
            print_json(names)
        else:
            print_lines(*names)
        return
    found = MODELS.summaries() | PACKAGED_MODELS.summaries()
    found |= {name: f"for relprop detect: {text}" for name, text in DETECTORS.summaries().items()}
    found |= {name: f"for relprop video: {text}" for name, text in CLIP_MODELS.summaries().items()}
    _show({"model": found}, json)
    if not json:
        print_lines(
            "",
            "Others: torchvision:NAME and timm:NAME (list them: relprop models --source torchvision), c3d with",
            "--weights (published layout), or file.py:factory for your own, where factory() returns the module.",
        )


def list_recipes(json: bool) -> None:
    """Print the recipes that come with the package, and what a recipe of one's own can name."""
    from relprop.benchmark.recipe import recipes
    from relprop.cli.output import print_json, print_lines, print_table

    found = {"recipe": recipes()} | {r.what: r.summaries() for r in (DATASETS, METRICS, BASELINES)}
    if json:
        print_json(found)
        return
    for kind, entries in found.items():
        print_table([kind, "what it is"], [[name, text] for name, text in entries.items()])
        print_lines("")
    print_lines("A recipe of your own is a FILE.toml that names these and any of: relprop methods.")


def _show(found: dict[str, dict[str, Any]], json: bool, what: str = "what it is") -> None:
    from relprop.cli.output import print_json, print_table

    ((kind, entries),) = found.items()
    if json:
        print_json(entries)
    else:
        print_table([kind, what], [[name, text] for name, text in entries.items()])
