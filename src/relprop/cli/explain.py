"""`relprop explain`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from relprop.catalogue import METHODS, RECOMMENDED
from relprop.cli.groups import Output, PictureLoading, flat
from relprop.cli.options import Model, MultiLabel, Scale, checked, each, existing, method_names, output_key
from relprop.cli.panels import how_option, output_option, what_option
from relprop.files import PICTURE
from relprop.many.listing import listed_pictures, names_several

__all__ = ["explain"]

_FEW = 8  # pictures that get a page each on the terminal


def _there(image: str) -> object:
    """Refuse what names no picture: an empty word, such as that of an unset variable, isn't the folder here."""
    if image and names_several(image):
        return listed_pictures([image])
    return existing(PICTURE)(image)


_Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Picture files, folders, patterns.",
        show_default=False,
        callback=checked(each(_there)),
    ),
]
_Methods = Annotated[
    list[str] | None,
    how_option(
        "--method",
        "-x",
        metavar="NAME[:KEY=VALUE,...]",
        help="Repeat for several, side by side (relprop methods lists them). Default: recommended.",
        autocompletion=method_names,
        callback=checked(each(METHODS.check)),
    ),
]
_Targets = Annotated[
    list[str] | None,
    what_option(
        "--target",
        "--targets",
        "-t",
        metavar="CLASS",
        help="Class index or name, 'top', or 'predicted' (every predicted class of a multi-label model). "
        "Repeat for several. Default: top.",
    ),
]
_Layers = Annotated[
    list[str] | None,
    what_option(metavar="NAME", help="Keep the relevance at this layer too. Repeat for several."),
]
_Versus = Annotated[
    str | None,
    what_option(metavar="CLASS", help="Explain each target's score less that of this class (index or name)."),
]
_Part = Annotated[
    str | None,
    what_option(
        "--output",
        metavar="KEY",
        help="Which of a model's outputs is explained: a name or an index. Default: logits, or the only tensor.",
    ),
]
_Region = Annotated[
    str | None,
    what_option(
        metavar="FILE",
        help="Of an output that is a map: a black and white picture, as large as IMAGE, of the part that "
        "counts; or 'all'.",
        callback=checked(lambda region: region == "all" or existing(PICTURE)(region)),
    ),
]
_Start = Annotated[
    str | None,
    what_option(
        metavar="NAME", help="Explain channels of this layer (--target INDEX) in place of the output."
    ),
]
_Batch = Annotated[
    int | None,
    how_option(
        min=1,
        metavar="N",
        help="Of many pictures: how many of a size run together. Default: by size and memory.",
    ),
]
_Top = Annotated[int, output_option(min=1, metavar="N", help="How many predictions to print.")]


@flat
def explain(
    images: _Images,
    model: Model,
    method: _Methods = None,
    target: _Targets = None,
    versus: _Versus = None,
    part: _Part = None,
    region: _Region = None,
    start: _Start = None,
    layer: _Layers = None,
    multi_label: MultiLabel = None,
    scale: Scale = "symmetric",
    top: _Top = 5,
    batch: _Batch = None,
    *,
    loading: PictureLoading,
    output: Output,
) -> None:
    """Explain pictures: which parts made the model say what it said.

    Writes one contact sheet a picture (rows: targets, columns: methods) and a folder an explanation, and
    prints the predictions and whether each explanation's relevance adds up. Folders, patterns and more than
    8 files are many pictures: they run in batches, a picture that fails is named and the others go on, summary.csv
    lists all, and the same command goes on where it stopped.
    """
    from relprop import reports

    asked: dict[str, Any] = {
        "method": method or RECOMMENDED, "target": target or "top", "versus": versus, "region": region,
        "start": start, "layers": layer or (), "scale": scale, "out": output.out,
    }  # fmt: skip
    if len(images) > _FEW or any(names_several(image) for image in images):
        output.show(
            lambda bar: reports.pictures(
                loading.model(model, output, multi_label=multi_label),
                images, output=output_key(part), batch=batch or "auto", progress=bar, **asked,
            ),
            unit="pictures",
        )  # fmt: skip
        return
    output.show(
        lambda bar: reports.picture(
            loading.model(model, output, multi_label=multi_label),
            images, output=output_key(part), top=top, progress=bar, **asked,
        )
    )  # fmt: skip
