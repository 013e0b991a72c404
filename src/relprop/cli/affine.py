"""`relprop affine`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from relprop.catalogue import MODEL_SPECS
from relprop.cli.groups import Output, PictureLoading, flat
from relprop.cli.options import Target, checked, each, model_names, numbers, parsed_numbers
from relprop.cli.panels import how_option, output_option, what_option
from relprop.files import PICTURE, regular_file

__all__ = ["affine"]


def _picture_or_folder(path: Path) -> None:
    if not path.is_dir():  # what --depth alone takes, the study tells
        regular_file(path, PICTURE)


_Images = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="IMAGE",
        help="Picture files (with --depth folders too). Default: the demo scene.",
        show_default=False,
        callback=checked(each(_picture_or_folder)),
    ),
]
_Models = Annotated[
    list[str] | None,
    what_option(
        "--model",
        "-m",
        metavar="SPEC",
        help="As for explain; with --depth repeat for several. Default: scenes-vgg.",
        autocompletion=model_names,
        callback=checked(each(MODEL_SPECS.check)),
    ),
]
_Versus = Annotated[
    str | None, what_option(metavar="CLASS", help="Take this class's score off: class against class.")
]
_Layers = Annotated[
    list[str] | None,
    what_option(metavar="NAME", help="Repeat for several. Default: the ends of the blocks."),
]
_Region = Annotated[bool, output_option("--region", help="Say how far the form holds, too.")]
_Linearise = Annotated[
    bool,
    how_option("--linearise", help="Take networks that aren't piece-wise affine too, with the error."),
]
_Depth = Annotated[
    bool, how_option("--depth", help="The bias's share from each layer on, over many pictures.")
]
_Limit = Annotated[
    int, how_option(min=0, metavar="N", help="--depth: so many pictures, drawn with the seed; 0: all.")
]
_Toy = Annotated[bool, what_option("--toy", help="Train a network of the plane and draw its affine pieces.")]
_Point = Annotated[
    str | None,
    what_option(metavar="X,Y", callback=numbers, help="--toy: the point taken apart."),
]
_Seed = Annotated[int, how_option(min=0, max=2**32 - 1, metavar="N", help="Of --toy and --limit.")]


@flat
def affine(
    images: _Images = None,
    model: _Models = None,
    target: Target = "top",
    versus: _Versus = None,
    layer: _Layers = None,
    region: _Region = False,
    linearise: _Linearise = False,
    depth: _Depth = False,
    limit: _Limit = 0,
    toy: _Toy = False,
    point: _Point = None,
    seed: _Seed = 0,
    *,
    loading: PictureLoading,
    output: Output,
) -> None:
    """Take a score apart exactly: weights times values, and biases.

    For pictures: maps of every layer beside Grad-CAM's, what they leave to the bias, and whose bias that is. With
    --depth curves over many pictures, which go on after an interrupt. With --toy the idea in the plane.
    """
    from relprop import reports
    from relprop.datasets.demo import demo_image_path
    from relprop.errors import InputError

    if toy:
        output.show(lambda _: reports.affine_toy(seed, parsed_numbers(point), out=output.out))
        return
    specs, pictures = model or ["scenes-vgg"], images or [demo_image_path()]
    if len(specs) > 1 and not depth:
        raise InputError(f"Expected one --model but got {len(specs)}. Several go with --depth.")
    if len(specs) > 1 and loading.weights is not None:
        raise InputError("Expected one --model with --weights but got several. Run them one by one.")
    loaders = [loading.model(spec, output) for spec in specs]
    if depth:
        study = partial(reports.affine_depth, loaders, pictures, limit=limit, seed=seed)
    else:
        study = partial(reports.affine, loaders[0], pictures, region=region, linearise=linearise)
        study = partial(study, target=target, versus=versus)
    output.show(lambda bar: study(layers=layer or (), out=output.out, progress=bar))
