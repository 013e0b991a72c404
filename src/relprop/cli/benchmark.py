"""`relprop benchmark`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relprop.catalogue import BASELINES, FIGURE_KINDS, METHODS, METRICS, MODEL_SPECS, TABLE_FORMATS
from relprop.cli.groups import flat
from relprop.cli.options import (
    Debug,
    Device,
    Json,
    Labels,
    MultiLabel,
    RandomWeights,
    Weights,
    checked,
    each,
    method_names,
    model_names,
)
from relprop.cli.panels import how_option, output_option, what_option
from relprop.errors import InputError, unknown_name
from relprop.own_file import split_file
from relprop.registry import split_settings

if TYPE_CHECKING:
    from relprop.benchmark.recipe import Recipe

__all__ = ["benchmark"]


def _recipe_names(incomplete: str) -> list[str]:
    from relprop.benchmark.recipe import recipes

    return [name for name in recipes() if name.startswith(incomplete)]


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


@dataclass(frozen=True)
class _Changes:
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


@flat
def benchmark(
    recipe: _RecipeName = "scenes",
    name: _Shows = None,
    *,
    changes: _Changes,
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
    from relprop.cli.listing import list_recipes

    if json and format is not None:
        raise InputError("Expected --json or --format but got both. --format json is the table alone.")
    if recipe == "show":
        _show(name or "scenes", changes, out, format, as_recipe, json)
        return
    if name is not None:
        raise InputError(f"Expected one recipe but got '{recipe}' and '{name}'. Run one after the other.")
    if as_recipe:
        raise InputError("Expected --recipe behind 'show': relprop benchmark show NAME --recipe.")
    if recipe == "list":
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


def _show(
    name: str, changes: _Changes, out: Path | None, format: str | None, as_recipe: bool, json: bool
) -> None:
    """Print the table of results that are there, or a recipe."""
    from relprop.benchmark.reading import read_finished, results_in
    from relprop.cli.output import print_json, print_lines

    if as_recipe:
        if format is not None:
            raise InputError("Expected --recipe or --format but got both. Leave one out.")
        _show_recipe(name, changes, json)
        return
    if changes != _Changes():
        raise InputError(
            "Expected results as they were asked for last but got changes of the recipe with 'show'. Run the "
            "recipe with them: what is there isn't computed again."
        )
    from relprop.benchmark.formats import format_named
    from relprop.benchmark.report import table_of
    from relprop.benchmark.summary import document, problem_lines

    done = read_finished(results_in(name if out is None else out))
    table = table_of(done)
    if json:
        print_json(document(done, table, []))
    elif format is not None:
        print_lines(format_named(format)(table).rstrip("\n"))
    else:
        print_lines(format_named("text")(table).rstrip(), *problem_lines(done))


def _show_recipe(name: str, changes: _Changes, json: bool) -> None:
    from relprop.benchmark.adapted import adapted
    from relprop.benchmark.reading import recipe_of, results_in
    from relprop.benchmark.recipe_text import as_toml
    from relprop.cli.output import print_json, print_lines

    if Path(name).is_dir() or Path(name).suffix == ".sqlite":
        if changes != _Changes():
            raise InputError("Expected no changes with the recipe of results. Name a recipe, or its file.")
        whole = recipe_of(results_in(name))
    else:
        whole = adapted(name, complete=False, **asdict(changes))
    if json:
        print_json(whole.plain())
    else:
        print_lines(as_toml(whole).rstrip())


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
        done = run(recipe, folder / RESULTS, progress=told, **where)  # type: ignore[arg-type]
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
