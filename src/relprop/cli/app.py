"""Commands and their options. Nothing here imports torch: `relprop --help` stays quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="relprop",
    help="What in the input made a vision network say this? Relevance that adds up, or a refusal by name.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _method_names(incomplete: str) -> list[str]:
    from relprop.methods.registry import METHODS

    return [name for name in METHODS if name.startswith(incomplete)]


def _model_names(incomplete: str) -> list[str]:
    from relprop.models import models
    from relprop.models.sources import SPEC_FORMS

    return [name for name in [*models(), *SPEC_FORMS] if name.startswith(incomplete)]


def _numbers(text: str) -> str:
    """Check `0.5,0.5,0.5`; parsed later (typer has no type for lists of three)."""
    try:
        [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"Expected numbers with commas, such as 0.5,0.5,0.5, but got {text!r}"
        ) from None
    return text


def _size(text: str) -> str:
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"Expected a size such as 224, 240x320 or 16x112x112 but got {text!r}")
    return text


Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="SPEC",
        help="A bundled name (relprop models), torchvision:NAME, timm:NAME, or file.py:factory.",
        autocompletion=_model_names,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="State dict: .safetensors, or .pth (read with weights_only=True)."),
]
RandomWeights = Annotated[
    bool,
    typer.Option(
        "--random-weights", help="Seeded random weights instead of published ones, to try things out."
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="S",
        callback=lambda v: v and _size(v),
        help="Input size: 224, 240x320 (H×W), 16x112x112 (T×H×W).",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"relprop {version('relprop')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Debug = False,
) -> None:
    pass


@app.command()
def explain(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.", show_default=False)
    ],
    model: Model,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-x",
            metavar="NAME[:KEY=VALUE,...]",
            help="Repeat for several, side by side (relprop methods lists them). Default: lrp-composite.",
            autocompletion=_method_names,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "--targets",
            "-t",
            metavar="CLASS",
            help="Class index or name, 'top', or 'predicted' (every predicted class of a multi-label model). "
            "Repeat for several. Default: top.",
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Keep the relevance at this layer too. Repeat for several."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("relprop-out"),
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="Class names: a text file, one a line, or a JSON list."),
    ] = None,
    multi_label: Annotated[
        bool | None,
        typer.Option(
            "--multi-label/--single-label", help="Sigmoid or softmax scores. Default: the model's own."
        ),
    ] = None,
    size: Size = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B", callback=lambda v: v and _numbers(v), help="Subtracted from pictures in 0-1."
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", callback=lambda v: v and _numbers(v), help="What is then divided by."),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Colours of the sheet: symmetric (each map its own), shared, or a number.")
    ] = "symmetric",
    top: Annotated[int, typer.Option(min=1, metavar="N", help="How many predictions to print.")] = 5,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Explain pictures: which parts made the model say what it said.

    Writes one contact sheet a picture (rows: targets, columns: methods) and a folder an explanation, and
    prints the predictions and whether each explanation's relevance adds up.
    """
    from relprop.cli.explain import Request, explain_images

    explain_images(
        Request(
            images=images,
            model=model,
            methods=method or ["lrp-composite"],
            targets=target or ["top"],
            layers=layer or [],
            out=out,
            weights=weights,
            random_weights=random_weights,
            labels=labels,
            multi_label=multi_label,
            size=_parsed_size(size),
            mean=_parsed_numbers(mean),
            std=_parsed_numbers(std),
            scale=scale,
            top=top,
            device=device,
            json=json,
        )
    )


def _detector_names(incomplete: str) -> list[str]:
    from relprop.detectors.bundled import models
    from relprop.detectors.sources import DETECTOR_FORMS

    return [name for name in [*models(), *DETECTOR_FORMS] if name.startswith(incomplete)]


