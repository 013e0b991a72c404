"""`relprop detect`. Nothing here imports torch before the command runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from relprop.catalogue import DETECTOR_SPECS, SHOWN_METHOD
from relprop.cli.groups import Loading, Output, flat
from relprop.cli.options import Method, Scale, checked, each, existing, parsed_numbers
from relprop.cli.panels import how_option, model_option, output_option, what_option
from relprop.files import LABELS, PICTURE
from relprop.many.listing import listed_pictures, names_several
from relprop.registry import split_settings

__all__ = ["detect"]


def _detector_names(incomplete: str) -> list[str]:
    return [name for name in DETECTOR_SPECS if name.startswith(incomplete)]


def _there(image: str) -> object:
    """Refuse what names no picture."""
    return listed_pictures([image]) if image and names_several(image) else existing(PICTURE)(image)


def _place(text: str) -> tuple[float, float]:
    """Read `120,80`."""
    numbers = parsed_numbers(text) or ()
    if len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise ValueError(text)
    return numbers[0], numbers[1]


def _places(texts: list[str] | None) -> list[str] | None:
    """Check `120,80`; parsed later."""
    for text in texts or ():
        try:
            _place(text)
        except (ValueError, OverflowError):
            raise typer.BadParameter(f"Expected a place such as 120,80 (x,y) but got {text!r:.80}") from None
    return texts


def _truth(path: Path) -> object:
    """Refuse what isn't there: a folder may hold annotations."""
    return None if path.is_dir() else existing("a COCO instance file, or a folder of VOC annotations,")(path)


_Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE",
        help="Picture files, folders, patterns. Default: the demo scene.",
        show_default=False,
        callback=checked(each(_there)),
    ),
]
_Model = Annotated[
    str,
    what_option(
        "--model",
        "-m",
        metavar="SPEC",
        help="A bundled detector, torchvision:NAME (SSD, RetinaNet, Faster R-CNN, …), or file.py:factory.",
        autocompletion=_detector_names,
        callback=checked(DETECTOR_SPECS.check),
    ),
]
_Explain = Annotated[
    bool, what_option("--explain", help="Explain every detection; --box and --versus do so too.")
]
_Boxes = Annotated[
    list[int] | None,
    what_option("--box", "-b", metavar="N", help="Explain this detection only. Repeat for several."),
]
_Versus = Annotated[
    str | None,
    what_option(metavar="CLASS", help="What if: what would speak for this class instead? Index or name."),
]
_At = Annotated[
    list[str] | None,
    what_option(
        metavar="X,Y",
        callback=_places,
        help="Explain the unit that speaks most strongly at this place of the picture: what of a missed object?",
    ),
]
_Anchor = Annotated[
    list[int] | None,
    what_option(metavar="N", help="Explain this anchor's unit, whether it made a detection or not."),
]
_Asked = Annotated[
    str | None,
    what_option(
        "--target",
        "-t",
        metavar="CLASS",
        help="For --at and --anchor: asked about this class. Default: its best.",
    ),
]
_Truth = Annotated[
    Path | None,
    what_option(
        metavar="PATH",
        help="What is in the pictures: a COCO instance file, or a folder of VOC's XML. Reports the mistakes.",
        callback=checked(_truth),
    ),
]
_Report = Annotated[
    Path | None, output_option(metavar="FOLDER", help="Where the report of mistakes goes. Default: --out.")
]
_Most = Annotated[
    int, how_option(min=0, metavar="N", help="With --truth: how many mistakes of each kind are explained.")
]
_Offsets = Annotated[
    bool, how_option("--offsets", help="Explain the raw offsets of the box in place of its four edges.")
]
_Layers = Annotated[
    bool, output_option("--layers", help="Draw relevance layer by layer, too: box-0-layers.png.")
]
_Measured = Annotated[
    bool,
    how_option(
        "--measured/--not-measured",
        help="Hold each map against the network by hiding its strongest places, and measure what moves each edge.",
    ),
]
_Background = Annotated[
    bool | None,
    how_option(
        "--include-background/--no-background",
        help="Whether crp contrasts with the background too. Default: the method's own.",
    ),
]


@dataclass(frozen=True)
class _DetectorLoading(Loading):
    """How a detector is loaded."""

    labels: Annotated[
        Path | None,
        model_option(
            metavar="FILE",
            help="Class names, the background's too: a text file, one a line, or a JSON list.",
            callback=checked(existing(LABELS)),
        ),
    ] = None
    threshold: Annotated[
        float | None,
        model_option(
            min=0, max=1, metavar="NUMBER", help="Least score of a detection. Default: the detector's own."
        ),
    ] = None


@flat
def detect(
    images: _Images = None,
    model: _Model = "scenes-ssd",
    explain: _Explain = False,
    box: _Boxes = None,
    versus: _Versus = None,
    method: Method = SHOWN_METHOD,
    include_background: _Background = None,
    scale: Scale = "shared",
    offsets: _Offsets = False,
    layers: _Layers = False,
    measured: _Measured = True,
    at: _At = None,
    anchor: _Anchor = None,
    target: _Asked = None,
    truth: _Truth = None,
    report: _Report = None,
    most: _Most = 8,
    *,
    loading: _DetectorLoading,
    output: Output,
) -> None:
    """Detect objects, and explain why this class and why this box.

    Draws the detections and lists them. Explained, each gets a page: the map for its class (and for another with
    --versus), the strongest pixels, and what moved each edge of its box.

    With --truth every detection is held against what is there: one page of what went wrong, by kind, with the
    telling mistakes explained. The same command goes on where it stopped.
    """
    from relprop import reports
    from relprop.datasets.demo import demo_image_path
    from relprop.detectors.sources import load_detector

    if include_background is not None:
        joint = "," if split_settings(method)[1] else ":"
        method = f"{method}{joint}include_background={include_background}"
    _check_together(box, versus, explain, at, anchor, target, truth, report)
    load = partial(load_detector, model, progress=not output.json, **loading.settings())
    if truth is not None:
        output.show(
            lambda bar: reports.mistakes(
                load,
                images or [demo_image_path()],
                truth,
                out=report or output.out,
                method=method,
                most=most,
                progress=bar,
            )
        )
        return
    output.show(
        lambda bar: reports.detection(
            load,
            listed_pictures(images) if images else [demo_image_path()],
            box=box or ("all" if explain else None),
            versus=versus,
            place=[_place(text) for text in at or ()],
            anchor=anchor or (),
            target=target,
            method=method,
            scale=scale,
            offsets=offsets,
            layers=layers,
            measured=measured,
            out=output.out,
            progress=bar,
        )
    )


def _check_together(
    box: list[int] | None,
    versus: str | None,
    explain: bool,
    at: list[str] | None,
    anchor: list[int] | None,
    target: str | None,
    truth: Path | None,
    report: Path | None,
) -> None:
    """Refuse options that don't go together.

    Raises:
        InputError: such.
    """
    from relprop.errors import InputError

    one = {
        "--box": box,
        "--versus": versus,
        "--explain": explain,
        "--at": at,
        "--anchor": anchor,
        "--target": target,
    }
    given = [name for name, value in one.items() if value]
    if truth is not None and given:
        raise InputError(
            f"Expected no {given[0]} with --truth, which looks for the mistakes by itself. Leave one of them out."
        )
    if truth is None and report is not None:
        raise InputError(
            "Expected --truth PATH with --report: what is in the pictures. Add it, or use --out."
        )
    if target is not None and not at and not anchor:
        raise InputError(
            "Expected --at or --anchor with --target. Use --versus for another class of a detection."
        )
