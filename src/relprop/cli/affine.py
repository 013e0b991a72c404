"""`relprop affine`: a score as weights times values plus a bias, layer by layer, and whose bias it is."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import relprop
from relprop.cli.explain import picture_folders
from relprop.cli.output import Steps, percent, print_json, print_lines, print_table, progress
from relprop.cli.targets import Prediction, check_names, class_index, class_name, predictions, resolve
from relprop.errors import InputError
from relprop.models.pictures import read_picture
from relprop.models.sources import LoadedModel, load_model
from relprop.piecewise import AffineForm, Owner, affine_by_layer, block_outputs, distance
from relprop.viz.scale import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

__all__ = ["Request", "decompose_images", "draw_toy"]

_ROWS = 6  # layers in the figure, unless they are named
_MAPS = 12  # bias maps in the figure, the largest
_LISTED = 10  # owners printed
_DIRECTIONS, _STEP = 8, 0.01  # random steps beyond the border, in |x|


@dataclass(frozen=True)
class Request:
    """The options of `relprop affine`, parsed."""

    images: list[Path]
    model: str
    target: str
    versus: str | None
    layers: list[str]
    linearise: bool
    region: bool
    weights: Path | None
    random_weights: bool
    labels: Path | None
    size: tuple[int, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    out: Path
    device: str
    json: bool


@dataclass(frozen=True)
class _Reach:
    """How far a form holds.

    Attributes:
        distance: to the nearest border met, an upper bound.
        border: what changes its piece there.
        missed: at 1 % of |x| in random directions: the part of the score's changes that the form misses.
    """

    distance: float
    border: str
    missed: float


@dataclass(frozen=True)
class _Result:
    path: Path
    folder: Path
    chosen: Prediction
    rival: str | None
    form: AffineForm  # at the input, with owners
    layers: dict[str, AffineForm]  # the input first
    reach: _Reach | None

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Whose bias it is."""
        return self.form.owners or ()


def draw_toy(seed: int, point: tuple[float, ...] | None, out: Path, json: bool) -> None:
    """Train the network of the plane, draw its pieces, and print how the score at a point is made.

    Raises:
        InputError: a point that isn't two numbers, or outside the window.
    """
    from relprop.piecewise.toy import pieces, toy
    from relprop.viz.file import save_figure
    from relprop.viz.pieces import toy_figure

    if point is not None and len(point) != 2:
        raise InputError(f"Expected --point X,Y but got {len(point)} numbers.")
    made = toy(seed)
    path = save_figure(toy_figure(made, point), out / "toy.png")
    cut = pieces(made.network, made.window)
    if json:
        found = {"seed": seed, "accuracy": made.accuracy, "pieces": len(cut), "figure": str(path)}
        print_json(found)
        return
    told = "two points" if point is None else "the point"
    print_lines(
        f"A network of 2-5-5-5-2 units, {100 * made.accuracy:.1f} % of its points right, cuts the window into "
        f"{len(cut)} pieces.",
        f"On each the score is W·x + b with the piece's own W and b, exactly. The figure takes {told} apart.",
        f"Figure: {path}",
    )


def decompose_images(request: Request) -> None:
    """Do what `relprop affine` was asked, and print what came of it.

    Raises:
        RelpropError: anything that can't be used. All pictures are looked at before the model runs.
    """
    pictures = [(path, read_picture(path)) for path in request.images]
    folders = picture_folders(request.out, request.images)
    model = load_model(
        request.model,
        weights=request.weights,
        labels=request.labels,
        size=request.size,
        mean=request.mean,
        std=request.std,
        random_weights=request.random_weights,
        device=request.device,
        progress=not request.json,
    )
    if model.takes_clips:
        raise InputError(
            f"Expected a model of pictures but {model.spec} takes clips. Use relprop.affine in Python."
        )
    results = []
    with progress(len(pictures), request.json) as steps:
        for (path, picture), folder in zip(pictures, folders, strict=True):
            steps.doing(path.name)
            results.append(_decompose(request, model, path, picture, folder, steps))
            steps.done()
    if request.json:
        print_json(_document(model, results))
        return
    for result in results:
        _print(model, result)