@app.command()
def detect(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE", help="Picture files. Default: the demo scene.", show_default=False),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="A bundled detector, torchvision:NAME (SSD, SSDLite, RetinaNet), or file.py:factory.",
            autocompletion=_detector_names,
        ),
    ] = "scenes-ssd",
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain every detection; --box and --versus do so too.")
    ] = False,
    box: Annotated[
        list[int] | None,
        typer.Option("--box", "-b", metavar="N", help="Explain this detection only. Repeat for several."),
    ] = None,
    versus: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS", help="What if: what would speak for this class instead? Index or name."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "-x",
            metavar="NAME[:KEY=VALUE,...]",
            help="How to explain (relprop methods lists them).",
            autocompletion=_method_names,
        ),
    ] = "crp",
    include_background: Annotated[
        bool | None,
        typer.Option(
            "--include-background/--no-background",
            help="Whether crp contrasts with the background too. Default: the method's own.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, metavar="P", help="Least score of a detection. Default: the detector's own."
        ),
    ] = None,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="Class names, the background's too: a text file, one a line, or a JSON list."),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="Colours of a page: shared (one scale), symmetric (each map its own), or a number."
        ),
    ] = "shared",
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("relprop-out"),
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Detect objects, and explain why this class and why this box.

    Draws the detections and lists them. Explained, each gets a page: the map for its class (and for another with
    --versus), the four maps of its box, the strongest pixels, and relevance layer by layer.
    """
    from relprop.cli.detect import Request, detect_images
    from relprop.datasets.demo import demo_image_path

    detect_images(
        Request(
            images=images or [demo_image_path()],
            model=model,
            explain=explain,
            boxes=box or [],
            versus=versus,
            method=method,
            include_background=include_background,
            threshold=threshold,
            weights=weights,
            random_weights=random_weights,
            labels=labels,
            scale=scale,
            out=out,
            device=device,
            json=json,
        )
    )


def _clip_model_names(incomplete: str) -> list[str]:
    from relprop.video.bundled import models

    found = [*models(), "c3d", "torchvision:r3d_18", "torchvision:mc3_18", "torchvision:r2plus1d_18"]
    return [name for name in [*found, "torchvision:s3d", "file.py:factory"] if name.startswith(incomplete)]


def _mode_names(incomplete: str) -> list[str]:
    return [name for name in ("conserving", "naive", "selective") if name.startswith(incomplete)]


@app.command()
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
            autocompletion=_method_names,
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
        typer.Option(metavar="A,B,C", callback=lambda v: v and _numbers(v), help="Subtracted after that."),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", callback=lambda v: v and _numbers(v), help="What is then divided by."),
    ] = None,
    chunk: Annotated[int, typer.Option(min=1, metavar="N", help="Frozen clips that run at once.")] = 4,
    fps: Annotated[float, typer.Option(min=0.1, max=50, help="Frames a second of the films written.")] = 6,
    scale: Annotated[
        float | None, typer.Option(metavar="V", help="What the strongest colour stands for.")
    ] = None,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Annotated[
        Path | None, typer.Option(help="Class names: a text file, one a line, or a JSON list.")
    ] = None,
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
        "start": int(start) if start is not None and start.isdigit() else start,
        "resize": _side(resize),
        "crop": _side(crop),
        "order": order,
        "divisor": divisor,
        "mean": _parsed_numbers(mean),
        "std": _parsed_numbers(std),
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
            mode=mode or ("conserving" if separate else None),
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


@app.command()
def inspect(
    model: Model,
    weights: Weights = None,
    size: Size = None,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List a model's operators and the rule for each, or the reason why there is none."""
    from relprop.cli.inspect import inspect_model

    inspect_model(model, weights, _parsed_size(size), device, json)


def _recipe_names(incomplete: str) -> list[str]:
    from relprop.benchmark.recipe import recipes

    return [name for name in recipes() if name.startswith(incomplete)]


@app.command()
def benchmark(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe's name, FILE.toml, or 'list' to see what there is.",
            autocompletion=_recipe_names,
        ),
    ] = "scenes",
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Your folder (or file) of the recipe's data set.")
    ] = None,
    difficult: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your list of difficult pairs, tab-separated.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="SPEC",
            help="Another model than the recipe's.",
            autocompletion=_model_names,
        ),
    ] = None,
    weights: Weights = None,
    random_weights: RandomWeights = False,
    labels: Annotated[
        Path | None, typer.Option(help="Class names: a text file, one a line, or a JSON list.")
    ] = None,
    multi_label: Annotated[
        bool | None, typer.Option("--multi-label/--single-label", help="Sigmoid or softmax scores.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-x",
            metavar="NAME[:KEY=VALUE,...]",
            help="Instead of the recipe's methods. Repeat for several; also center and random.",
            autocompletion=_method_names,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="So many pictures, drawn with the seed; 0: all.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pictures that are written together.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pictures that run through the model together.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="CPU threads a worker.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Worker processes. Default: one a CPU core, or one a GPU."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for a cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; without it Ray runs here.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where results go, and are taken up again. Default: relprop-benchmark/RECIPE."),
    ] = None,
    device: Device = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge methods on annotated pictures: a table with intervals, plots, best and worst cases.

    Results are kept as they are made. After an interrupt the same command goes on.
    """
    from relprop.cli.benchmark import Request, list_recipes, run_benchmark

    if recipe == "list":
        list_recipes(json)
        return
    run_benchmark(
        Request(
            recipe=recipe,
            out=out,
            data=data,
            difficult=difficult,
            model=model,
            weights=weights,
            random_weights=random_weights,
            labels=labels,
            multi_label=multi_label,
            methods=method,
            limit=limit,
            seed=seed,
            chunk=chunk,
            batch=batch,
            threads=threads,
            workers=workers,
            engine=engine,
            address=address,
            device=device,
            json=json,
        )
    )


@app.command()
def methods(json: Json = False, debug: Debug = False) -> None:
    """List the methods."""
    from relprop.cli.listing import list_methods

    list_methods(json)


@app.command()
def models(
    source: Annotated[
        str | None,
        typer.Option(
            metavar="LIBRARY", help="List the names of torchvision or timm instead of the bundled models."
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the bundled models, or those of torchvision or timm."""
    from relprop.cli.listing import list_models

    list_models(source, json)


def _parsed_numbers(text: str | None) -> tuple[float, ...] | None:
    return None if text is None else tuple(float(part) for part in text.split(","))


def _side(text: str | None) -> int | tuple[int, ...] | str | None:
    """`112`, `128x171` or `none`."""
    if text is None or text == "none":
        return text
    parts = tuple(int(part) for part in _size(text).lower().split("x"))
    return parts[0] if len(parts) == 1 else parts


def _parsed_size(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = tuple(int(part) for part in text.lower().split("x"))
    return parts * 2 if len(parts) == 1 else parts
