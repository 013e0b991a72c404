"""Commands and their options. Nothing here imports torch: `relprop --help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop.cli.affine import affine
from relprop.cli.detect import detect
from relprop.cli.explain import explain
from relprop.cli.options import (
    Debug,
    Device,
    Json,
    Labels,
    Model,
    RandomWeights,
    Size,
    Weights,
    method_names,
    model_names,
    parsed_size,
)
from relprop.cli.video import video

__all__ = ["app"]

app = typer.Typer(
    name="relprop",
    help="What in the input made a vision network say this? Relevance that adds up, or a refusal by name.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"relprop {version('relprop')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Debug = False,
) -> None:
    pass


app.command()(explain)
app.command()(detect)
app.command()(video)
app.command()(affine)


@app.command()
def inspect(
    model: Model,
    weights: Weights = None,
    size: Size = None,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List a model's operators and the rule for each, or the reason why there is none."""
    from relprop.cli.inspect import inspect_model

    inspect_model(model, weights, parsed_size(size), device, json)


def _recipe_names(incomplete: str) -> list[str]:
    from relprop.benchmark.recipe import recipes

    return [name for name in recipes() if name.startswith(incomplete)]


@app.command()
def benchmark(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe's name, FILE.toml, or 'list' to see what there is.",
            autocompletion=_recipe_names,
        ),
    ] = "scenes",
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Your folder (or file) of the recipe's data set.")
    ] = None,
    difficult: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your list of difficult pairs, tab-separated.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="Another model than the recipe's.",
            autocompletion=model_names,
        ),
    ] = None,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Labels = None,
    multi_label: Annotated[
        bool | None, typer.Option("--multi-label/--single-label", help="Sigmoid or softmax scores.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-x",
            metavar="NAME[:KEY=VALUE,...]",
            help="Instead of the recipe's methods. Repeat for several; also center and random.",
            autocompletion=method_names,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="So many pictures, drawn with the seed; 0: all.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pictures that are written together.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pictures that run through the model together.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads a worker.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Worker processes. Default: one a CPU core, or one a GPU."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; without it Ray runs here.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where results go, and are taken up again. Default: relprop-benchmark/RECIPE."),
    ] = None,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge methods on annotated pictures: a table with intervals, plots, best and worst cases.

    Results are kept as they are made. After an interrupt the same command goes on.
    """
    from relprop.cli.benchmark import Request, list_recipes, run_benchmark

    if recipe == "list":
        list_recipes(json)
        return
    run_benchmark(
        Request(
            recipe=recipe,
            out=out,
            data=data,
            difficult=difficult,
            model=model,
            weights=weights,
            random_weights=random_weights,
            labels=labels,
            multi_label=multi_label,
            methods=method,
            limit=limit,
            seed=seed,
            chunk=chunk,
            batch=batch,
            threads=threads,
            workers=workers,
            engine=engine,
            address=address,
            device=device,
            json=json,
        )
    )


@app.command()
def methods(json: Json = False, debug: Debug = False) -> None:
    """List the methods."""
    from relprop.cli.listing import list_methods

    list_methods(json)


@app.command()
def models(
    source: Annotated[
        str | None,
        typer.Option(
            metavar="LIBRARY", help="List the names of torchvision or timm instead of the bundled models."
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the bundled models, or those of torchvision or timm."""
    from relprop.cli.listing import list_models

    list_models(source, json)
