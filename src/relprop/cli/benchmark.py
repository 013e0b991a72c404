"""`relprop benchmark`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relprop.catalogue import BASELINES, METHODS, MODEL_SPECS
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


_RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe's name, FILE.toml, or 'list' to see what there is.",
        autocompletion=_recipe_names,
    ),
]
_Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Worker processes. Default: one a CPU core, or one a GPU."),
]
_Engine = Annotated[str, typer.Option(help="local, or ray for a cluster.")]
_Address = Annotated[str | None, typer.Option(help="Of the Ray cluster; without it Ray runs here.")]
_Folder = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Where results go, and are taken up again. Default: relprop-benchmark/RECIPE."
    ),
]


@dataclass(frozen=True)
class _Changes:
    """What is changed in the recipe."""

    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Your folder (or file) of the recipe's data set.")
    ] = None
    difficult: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your list of difficult pairs, tab-separated.")
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
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
        typer.Option(
            "--method",
            "-x",
            metavar="NAME[:KEY=VALUE,...]",
            help="Instead of the recipe's methods. Repeat for several; also baselines, such as center.",
            autocompletion=method_names,
            callback=checked(each(_known_method)),
        ),
    ] = None
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="So many pictures, drawn with the seed; 0: all.")
    ] = None
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None
    chunk: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pictures that are written together.")
    ] = None
    batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pictures that run through the model together.")
    ] = None
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads a worker.")] = None


@flat
def benchmark(
    recipe: _RecipeName = "scenes",
    *,
    changes: _Changes,
    workers: _Workers = None,
    engine: _Engine = "local",
    address: _Address = None,
    out: _Folder = None,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge methods on annotated pictures: a table with intervals, plots, best and worst cases.

    Results are kept as they are made. After an interrupt the same command goes on.
    """
    from relprop.benchmark.adapted import adapted
    from relprop.cli.listing import list_recipes

    if recipe == "list":
        list_recipes(json)
        return
    whole = adapted(recipe, **asdict(changes))
    folder = out or Path("relprop-benchmark") / whole.name
    _run(whole, folder, json, workers=workers, engine=engine, address=address, device=device)


def _run(recipe: Recipe, folder: Path, json: bool, **where: object) -> None:
    from relprop.benchmark.report import write_report
    from relprop.benchmark.run import run
    from relprop.benchmark.summary import document, lines
    from relprop.cli.output import print_json, print_lines, results_alone
    from relprop.errors import RelpropError
    from relprop.many.bar import progress_bar

    with results_alone(), progress_bar(quiet=json) as bar:
        told = None if bar is None else lambda done, total: bar(done, total, recipe.name)
        done = run(recipe, folder / "results.sqlite", progress=told, **where)  # type: ignore[arg-type]
    if not done.records:
        first = done.problems[0] if done.problems else None
        reason = f" First: {first.image}: {first.text}" if first else ""
        raise RelpropError(f"Nothing could be measured on {done.pictures} pictures.{reason}")
    failed: list[str] = []
    table, files = write_report(done, folder, failed.append)
    if json:
        print_json(document(done, table, files))
    else:
        print_lines(*lines(done, table, folder, files))
    if failed:
        raise RelpropError(f"{'; '.join(failed)}. The results are safe: run the same command again.")
