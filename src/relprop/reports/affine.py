"""A score as weights times values plus a bias, layer by layer, and whose bias it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

import relprop
from relprop.bar import draws_bar
from relprop.errors import InputError
from relprop.explanation.explain import explanation_of
from relprop.explanation.folder import version
from relprop.models.classes import Prediction, check_names, predictions, resolve
from relprop.models.loaded import LoadedModel
from relprop.piecewise import AffineForm, Owner, affine_by_layer, block_outputs
from relprop.piecewise.reach import STEP, Reach, reach
from relprop.precision import full_precision
from relprop.propagate.names import class_index
from relprop.reports.report import Page, Report, gathered
from relprop.reports.sources import (
    Model,
    Picture,
    check_layers,
    check_places,
    folders,
    heading,
    loaded,
    model_facts,
    read_pictures,
)
from relprop.reports.steps import Progress, Steps
from relprop.reports.text import Block, Table, Written, percent, signed
from relprop.reports.works import Drawing, Numbers, Work
from relprop.viz.bias import BiasBar, LayerMaps, affine_layers_figure, bias_maps_figure, bias_owners_figure
from relprop.viz.labels import class_name, number
from relprop.viz.picture import display_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["affine"]

_TOLD = "affine.json"
_ROWS = 6  # layers in the figure, unless they are named
_MAPS = 12  # bias maps in the figure, the largest
_LISTED = 10  # owners printed
_WORDS = {"layers": "Layers", "bias": "Bias", "bias-maps": "Bias maps"}


@dataclass(frozen=True)
class _Asked:
    target: str
    versus: str | None
    layers: Sequence[str]
    linearise: bool
    region: bool


@dataclass(frozen=True)
class _Found:
    picture: Picture
    x: Tensor
    chosen: Prediction
    rival: str | None
    form: AffineForm  # at the input, with owners
    layers: dict[str, AffineForm]  # the input first
    region: Reach | None

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Whose bias it is."""
        return self.form.owners or ()


