"""`relprop explain`: pictures in, contact sheets and saved explanations out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

import relprop
from relprop.cli.output import print_json, print_lines, print_table, progress
from relprop.errors import InputError
from relprop.methods.text import method_from, slug
from relprop.models.classes import Prediction, check_names, predictions, resolve
from relprop.models.pictures import read_picture
from relprop.models.sources import LoadedModel, load_model
from relprop.reports.steps import Steps
from relprop.reports.text import percent
from relprop.viz.labels import class_name

if TYPE_CHECKING:
    from PIL import Image

    from relprop.explanation import Explanation

__all__ = ["Request", "explain_images", "parsed_scale", "picture_folders"]


@dataclass(frozen=True)
class Request:
    """The options of `relprop explain`, parsed."""

    images: list[Path]
    model: str
    methods: list[str]
    targets: list[str]
    layers: list[str]
    out: Path
    weights: Path | None
    random_weights: bool
    labels: Path | None
    multi_label: bool | None
    size: tuple[int, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    scale: str
    top: int
    device: str
    json: bool


@dataclass(frozen=True)
class _Result:
    path: Path
    folder: Path
    predictions: list[Prediction]
    targets: list[int]
    explanations: dict[str, Explanation]
    sheet: Path


def explain_images(request: Request) -> None:
    """Do what `relprop explain` was asked, and print what came of it.

    Raises:
        RelpropError: anything that can't be used. All pictures and methods are looked at before the model
            runs; a picture's files appear once all its explanations are done.
    """
    pictures = [(path, read_picture(path)) for path in request.images]
    methods = list(dict.fromkeys(request.methods))
    for text in methods:
        method_from(text)  # a typing error shall not wait for the model
    scale = parsed_scale(request.scale)
    model = load_model(
        request.model,
        weights=request.weights,
        labels=request.labels,
        size=request.size,
        mean=request.mean,
        std=request.std,
        multi_label=request.multi_label,
        random_weights=request.random_weights,
        device=request.device,
        progress=not request.json,
    )
    if model.takes_clips:
        raise InputError(
            f"Expected a model of pictures but {model.spec} takes clips (N, C, T, H, W). Use relprop video."
        )
    folders = picture_folders(request.out, [path for path, _ in pictures])
    results = []
    with progress(request.json) as bar:
        steps = Steps(bar, len(pictures) * len(methods))
        for (path, picture), folder in zip(pictures, folders, strict=True):
            results.append(_explain_one(request, model, methods, path, picture, folder, scale, steps))
    if request.json:
        print_json(_document(request, model, results))
    else:
        for result in results:
            _print_result(request, model, result)


def _explain_one(
    request: Request,
    model: LoadedModel,
    methods: list[str],
    path: Path,
    picture: Image.Image,
    folder: Path,
    scale: Literal["symmetric", "shared"] | float,
    steps: Steps,
) -> _Result:
    from relprop.viz import contact_sheet, save_figure

    x = model.place(model.preprocess(picture))
    with torch.no_grad():
        outputs = check_names(model.module(x), model.classes)
    found = predictions(outputs[0], model.classes, model.multi_label)
    targets = resolve(request.targets, found, model.classes, model.multi_label)
    explanations: dict[str, Explanation] = {}
    bounds = relprop.pixel_bounds(model.mean, model.std)
    for text in methods:
        method = method_from(text, bounds, steps.part, model.multi_label)
        steps.doing(f"{path.name}: {text}")
        # One target alone keeps the plain shapes; several share one forward run.
        asked = targets[0] if len(targets) == 1 else targets
        explanations[text] = relprop.explain(
            model.module, x, target=asked, method=method, layers=tuple(request.layers)
        )
        steps.done()
    figure = contact_sheet(
        list(explanations.values()),
        labels=model.classes,
        scale=scale,
        probability="sigmoid" if model.multi_label else "softmax",
        columns=list(explanations),
        title=f"{path.name} · {model.spec}",
        mean=model.mean,
        std=model.std,
    )
    for text, explanation in explanations.items():
        explanation.save(
            folder / slug(text),
            labels=model.classes,
            scale=scale,
            mean=model.mean,
            std=model.std,
            overwrite=True,
        )
    save_figure(figure, folder / "sheet.png")
    return _Result(path, folder, found, targets, explanations, folder / "sheet.png")


def picture_folders(out: Path, paths: list[Path]) -> list[Path]:
    """A folder a picture, named after it; equal names get a number."""
    if out.exists() and not out.is_dir():
        raise InputError(f"Expected a folder for --out but '{out}' is a file.")
    taken: dict[str, int] = {}
    folders = []
    for path in paths:
        count = taken[path.stem] = taken.get(path.stem, 0) + 1
        folders.append(out / (path.stem if count == 1 else f"{path.stem}-{count}"))
    return folders


def parsed_scale(text: str) -> Literal["symmetric", "shared"] | float:
    """The value of --scale.

    Raises:
        InputError: another word, or a number that is none or not above 0.
    """
    if text == "symmetric":
        return "symmetric"
    if text == "shared":
        return "shared"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"Expected --scale symmetric, shared or a number above 0 but got {text!r}.")
    return value


def _print_result(request: Request, model: LoadedModel, result: _Result) -> None:
    print_lines(f"{result.path} through {model.spec} (weights: {model.weights})", "")
    kind = "sigmoid" if model.multi_label else "softmax"
    shown = result.predictions[: request.top]
    shown += [p for p in result.predictions[request.top :] if p.index in result.targets]
    rows = [
        [
            "→" if p.index in result.targets else "",
            str(p.index),
            p.name,
            f"{p.output:.3f}".replace("-", "−"),
            f"{100 * p.score:.1f} %",
        ]
        for p in shown
    ]
    print_table(["", "class", "name", "output", kind], rows, right=(1, 3, 4))
    print_lines("")
    together = " (all targets together)" if len(result.targets) > 1 else ""
    print_lines(f"Where the relevance went, as shares of the explained output{together}:")
    rows = [_ledger_row(text, e) for text, e in result.explanations.items()]
    headers = ["method", "adds up", "largest error", "arrived", "bias", "stabiliser", "lost", "Σ|R|/start"]
    print_table(headers, rows, right=range(2, 8))
    if any(_contrast(e) for e in result.explanations.values()):
        print_lines("* starts from relevance that sums to nearly 0 (a contrast): shares of its Σ|R|")
    print_lines(
        "",
        f"Sheet (red: for the class, blue: against): {result.sheet}",
        f"Numbers, plans and ledgers: {result.folder}",
        "",
    )


def _ledger_row(text: str, e: Explanation) -> list[str]:
    if e.ledger is None:
        gap, whole = (e.extras.get(key) for key in ("completeness_gap", "reference_difference"))
        verdict = "no ledger"
        if isinstance(gap, torch.Tensor) and isinstance(whole, torch.Tensor):
            verdict = f"gap {percent(float(gap.abs().sum()), float(whole.abs().sum()))}"
        return [text, verdict, *["–"] * 6]
    s = e.ledger.summary()
    whole = float(s["start"])
    if _contrast(e):
        whole, text = _size(e), f"{text} *"
    shares = [percent(float(s[key]), whole) for key in ("input", "bias", "stabiliser", "lost")]
    verdict = "yes" if s["closes"] else "NO"
    return [text, verdict, f"{float(s['max_error']):.1e}", *shares, f"{float(s['growth']):.3g}"]


def _size(e: Explanation) -> float:
    """Σ|R| at the start."""
    rows = () if e.ledger is None else e.ledger.rows
    return rows[0].absolute if rows else 0.0


def _contrast(e: Explanation) -> bool:
    """Whether the seed sums to nearly nothing, so that shares of its sum would mean nothing."""
    return e.ledger is not None and abs(float(e.ledger.summary()["start"])) < 0.01 * _size(e)


def _document(request: Request, model: LoadedModel, results: list[_Result]) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "relprop": version("relprop"),
        "model": {
            "spec": model.spec,
            "weights": model.weights,
            "input_size": list(model.input_size),
            "multi_label": model.multi_label,
        },
        "images": [
            {
                "image": str(result.path),
                "predictions": [
                    {"index": p.index, "name": p.name, "output": p.output, "score": p.score}
                    for p in result.predictions[: request.top]
                ],
                "targets": [{"index": i, "name": class_name(i, model.classes)} for i in result.targets],
                "sheet": str(result.sheet),
                "explanations": [
                    {
                        "method": e.method,
                        "asked": text,
                        "settings": e.settings,
                        "extras": e.extras,
                        "relevance_sum": _sums(e),
                        "layers": {name: list(t.shape) for name, t in e.layers.items()},
                        "ledger": None if e.ledger is None else e.ledger.summary(),
                        "folder": str(result.folder / slug(text)),
                    }
                    for text, e in result.explanations.items()
                ],
            }
            for result in results
        ],
    }


def _sums(e: Explanation) -> list[float]:
    """Total relevance of each target."""
    rows = e.relevance.double().reshape(e.targets.numel(), -1)
    return [float(total) for total in rows.sum(dim=1)]
