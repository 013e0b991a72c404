"""Options that several commands share, and how their texts are read. Nothing here imports torch.

What was mistyped is refused here by what knows the names, before a command imports torch: seconds earlier.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from relprop.catalogue import CLIP_MODELS, METHODS, MODEL_SPECS
from relprop.checks import parsed_scale
from relprop.cli.panels import how_option, model_option, output_option, what_option
from relprop.errors import InputError
from relprop.files import LABELS, WEIGHTS, regular_file
from relprop.tracing.limit import parsed_limit

__all__ = [
    "Debug",
    "Device",
    "Json",
    "Labels",
    "Mean",
    "Memory",
    "Method",
    "Model",
    "MultiLabel",
    "Out",
    "RandomWeights",
    "Scale",
    "Size",
    "Std",
    "Target",
    "Weights",
    "checked",
    "each",
    "existing",
    "method_names",
    "model_names",
    "numbers",
    "output_key",
    "parsed_numbers",
    "parsed_size",
    "side",
    "size_text",
]


T = TypeVar("T")


def checked(check: Callable[[Any], object]) -> Callable[[T], T]:
    """A callback that refuses what `check` refuses, and gives the value back as it was typed."""

    def callback(value: T) -> T:
        if value is not None:
            check(value)
        return value

    return callback


def each(check: Callable[[Any], object]) -> Callable[[Sequence[Any]], None]:
    """A check of several values."""

    def several(values: Sequence[Any]) -> None:
        for value in values:
            check(value)

    return several


def existing(what: str) -> Callable[[Path | str], object]:
    """A check that a file is there and can be read to its end; `what` says in words what it is."""
    return lambda path: regular_file(path, what)


def method_names(incomplete: str) -> list[str]:
    """Names of methods that begin so."""
    return [name for name in METHODS if name.startswith(incomplete)]


def model_names(incomplete: str) -> list[str]:
    """Specifications of models that begin so."""
    clips = set(CLIP_MODELS)
    return [name for name in MODEL_SPECS if name.startswith(incomplete) and name not in clips]


def numbers(text: str | None) -> str | None:
    """Check `0.5,0.5,0.5`; parsed later (typer has no type for lists of three)."""
    try:
        finite = all(map(math.isfinite, parsed_numbers(text) or ()))
    except (ValueError, OverflowError):
        finite = False
    if not finite:
        raise typer.BadParameter(f"Expected numbers with commas, such as 0.5,0.5,0.5, but got {text!r:.80}")
    return text


def size_text(text: str) -> str:
    """Check `224`, `240x320` or `16x112x112`; parsed later."""
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 3 or not all(re.fullmatch("0*[1-9][0-9]{0,8}", part) for part in parts):
        raise typer.BadParameter(f"Expected a size such as 224, 240x320 or 16x112x112 but got {text!r:.80}")
    return text


def memory(text: str | None) -> str | None:
    """Check `2GB`, `500MiB` or `low`; parsed later."""
    try:
        parsed_limit(text)
    except InputError as error:
        raise typer.BadParameter(str(error).rstrip(".")) from None
    return text


Model = Annotated[
    str,
    what_option(
        "--model",
        "-m",
        metavar="SPEC",
        help="A bundled name (relprop models), torchvision:NAME, timm:NAME, or file.py:factory.",
        autocompletion=model_names,
        callback=checked(MODEL_SPECS.check),
    ),
]
Method = Annotated[
    str,
    how_option(
        "--method",
        "-x",
        metavar="NAME[:KEY=VALUE,...]",
        help="How to explain (relprop methods lists them).",
        autocompletion=method_names,
        callback=checked(METHODS.check),
    ),
]
Scale = Annotated[
    str,
    output_option(
        metavar="symmetric|shared|NUMBER",
        help="Colours: each map its own scale, one for all, or what the strongest stands for.",
        callback=checked(parsed_scale),
    ),
]
MultiLabel = Annotated[
    bool | None,
    model_option("--multi-label/--single-label", help="Sigmoid or softmax scores. Default: the model's own."),
]
Target = Annotated[str, what_option("--target", "-t", metavar="CLASS", help="Class index or name, or 'top'.")]
Weights = Annotated[
    Path | None,
    model_option(
        metavar="FILE",
        help="State dict: .safetensors, or .pth (read with weights_only=True).",
        callback=checked(existing(WEIGHTS)),
    ),
]
RandomWeights = Annotated[
    bool,
    model_option(
        "--random-weights", help="Seeded random weights instead of published ones, to try things out."
    ),
]
Size = Annotated[
    str | None,
    model_option(
        metavar="SIZE",
        callback=lambda v: v and size_text(v),
        help="Input size: 224, 240x320 (H×W), 16x112x112 (T×H×W).",
    ),
]
Labels = Annotated[
    Path | None,
    model_option(
        metavar="FILE",
        help="Class names: a text file, one a line, or a JSON list.",
        callback=checked(existing(LABELS)),
    ),
]
Mean = Annotated[
    str | None,
    model_option(metavar="R,G,B", callback=numbers, help="Subtracted, from pictures in 0–1."),
]
Std = Annotated[
    str | None,
    model_option(metavar="R,G,B", callback=numbers, help="What is then divided by."),
]
Out = Annotated[Path, output_option("--out", "-o", metavar="FOLDER", help="Where the results go.")]
Memory = Annotated[
    str | None,
    how_option(
        metavar="BYTES",
        callback=memory,
        help="How much of a forward run is kept, such as 2GB, or 'low': the rest is computed again. Default: all.",
    ),
]
Device = Annotated[str, how_option(metavar="DEVICE", help="cpu, cuda, cuda:1, mps.")]
Json = Annotated[bool, output_option("--json", help="One JSON document on stdout, nothing else.")]
Debug = Annotated[bool, output_option("--debug", help="Show the traceback of an error.")]


def output_key(text: str | None) -> str | int | None:
    """The key of an output: a whole number is an index."""
    return int(text) if text is not None and re.fullmatch("-?[0-9]{1,9}", text) else text


def parsed_numbers(text: str | None) -> tuple[float, ...] | None:
    """The numbers of `0.5,0.5,0.5`."""
    return None if text is None else tuple(float(part) for part in text.split(","))


def side(text: str | None) -> int | tuple[int, ...] | str | None:
    """`112`, `128x171` or `none`."""
    if text is None or text == "none":
        return text
    parts = tuple(int(part) for part in size_text(text).lower().split("x"))
    return parts[0] if len(parts) == 1 else parts


def parsed_size(text: str | None) -> tuple[int, ...] | None:
    """The sides of `224` (twice), `240x320` or `16x112x112`."""
    if text is None:
        return None
    parts = tuple(int(part) for part in text.lower().split("x"))
    return parts * 2 if len(parts) == 1 else parts
