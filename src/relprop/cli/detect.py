"""`relprop detect`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from relprop.catalogue import DETECTOR_SPECS
from relprop.cli.groups import Loading, Output, flat
from relprop.cli.options import Method, Scale, checked, each, existing
from relprop.files import LABELS, PICTURE
from relprop.registry import split_settings

__all__ = ["detect"]


def _detector_names(incomplete: str) -> list[str]:
    return [name for name in DETECTOR_SPECS if name.startswith(incomplete)]


_Images = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="IMAGE",
        help="Picture files. Default: the demo scene.",
        show_default=False,
        callback=checked(each(existing(PICTURE))),
    ),
]
_Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="SPEC",
        help="A bundled detector, torchvision:NAME (SSD, SSDLite, RetinaNet), or file.py:factory.",
        autocompletion=_detector_names,
        callback=checked(DETECTOR_SPECS.check),
    ),
]
_Explain = Annotated[
    bool, typer.Option("--explain", help="Explain every detection; --box and --versus do so too.")
]
_Boxes = Annotated[
    list[int] | None,
    typer.Option("--box", "-b", metavar="N", help="Explain this detection only. Repeat for several."),
]
_Versus = Annotated[
    str | None,
    typer.Option(metavar="CLASS", help="What if: what would speak for this class instead? Index or name."),
]
_Background = Annotated[
    bool | None,
    typer.Option(
        "--include-background/--no-background",
        help="Whether crp contrasts with the background too. Default: the method's own.",
    ),
]


@dataclass(frozen=True)
class _DetectorLoading(Loading):
    """How a detector is loaded."""

    labels: Annotated[
        Path | None,
        typer.Option(
            help="Class names, the background's too: a text file, one a line, or a JSON list.",
            callback=checked(existing(LABELS)),
        ),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="P", help="Least score of a detection. Default: the detector's own."
        ),
    ] = None


@flat
def detect(
    images: _Images = None,
    model: _Model = "scenes-ssd",
    explain: _Explain = False,
    box: _Boxes = None,
    versus: _Versus = None,
    method: Method = "crp",
    include_background: _Background = None,
    scale: Scale = "shared",
    *,
    loading: _DetectorLoading,
    output: Output,
) -> None:
    """Detect objects, and explain why this class and why this box.

    Draws the detections and lists them. Explained, each gets a page: the map for its class (and for another with
    --versus), the four maps of its box, the strongest pixels, and relevance layer by layer.
    """
    from relprop import reports
    from relprop.datasets.demo import demo_image_path
    from relprop.detectors.sources import load_detector

    if include_background is not None:
        joint = "," if split_settings(method)[1] else ":"
        method = f"{method}{joint}include_background={include_background}"
    load = partial(load_detector, model, progress=not output.json, **loading.settings())
    output.show(
        lambda bar: reports.detection(
            load,
            images or [demo_image_path()],
            box=box or ("all" if explain else None),
            versus=versus,
            method=method,
            scale=scale,
            out=output.out,
            progress=bar,
        )
    )