def _decompose(
    request: Request, model: LoadedModel, path: Path, picture: Image.Image, folder: Path, steps: Steps
) -> _Result:
    x = model.place(model.preprocess(picture))
    with torch.no_grad():
        outputs = check_names(model.module(x), model.classes)
    found = predictions(outputs[0], model.classes, model.multi_label)
    (target,) = resolve([request.target], found, model.classes, model.multi_label)
    chosen = next(p for p in found if p.index == target)
    rival = None if request.versus is None else class_index(request.versus, len(found), model.classes)
    names = request.layers or _spread(block_outputs(relprop.trace(model.module, x).graph))
    form = relprop.affine(model.module, x, target, versus=rival, owners=True, linearise=request.linearise)
    # The layers' table is about the class alone where no rival was asked, else each layer is asked anew.
    if rival is None:
        layers = affine_by_layer(model.module, x, target, names, linearise=request.linearise)
    else:
        layers = {"input": form} | {
            name: relprop.affine(model.module, x, target, name, versus=rival, linearise=request.linearise)
            for name in names
        }
    reach = _reach(model, x, target, rival) if request.region and form.exact else None
    result = _Result(
        path,
        folder,
        chosen,
        None if rival is None else class_name(rival, model.classes),
        form,
        layers,
        reach,
    )
    _write(model, x, result)
    return result


def _reach(model: LoadedModel, x: Tensor, target: int, rival: int | None) -> _Reach:
    # In float64: a border may be nearer than float32 can tell.
    module, x = deepcopy(model.module).double(), x.double()
    met = distance(module, x, target)
    (flip,) = met.flips
    border = "none" if flip is None else f"{flip.operator} in {flip.module or flip.node}"
    form = relprop.affine(module, x, target, versus=rival)
    seed = torch.Generator().manual_seed(0)
    missed = moved = 0.0
    for _ in range(_DIRECTIONS):
        d = torch.randn(x.shape, generator=seed, dtype=torch.float64).to(x.device)
        there = x + d * (_STEP * x.norm() / d.norm())
        with torch.no_grad():
            scores = module(there)[0]
        score = float(scores[target] - (0 if rival is None else scores[rival]))
        missed += abs(score - float(form.predict(there)))
        moved += abs(score - float(form.score))
    return _Reach(float(met.distance), border, missed / moved if moved else 0.0)


def _spread(names: list[str]) -> list[str]:
    """At most so many of them, evenly from the first to the last."""
    chosen = sorted({round(float(i)) for i in np.linspace(0, len(names) - 1, min(len(names), _ROWS))})
    return [names[i] for i in chosen]


def _write(model: LoadedModel, x: Tensor, result: _Result) -> None:
    from relprop.viz.file import save_figure

    for name, figure in _figures(model, x, result).items():
        save_figure(figure, result.folder / f"{name}.png")
    explanation = relprop.explain(
        model.module, x, result.chosen.index, relprop.Affine(linearise=not result.form.exact)
    )
    explanation.save(
        result.folder / "affine", labels=model.classes, mean=model.mean, std=model.std, overwrite=True
    )


def _figures(model: LoadedModel, x: Tensor, result: _Result) -> dict[str, Figure]:
    from relprop.viz.bias import (
        BiasBar,
        LayerMaps,
        affine_layers_figure,
        bias_maps_figure,
        bias_owners_figure,
    )
    from relprop.viz.picture import display_picture

    asked = result.chosen.name if result.rival is None else f"{result.chosen.name} − {result.rival}"
    title = f"{asked} · {result.path.name} · {model.spec}"
    picture, _ = display_picture(x[0].cpu(), model.mean, model.std)
    drawn = {name: form for name, form in result.layers.items() if form.map[0].ndim == 2}
    cams = relprop.explain(model.module, x, result.chosen.index, "grad-cam", layers=tuple(drawn)).layers
    rows = [
        LayerMaps(
            name,
            form.map[0].cpu().numpy(),
            cams[name][0, 0].cpu().numpy(),
            float(form.bias),
            float(form.bias_share),
        )
        for name, form in drawn.items()
    ]
    bars = [BiasBar(_named(o), o.kind, float(o.amount)) for o in result.owners]
    figures = {
        "layers": affine_layers_figure(picture, rows, title=title),
        "bias": bias_owners_figure(
            bars, float(result.form.score), float(result.form.score - result.form.bias), title=title
        ),
    }
    mapped = [
        (bar, o.map[0].cpu().numpy())
        for bar, o in zip(bars, result.owners, strict=True)
        if o.map is not None and o.map[0].ndim == 2
    ]
    largest = sorted(mapped, key=lambda pair: -abs(pair[0].amount))[:_MAPS]
    kept = [pair for pair in mapped if any(pair is other for other in largest)]
    if kept:
        figures["bias-maps"] = bias_maps_figure(picture, kept, title=f"Where bias works · {title}")
    return figures