@draws_bar()
@full_precision
def affine(
    model: Model,
    images: Any,
    *,
    target: str | int = "top",
    versus: str | int | None = None,
    layers: Sequence[str] = (),
    linearise: bool = False,
    region: bool = False,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> Report:
    """Take a score apart exactly, for each picture: what `relprop affine` draws, prints and writes.

    A page a picture: the maps of every layer beside Grad-CAM's (``layers.png``), the score as a sum of the input's
    part and every layer's bias (``bias.png``), where the largest biases work (``bias-maps.png``), and the
    contributions at the input (the folder ``affine``).

    Args:
        model: see `relprop.reports.picture`.
        images: likewise.
        target: a class index or name, or ``"top"``.
        versus: a class whose score is taken off.
        layers: names; by default at most six of the ends of blocks.
        linearise: take networks that aren't piece-wise affine too, by their tangent, with the error.
        region: say how far the form holds, too (where it is exact).
        out: a folder to which each picture's files are written once all its numbers are there.
        progress: True for a bar in a notebook or on a terminal; or a function of
            the steps done, their number, and what is being done.

    Raises:
        RelpropError: anything that can't be used. All pictures are looked at before the model runs.
    """
    pictures = read_pictures(images)
    places = folders(out, [picture.source for picture in pictures])
    drawn = [place / name for place in places for name in (*(f"{word}.png" for word in _WORDS), _TOLD)]
    check_places(out, drawn, [place / "affine" for place in places])
    ready = loaded(model, pictures)
    if ready.takes_clips:
        raise InputError(
            f"Expected a model of pictures but {ready.spec} takes clips. Use relprop.affine in Python."
        )
    check_layers(ready, pictures[0].input(ready), layers)
    asked = _Asked(str(target), None if versus is None else str(versus), layers, linearise, region)
    steps = Steps(progress, len(pictures))

    def pages() -> Iterator[Page]:
        for picture, folder in zip(pictures, places, strict=True):
            steps.doing(picture.name)
            yield _page(ready, folder, _decompose(ready, picture, asked))
            steps.done()

    head = {"relprop": version(), "model": model_facts(ready.spec, ready.weights)}
    return gathered(head, "images", pages(), out, told=_TOLD)


def _decompose(model: LoadedModel, picture: Picture, asked: _Asked) -> _Found:
    x = picture.input(model)
    outputs = check_names(model.run(x), model.classes)
    found = predictions(outputs[0], model.classes, model.multi_label)
    (target,) = resolve([asked.target], found, model.classes, model.multi_label)
    chosen = next(p for p in found if p.index == target)
    rival = None if asked.versus is None else class_index(asked.versus, len(found), model.classes)
    names = list(asked.layers) or _spread(block_outputs(relprop.trace(model.module, x).graph))
    form = relprop.affine(model.module, x, target, versus=rival, owners=True, linearise=asked.linearise)
    # The layers' table is about the class alone where no rival was asked, else each layer is asked anew.
    if rival is None:
        layers = affine_by_layer(model.module, x, target, names, linearise=asked.linearise)
    else:
        layers = {"input": form} | {
            name: relprop.affine(model.module, x, target, name, versus=rival, linearise=asked.linearise)
            for name in names
        }
    region = reach(model.module, x, target, rival) if asked.region and form.exact else None
    name = None if rival is None else class_name(rival, model.classes)
    return _Found(picture, x, chosen, name, form, layers, region)


def _spread(names: list[str]) -> list[str]:
    """At most so many of them, evenly from the first to the last."""
    chosen = sorted({round(float(i)) for i in np.linspace(0, len(names) - 1, min(len(names), _ROWS))})
    return [names[i] for i in chosen]


def _page(model: LoadedModel, folder: Path, found: _Found) -> Page:
    explanation = explanation_of(
        model.module, found.x, found.chosen.index, relprop.Affine(linearise=not found.form.exact)
    )
    numbers = Numbers(explanation, labels=model.classes, mean=model.mean, std=model.std)
    drawings = _drawings(model, found)
    works: dict[Path, Work] = {folder / f"{name}.png": work for name, work in drawings.items()}
    works[folder / "affine"] = numbers
    files = {_WORDS[name]: folder / f"{name}.png" for name in drawings} | {"Numbers": folder / "affine"}
    return Page(works, _document(found, files), _text(model, found, files))


def _drawings(model: LoadedModel, found: _Found) -> dict[str, Drawing]:
    asked = found.chosen.name if found.rival is None else f"{found.chosen.name} − {found.rival}"
    title = f"{asked} · {found.picture.name} · {model.spec}"
    picture, _ = display_picture(found.x[0].cpu(), model.mean, model.std)
    drawn = {name: form for name, form in found.layers.items() if form.map[0].ndim == 2}
    cams = explanation_of(model.module, found.x, found.chosen.index, "grad-cam", layers=tuple(drawn)).layers
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
    bars = [BiasBar(_named(o), o.kind, float(o.amount)) for o in found.owners]
    score, of_input = float(found.form.score), float(found.form.score - found.form.bias)
    mapped = [
        (bar, o.map[0].cpu().numpy())
        for bar, o in zip(bars, found.owners, strict=True)
        if o.map is not None and o.map[0].ndim == 2
    ]
    largest = sorted(mapped, key=lambda pair: -abs(pair[0].amount))[:_MAPS]
    kept = [pair for pair in mapped if any(pair is other for other in largest)]

    def layers() -> Figure:
        return affine_layers_figure(picture, rows, title=title)

    def bias() -> Figure:
        return bias_owners_figure(bars, score, of_input, title=title)

    def maps() -> Figure:
        return bias_maps_figure(picture, kept, title=f"Where bias works · {title}")

    drawings = {"layers": Drawing(layers), "bias": Drawing(bias)}
    return drawings | ({"bias-maps": Drawing(maps)} if kept else {})


def _named(owner: Owner) -> str:
    call = f" (call {owner.call + 1})" if owner.call else ""
    return f"{owner.module or owner.node}{call}"


def _text(model: LoadedModel, found: _Found, files: dict[str, Path]) -> tuple[Block, ...]:
    form = found.form
    less = "" if found.rival is None else f" less that of {found.rival}"
    ranked = sorted(found.owners, key=lambda o: -abs(float(o.amount)))
    assert form.residual is not None
    return (
        heading(found.picture.source, model.spec, model.weights),
        "",
        f"The score of {found.chosen.name}{less} is {_value(float(form.score))} = Σ W·X + b, at every layer:",
        _layers_table(found.layers),
        "",
        f"Whose bias the input's b is ({min(_LISTED, len(ranked))} largest of {len(ranked)}):",
        _owners_table(ranked, float(form.bias)),
        f"Σ W·X + all of them misses the score by {float(form.residual):.1e} of their size",
        *_deviation(form),
        *_reach(found),
        "",
        *(Written(what, path) for what, path in files.items()),
        "",
    )


def _layers_table(layers: dict[str, AffineForm]) -> Table:
    rows = []
    for name, at in layers.items():
        part = at.contribution.double()
        rows.append(
            [
                name,
                _value(float(part.clamp(min=0).sum())),
                _value(float(part.clamp(max=0).sum())),
                _value(float(at.bias)),
                percent(float(at.bias), float(at.score)),
                percent(float(at.bias_share), 1),
            ]
        )
    return Table(["layer", "W·X for", "against", "b", "b / score", "|b| / all"], rows, range(1, 6))


def _owners_table(ranked: Sequence[Owner], bias: float) -> Table:
    rows = [
        [_named(o), o.operator, o.kind, _value(float(o.amount)), percent(float(o.amount), bias)]
        for o in ranked[:_LISTED]
    ]
    return Table(["module", "operator", "kind", "amount", "of b"], rows, (3, 4))


def _deviation(form: AffineForm) -> list[str]:
    if form.error is None:
        return []
    size, missed = percent(form.error.size, 1), percent(float(form.error.relative), 1)
    tangent = "NOT piece-wise affine: a tangent. Of the score's changes at a distance of"
    return [f"{tangent} {size} of |x| it misses {missed}"]


def _reach(found: _Found) -> list[str]:
    region = found.region
    if region is None:
        return []
    whole = float(found.form.value.double().norm())
    away = f"{percent(region.distance / whole, 1)} of |x| away ({number(region.distance)})"
    why = "equal values in a window" if "pool" in region.border else "a unit exactly on its kink"
    tied = f"The picture lies on a border of its piece ({why})"
    return [
        f"{f'Exact up to the nearest border met, {away}' if region.distance else tied}: {region.border}",
        f"At {percent(STEP, 1)} of |x| the form misses {percent(region.missed, 1)} of the score's changes",
    ]


def _value(value: float) -> str:
    return f"{value:.3f}".replace("-", "−") if abs(value) >= 0.01 or not value else signed(value)


def _document(found: _Found, files: dict[str, Path]) -> dict[str, Any]:
    form = found.form
    error = form.error
    return {
        "image": str(found.picture.source),
        "target": {"index": found.chosen.index, "name": found.chosen.name},
        "versus": found.rival,
        "score": float(form.score),
        "exact": form.exact,
        "residual": float(form.residual) if form.residual is not None else None,
        "linearisation_error": None
        if error is None
        else {"size": error.size, "relative": float(error.relative)},
        "region": None if found.region is None else asdict(found.region),
        "layers": [
            {
                "layer": name,
                "bias": float(at.bias),
                "bias_ratio": float(at.bias_ratio),
                "bias_share": float(at.bias_share),
            }
            for name, at in found.layers.items()
        ],
        "owners": [_owner(o) for o in found.owners],
        "files": files,
    }


def _owner(o: Owner) -> dict[str, Any]:
    return {
        "module": o.module,
        "call": o.call,
        "operator": o.operator,
        "kind": o.kind,
        "amount": float(o.amount),
        "channels": None if o.channels is None else o.channels[0].tolist(),
    }
