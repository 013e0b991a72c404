"""`relprop benchmark`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relprop.catalogue import FIGURE_KINDS, TABLE_FORMATS
from relprop.cli.changes import Changes, refuse
from relprop.cli.groups import flat
from relprop.cli.options import Debug, Device, Json, checked
from relprop.cli.panels import how_option, output_option
from relprop.errors import InputError, unknown_name

if TYPE_CHECKING:
    from relprop.benchmark.recipe import Recipe

__all__ = ["benchmark"]


def _recipe_names(incomplete: str) -> list[str]:
    from relprop.benchmark.recipe import recipes

    return [name for name in recipes() if name.startswith(incomplete)]


_RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe's name or FILE.toml; 'list': what there is; 'show': results that are there.",
        autocompletion=_recipe_names,
    ),
]
_Shows = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="Behind 'show': a recipe's name, or the folder that was --out. Nothing is computed.",
        autocompletion=_recipe_names,
        show_default=False,
    ),
]
_AsRecipe = Annotated[
    bool,
    output_option("--recipe", help="Behind 'show': the recipe itself, with the changes asked here, as TOML."),
]
_Workers = Annotated[
    int | None,
    how_option(min=1, metavar="N", help="Worker processes. Default: one a CPU core, or one a GPU."),
]
_Engine = Annotated[str, how_option(metavar="local|ray", help="Processes of this machine, or a cluster.")]
_Address = Annotated[
    str | None, how_option(metavar="ADDRESS", help="Of the Ray cluster; without it Ray runs here.")
]
_Folder = Annotated[
    Path | None,
    output_option(
        "--out",
        "-o",
        metavar="FOLDER",
        help="Where results go, and are taken up again. Default: relprop-benchmark/RECIPE.",
    ),
]


def _known_format(name: str) -> None:
    if name not in TABLE_FORMATS and name not in TABLE_FORMATS.values():
        raise unknown_name("format", name, TABLE_FORMATS)


def _known_kinds(text: str) -> None:
    for kind in text.split(","):
        if kind not in FIGURE_KINDS:
            raise unknown_name("kind of figure", kind, FIGURE_KINDS)


_Format = Annotated[
    str | None,
    output_option(
        "--format",
        metavar="FORMAT",
        help="Print the table alone, as text, markdown, latex, csv or json.",
        callback=checked(_known_format),
    ),
]
_Kinds = Annotated[
    str,
    output_option(
        "--figures",
        metavar="FORMAT[,FORMAT...]",
        help="What figures are written as: png, pdf, svg, or several: png,pdf.",
        callback=checked(_known_kinds),
    ),
]
_Pictures = Annotated[
    list[str] | None,
    output_option(
        "--picture",
        metavar="NAME",
        help="A picture for the figure of maps; repeat for several. Default: some drawn with the seed.",
    ),
]


@flat
def benchmark(
    recipe: _RecipeName = "scenes",
    name: _Shows = None,
    *,
    changes: Changes,
    workers: _Workers = None,
    engine: _Engine = "local",
    address: _Address = None,
    out: _Folder = None,
    device: Device = "cpu",
    format: _Format = None,
    figures: _Kinds = "png",
    picture: _Pictures = None,
    as_recipe: _AsRecipe = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge methods on annotated pictures: a table with intervals, plots, best and worst cases.

    Results are kept as they are made. After an interrupt the same command goes on; with another metric, method or
    limit it computes what is new.
    """
    from relprop.benchmark.adapted import adapted
    from relprop.cli.kept import show
    from relprop.cli.listing import list_recipes

    if json and format is not None:
        raise InputError("Expected --json or --format but got both. --format json is the table alone.")
    running = {
        "--workers": workers is not None,
        "--engine": engine != "local",
        "--address": address is not None,
        "--device": device != "cpu",
        "--figures": figures != "png",
        "--picture": bool(picture),
    }
    if recipe == "show":
        refuse(running, "with 'show', which computes and writes nothing")
        show(name or "scenes", changes, out, format, as_recipe, json)
        return
    if name is not None:
        raise InputError(f"Expected one recipe but got '{recipe}' and '{name}'. Run one after the other.")
    if as_recipe:
        raise InputError("Expected --recipe behind 'show': relprop benchmark show NAME --recipe.")
    if recipe == "list":
        elsewhere = {"--out": out is not None, "--format": format is not None}
        refuse(running | elsewhere | changes.given(), "with 'list', which takes --json alone")
        list_recipes(json)
        return
    whole = adapted(recipe, **asdict(changes))
    folder = out or Path("relprop-benchmark") / whole.name
    shown = _Shown(json, format, tuple(figures.split(",")), tuple(picture or ()))
    _run(whole, folder, shown, workers=workers, engine=engine, address=address, device=device)


@dataclass(frozen=True)
class _Shown:
    """How results are shown."""

    json: bool
    format: str | None
    kinds: tuple[str, ...]
    pictures: tuple[str, ...]


def _run(recipe: Recipe, folder: Path, shown: _Shown, **where: object) -> None:
    from relprop.bar import progress_bar
    from relprop.benchmark.formats import format_named
    from relprop.benchmark.report import write_report
    from relprop.benchmark.run import run
    from relprop.benchmark.store import RESULTS
    from relprop.benchmark.summary import document, lines
    from relprop.cli.output import print_json, print_lines, results_alone
    from relprop.errors import RelpropError

    with results_alone(), progress_bar(quiet=shown.json) as bar:
        told = None if bar is None else lambda done, total: bar(done, total, recipe.name)
        done = run(recipe, folder / RESULTS, progress=told, drawn=shown.pictures, **where)  # type: ignore[arg-type]
    if not done.records:
        first = done.problems[0] if done.problems else None
        reason = f" First: {first.image}: {first.text}" if first else ""
        raise RelpropError(f"Nothing could be measured on {done.pictures} pictures.{reason}")
    failed: list[str] = []
    with results_alone():
        table, files = write_report(done, folder, failed.append, kinds=shown.kinds, pictures=shown.pictures)
    if shown.json:
        print_json(document(done, table, files))
    elif shown.format is not None:
        print_lines(format_named(shown.format)(table).rstrip("\n"))
    else:
        print_lines(*lines(done, table, folder, files))
    if failed:
        raise RelpropError(f"{'; '.join(failed)}. The results are safe: run the same command again.")
