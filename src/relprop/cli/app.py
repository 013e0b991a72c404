"""Commands and their options. Nothing here imports torch: `relprop --help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop.cli.affine import affine
from relprop.cli.options import (
    Debug,
    Device,
    Json,
    Labels,
    Mean,
    Model,
    RandomWeights,
    Size,
    Std,
    Weights,
    method_names,
    model_names,
    parsed_numbers,
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


@app.command()
def explain(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.", show_default=False)
    ],
    model: Model,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-x",
            metavar="NAME[:KEY=VALUE,...]",
            help="Repeat for several, side by side (relprop methods lists them). Default: lrp-composite.",
            autocompletion=method_names,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "--targets",
            "-t",
            metavar="CLASS",
            help="Class index or name, 'top', or 'predicted' (every predicted class of a multi-label model). "
            "Repeat for several. Default: top.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Keep the relevance at this layer too. Repeat for several."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("relprop-out"),
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Labels = None,
    multi_label: Annotated[
        bool | None,
        typer.Option(
            "--multi-label/--single-label", help="Sigmoid or softmax scores. Default: the model's own."
        ),
    ] = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    scale: Annotated[
        str, typer.Option(help="Colours of the sheet: symmetric (each map its own), shared, or a number.")
    ] = "symmetric",
    top: Annotated[int, typer.Option(min=1, metavar="N", help="How many predictions to print.")] = 5,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Explain pictures: which parts made the model say what it said.

    Writes one contact sheet a picture (rows: targets, columns: methods) and a folder an explanation, and
    prints the predictions and whether each explanation's relevance adds up.
    """
    from relprop.cli.explain import Request, explain_images

    explain_images(
        Request(
            images=images,
            model=model,
            methods=method or ["lrp-composite"],
            targets=target or ["top"],
            layers=layer or [],
            out=out,
            weights=weights,
            random_weights=random_weights,
            labels=labels,
            multi_label=multi_label,
            size=parsed_size(size),
            mean=parsed_numbers(mean),
            std=parsed_numbers(std),
            scale=scale,
            top=top,
            device=device,
            json=json,
        )
    )


def _detector_names(incomplete: str) -> list[str]:
    from relprop.detectors.bundled import models
    from relprop.detectors.sources import DETECTOR_FORMS

    return [name for name in [*models(), *DETECTOR_FORMS] if name.startswith(incomplete)]


@app.command()
def detect(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE", help="Picture files. Default: the demo scene.", show_default=False),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="A bundled detector, torchvision:NAME (SSD, SSDLite, RetinaNet), or file.py:factory.",
            autocompletion=_detector_names,
        ),
    ] = "scenes-ssd",
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain every detection; --box and --versus do so too.")
    ] = False,
    box: Annotated[
        list[int] | None,
        typer.Option("--box", "-b", metavar="N", help="Explain this detection only. Repeat for several."),
    ] = None,
    versus: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="What if: what would speak for this class instead? Index or name."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-x",
            metavar="NAME[:KEY=VALUE,...]",
            help="How to explain (relprop methods lists them).",
            autocompletion=method_names,
        ),
    ] = "crp",
    include_background: Annotated[
        bool | None,
        typer.Option(
            "--include-background/--no-background",
            help="Whether crp contrasts with the background too. Default: the method's own.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="P", help="Least score of a detection. Default: the detector's own."
        ),
    ] = None,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="Class names, the background's too: a text file, one a line, or a JSON list."),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="Colours of a page: shared (one scale), symmetric (each map its own), or a number."
        ),
    ] = "shared",
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("relprop-out"),
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Detect objects, and explain why this class and why this box.

    Draws the detections and lists them. Explained, each gets a page: the map for its class (and for another with
    --versus), the four maps of its box, the strongest pixels, and relevance layer by layer.
    """
    from relprop.cli.detect import Request, detect_images
    from relprop.datasets.demo import demo_image_path

    detect_images(
        Request(
            images=images or [demo_image_path()],
            model=model,
            explain=explain,
            boxes=box or [],
            versus=versus,
            method=method,
            include_background=include_background,
            threshold=threshold,
            weights=weights,
            random_weights=random_weights,
            labels=labels,
            scale=scale,
            out=out,
            device=device,
            json=json,
        )
    )


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
