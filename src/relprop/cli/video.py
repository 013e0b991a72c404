"""`relprop video`. Nothing here imports torch before the command runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from relprop.catalogue import CLIP_MODELS, MODEL_SPECS
from relprop.cli.groups import Loading, Output, flat
from relprop.cli.options import Method, Target, checked, each, existing, numbers, parsed_numbers, side
from relprop.cli.panels import frames_option, how_option, output_option, what_option
from relprop.files import FILM
from relprop.video.modes import MODES, mode_named

__all__ = ["video"]


def _clip_model_names(incomplete: str) -> list[str]:
    found = [*CLIP_MODELS, "c3d", "torchvision:r3d_18", "torchvision:mc3_18", "torchvision:r2plus1d_18"]
    return [name for name in [*found, "torchvision:s3d", "file.py:factory"] if name.startswith(incomplete)]


def _mode_names(incomplete: str) -> list[str]:
    return [name for name in sorted(MODES) if name.startswith(incomplete)]


_Clips = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="CLIP",
        help="Film files: .avi, .mp4, .gif and more. Default: the demo clip.",
        show_default=False,
        callback=checked(each(existing(FILM))),
    ),
]
_Model = Annotated[
    str,
    what_option(
        "--model",
        "-m",
        metavar="SPEC",
        help="A bundled network of clips, c3d (published layout, with --weights), torchvision:NAME, or "
        "file.py:factory.",
        autocompletion=_clip_model_names,
        callback=checked(MODEL_SPECS.check),
    ),
]
_Separate = Annotated[
    bool, how_option("--separate", help="Split relevance into looks and motion; --mode does so too.")
]
_Mode = Annotated[
    str | None,
    how_option(
        metavar="NAME[:KEY=VALUE,...]",
        help="How to split: conserving, naive or selective. Default: conserving.",
        autocompletion=_mode_names,
        callback=checked(mode_named),
    ),
]
_Camera = Annotated[
    str,
    how_option(
        metavar="auto|still|FILE",
        help="How the camera moves, whose motion --mode conserving takes off: estimated, at rest, or a text "
        "file of a line a frame: the content's offsets, right and down in pixels, or the six numbers of a map.",
    ),
]
_Versus = Annotated[
    str | None,
    what_option(metavar="CLASS", help="Explain the target's score less that of this class (index or name)."),
]
_Chunk = Annotated[int, how_option(min=1, metavar="N", help="Frozen clips that run at once.")]
_Fps = Annotated[
    float, output_option(min=0.1, max=50, metavar="NUMBER", help="Frames a second of the films written.")
]
_Scale = Annotated[
    float | None, output_option(metavar="NUMBER", help="What the strongest colour stands for.")
]


@dataclass(frozen=True)
class _SamplingOptions:
    """How inputs are made of films, where the model's own way isn't wanted."""

    frames: Annotated[int | None, frames_option(min=1, metavar="N", help="Frames in a clip.")] = None
    stride: Annotated[
        int | None, frames_option(min=1, metavar="N", help="Take every N-th frame of the film.")
    ] = None
    start: Annotated[
        str | None, frames_option(metavar="middle|N", help="First film frame, counted from 0, or 'middle'.")
    ] = None
    resize: Annotated[
        str | None,
        frames_option(metavar="none|SIZE", help="Shorter side in pixels, or the size to squash to; 'none'."),
    ] = None
    crop: Annotated[
        str | None, frames_option(metavar="none|SIZE", help="Size of the centre that is cut out; 'none'.")
    ] = None
    order: Annotated[str | None, frames_option(metavar="rgb|bgr", help="Order of the colour channels.")] = (
        None
    )
    divisor: Annotated[
        float | None, frames_option(metavar="NUMBER", help="What 0..255 is divided by first: 255 or 1.")
    ] = None
    mean: Annotated[
        str | None,
        frames_option(metavar="R,G,B", callback=numbers, help="Subtracted after that."),
    ] = None
    std: Annotated[
        str | None,
        frames_option(metavar="R,G,B", callback=numbers, help="What is then divided by."),
    ] = None

    def given(self) -> dict[str, Any]:
        """What was asked for, as `Sampling` takes it; what isn't given stays the model's own."""
        start = self.start
        parsed = {field.name: getattr(self, field.name) for field in fields(self)} | {
            "start": int(start) if start is not None and start.isascii() and start.isdigit() else start,
            "resize": side(self.resize),
            "crop": side(self.crop),
            "mean": parsed_numbers(self.mean),
            "std": parsed_numbers(self.std),
        }
        # "none" switches a step off, which is None to `Sampling`.
        return {
            name: None if name in ("resize", "crop") and value == "none" else value
            for name, value in parsed.items()
            if value is not None
        }


@flat
def video(
    clips: _Clips = None,
    model: _Model = "motion-c3d",
    target: Target = "top",
    separate: _Separate = False,
    mode: _Mode = None,
    method: Method = "deep-taylor",
    versus: _Versus = None,
    camera: _Camera = "auto",
    *,
    sampling: _SamplingOptions,
    chunk: _Chunk = 4,
    fps: _Fps = 6,
    scale: _Scale = None,
    loading: Loading,
    output: Output,
) -> None:
    """Explain clips, and say what is relevant by its looks and what because it moves.

    Options from --frames to --std replace the model's own sampling. Writes a figure (frames, relevance, its sum in
    each frame, a slice through space and time), the same as a film (GIF and MP4), and the numbers.
    """
    from relprop import reports
    from relprop.datasets.demo import demo_clip_path

    given = sampling.given()
    output.show(
        lambda bar: reports.video(
            loading.model(model, output, size=reports.clip_size(given)),
            clips or [demo_clip_path()],
            target=target,
            method=method,
            versus=versus,
            mode=mode or ("conserving" if separate else None),
            camera=camera,
            sampling=given,
            chunk=chunk,
            fps=fps,
            scale=scale,
            out=output.out,
            progress=bar,
        )
    )