def _named(owner: Owner) -> str:
    call = f" (call {owner.call + 1})" if owner.call else ""
    return f"{owner.module or owner.node}{call}"


def _print(model: LoadedModel, result: _Result) -> None:
    form, chosen = result.form, result.chosen
    print_lines(f"{result.path} through {model.spec} (weights: {model.weights})", "")
    less = "" if result.rival is None else f" less that of {result.rival}"
    print_lines(
        f"The score of {chosen.name}{less} is {_signed(float(form.score))} = Σ W·X + b, at every layer:"
    )
    rows = []
    for name, at in result.layers.items():
        part = at.contribution.double()
        rows.append(
            [
                name,
                _signed(float(part.clamp(min=0).sum())),
                _signed(float(part.clamp(max=0).sum())),
                _signed(float(at.bias)),
                percent(float(at.bias), float(at.score)),
                percent(float(at.bias_share), 1),
            ]
        )
    print_table(["layer", "W·X for", "against", "b", "b / score", "|b| / all"], rows, right=range(1, 6))
    print_lines("")
    ranked = sorted(result.owners, key=lambda o: -abs(float(o.amount)))
    print_lines(f"Whose bias the input's b is ({min(_LISTED, len(ranked))} largest of {len(ranked)}):")
    print_table(
        ["module", "operator", "kind", "amount", "of b"],
        [
            [
                _named(o),
                o.operator,
                o.kind,
                _signed(float(o.amount)),
                percent(float(o.amount), float(form.bias)),
            ]
            for o in ranked[:_LISTED]
        ],
        right=(3, 4),
    )
    assert form.residual is not None
    print_lines(f"Σ W·X + all of them misses the score by {float(form.residual):.1e} of their size")
    if form.error is not None:
        print_lines(
            "NOT piece-wise affine: a tangent. Of the score's changes at a distance of "
            f"{percent(form.error.size, 1)} of |x| it misses {percent(float(form.error.relative), 1)}"
        )
    if result.reach is not None:
        reach, whole = result.reach, float(form.value.double().norm())
        away = f"{percent(reach.distance / whole, 1)} of |x| away ({number(reach.distance)})"
        why = "equal values in a window" if "pool" in reach.border else "a unit exactly on its kink"
        tied = f"The picture lies on a border of its piece ({why})"
        print_lines(
            f"{f'Exact up to the nearest border met, {away}' if reach.distance else tied}: {reach.border}",
            f"At {percent(_STEP, 1)} of |x| the form misses {percent(reach.missed, 1)} of the score's changes",
        )
    print_lines("", *(f"{what}: {path}" for what, path in _files(result).items()), "")


def _signed(value: float) -> str:
    text = f"{value:.3f}" if abs(value) >= 0.01 or not value else number(value)
    return text.replace("-", "−")


def _files(result: _Result) -> dict[str, str]:
    words = {"layers": "Layers", "bias": "Bias", "bias-maps": "Bias maps"}
    found = {words[name]: result.folder / f"{name}.png" for name in words}
    return {what: str(path) for what, path in found.items() if path.is_file()} | {
        "Numbers": str(result.folder / "affine")
    }


def _document(model: LoadedModel, results: list[_Result]) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "relprop": version("relprop"),
        "model": {"spec": model.spec, "weights": model.weights},
        "images": [
            {
                "image": str(result.path),
                "target": {"index": result.chosen.index, "name": result.chosen.name},
                "versus": result.rival,
                "score": float(result.form.score),
                "exact": result.form.exact,
                "residual": float(result.form.residual) if result.form.residual is not None else None,
                "linearisation_error": None
                if result.form.error is None
                else {"size": result.form.error.size, "relative": float(result.form.error.relative)},
                "region": None if result.reach is None else asdict(result.reach),
                "layers": [
                    {
                        "layer": name,
                        "bias": float(at.bias),
                        "bias_ratio": float(at.bias_ratio),
                        "bias_share": float(at.bias_share),
                    }
                    for name, at in result.layers.items()
                ],
                "owners": [
                    {
                        "module": o.module,
                        "call": o.call,
                        "operator": o.operator,
                        "kind": o.kind,
                        "amount": float(o.amount),
                        "channels": None if o.channels is None else o.channels[0].tolist(),
                    }
                    for o in result.owners
                ],
                "files": _files(result),
            }
            for result in results
        ],
    }
