"""The options of `relprop affine`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop.cli.options import (
    Debug,
    Device,
    Json,
    Labels,
    Mean,
    RandomWeights,
    Size,
    Std,
    Weights,
    model_names,
    numbers,
    parsed_numbers,
    parsed_size,
)

__all__ = ["affine"]


def affine(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Picture files (with --depth folders too). Default: the demo scene.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="As for explain; with --depth repeat for several. Default: scenes-vgg.",
            autocompletion=model_names,
        ),
    ] = None,
    target: Annotated[
        str, typer.Option("--target", "-t", metavar="CLASS", help="Class index or name, or 'top'.")
    ] = "top",
    versus: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Take this class's score off: class against class.")
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Repeat for several. Default: the ends of the blocks."),
    ] = None,
    region: Annotated[bool, typer.Option("--region", help="Say how far the form holds, too.")] = False,
    linearise: Annotated[
        bool,
        typer.Option("--linearise", help="Take networks that aren't piece-wise affine too, with the error."),
    ] = False,
    depth: Annotated[
        bool, typer.Option("--depth", help="The bias's share from each layer on, over many pictures.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=0, metavar="N", help="--depth: so many pictures, drawn with the seed; 0: all.")
    ] = 0,
    toy: Annotated[
        bool, typer.Option("--toy", help="Train a network of the plane and draw its affine pieces.")
    ] = False,
    point: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y", callback=lambda v: v and numbers(v), help="--toy: the point taken apart."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of --toy and --limit.")] = 0,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Labels = None,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("relprop-out"),
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take a score apart exactly: weights times values, and biases.

    For pictures: maps of every layer beside Grad-CAM's, what they leave to the bias, and whose bias that is. With
    --depth curves over many pictures, which go on after an interrupt. With --toy the idea in the plane.
    """
    from relprop.datasets.demo import demo_image_path

    if toy:
        from relprop.cli.affine import draw_toy

        draw_toy(seed, parsed_numbers(point), out, json)
        return
    specs, pictures = model or ["scenes-vgg"], images or [demo_image_path()]
    if depth:
        from relprop.cli import affine_depth

        affine_depth.measure_depth(
            affine_depth.Request(
                images=pictures,
                models=specs,
                layers=layer or [],
                limit=limit,
                seed=seed,
                weights=weights,
                random_weights=random_weights,
                size=parsed_size(size),
                mean=parsed_numbers(mean),
                std=parsed_numbers(std),
                out=out,
                device=device,
                json=json,
            )
        )
        return
    from relprop.cli.affine import Request, decompose_images
    from relprop.errors import InputError

    if len(specs) > 1:
        raise InputError(f"Expected one --model but got {len(specs)}. Several go with --depth.")
    decompose_images(
        Request(
            images=pictures,
            model=specs[0],
            target=target,
            versus=versus,
            layers=layer or [],
            linearise=linearise,
            region=region,
            weights=weights,
            random_weights=random_weights,
            labels=labels,
            size=parsed_size(size),
            mean=parsed_numbers(mean),
            std=parsed_numbers(std),
            out=out,
            device=device,
            json=json,
        )
    )
