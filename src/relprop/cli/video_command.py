"""The options of `relprop video`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from relprop.cli.options import (
    Debug,
    Device,
    Json,
    Labels,
    RandomWeights,
    Weights,
    method_names,
    numbers,
    parsed_numbers,
    side,
)

__all__ = ["video"]


def _clip_model_names(incomplete: str) -> list[str]:
    from relprop.models.bundled_clips import models

    found = [*models(), "c3d", "torchvision:r3d_18", "torchvision:mc3_18", "torchvision:r2plus1d_18"]
    return [name for name in [*found, "torchvision:s3d", "file.py:factory"] if name.startswith(incomplete)]


def _mode_names(incomplete: str) -> list[str]:
    return [name for name in ("conserving", "naive", "selective") if name.startswith(incomplete)]


def video(
    clips: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="CLIP",
            help="Film files: .avi, .mp4, .gif and more. Default: the demo clip.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="A bundled network of clips, c3d (published layout, with --weights), torchvision:NAME, or "
            "file.py:factory.",
            autocompletion=_clip_model_names,
        ),
    ] = "motion-c3d",
    target: Annotated[
        str, typer.Option("--target", "-t", metavar="CLASS", help="Class index or name, or 'top'.")
    ] = "top",
    separate: Annotated[
        bool, typer.Option("--separate", help="Split relevance into looks and motion; --mode does so too.")
    ] = False,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE[:KEY=VALUE,...]",
            help="How to split: conserving, naive or selective. Default: conserving.",
            autocompletion=_mode_names,
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
    ] = "deep-taylor",
    frames: Annotated[int | None, typer.Option(min=1, metavar="T", help="Frames in a clip.")] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Take every N-th frame of the film.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="N", help="First film frame, counted from 0, or 'middle'.")
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(metavar="S|HxW", help="Shorter side in pixels, or the size to squash to; 'none'."),
    ] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="S|HxW", help="Size of the centre that is cut out; 'none'.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="Order of the colour channels: rgb or bgr.")] = None,
    divisor: Annotated[
        float | None, typer.Option(metavar="D", help="What 0..255 is divided by first: 255 or 1.")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", callback=lambda v: v and numbers(v), help="Subtracted after that."),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", callback=lambda v: v and numbers(v), help="What is then divided by."),
    ] = None,
    chunk: Annotated[int, typer.Option(min=1, metavar="N", help="Frozen clips that run at once.")] = 4,
    fps: Annotated[float, typer.Option(min=0.1, max=50, help="Frames a second of the films written.")] = 6,
    scale: Annotated[
        float | None, typer.Option(metavar="V", help="What the strongest colour stands for.")
    ] = None,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Labels = None,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("relprop-out"),
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Explain clips, and say what is relevant by its looks and what because it moves.

    Options from --frames to --std replace the model's own sampling. Writes a figure (frames, relevance, its sum in
    each frame, a slice through space and time), the same as a film (GIF and MP4), and the numbers.
    """
    from relprop.cli.video import Request, explain_clips
    from relprop.datasets.demo import demo_clip_path

    sampling = {
        "frames": frames,
        "stride": stride,
        "start": int(start) if start is not None and start.isascii() and start.isdigit() else start,
        "resize": side(resize),
        "crop": side(crop),
        "order": order,
        "divisor": divisor,
        "mean": parsed_numbers(mean),
        "std": parsed_numbers(std),
    }
    # "none" switches a step off, which is None to `Sampling`; what isn't given stays the model's own.
    given = {
        name: None if name in ("resize", "crop") and value == "none" else value
        for name, value in sampling.items()
        if value is not None
    }
    explain_clips(
        Request(
            clips=clips or [demo_clip_path()],
            model=model,
            target=target,
            method=method,
            mode=mode if mode is not None or not separate else "conserving",
            sampling=given,
            chunk=chunk,
            fps=fps,
            scale=scale,
            out=out,
            weights=weights,
            random_weights=random_weights,
            labels=labels,
            device=device,
            json=json,
        )
    )
