"""Pictures explained: a contact sheet of targets and methods, and whether each explanation adds up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from relprop.bar import draws_bar
from relprop.catalogue import RECOMMENDED
from relprop.checks import parsed_scale
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.folder import version
from relprop.explanation.inquiry import Inquiry
from relprop.explanation.sheet import combination, contact_sheet
from relprop.explanation.warned import verdict
from relprop.methods.facts import facts_of
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike
from relprop.methods.registry import resolve as resolve_method
from relprop.models.classes import Prediction, resolve
from relprop.models.loaded import LoadedModel
from relprop.precision import full_precision
from relprop.propagate.names import class_index
from relprop.registry import slug
from relprop.reports.asked import Region, Spot, Value, read_region
from relprop.reports.hide_and_see import HideAndSee, hide_and_see, outputs_with_hidden, scores
from relprop.reports.place import PLACE_METHOD, PlaceAnswer, amounts_in, window_at
from relprop.reports.predictions import predictions_facts, predictions_table
from relprop.reports.report import Page, Report, gathered
from relprop.reports.sentence import nearly_nothing
from relprop.reports.sources import (
    Model,
    Picture,
    check_layers,
    check_places,
    folders,
    heading,
    listed,
    loaded,
    model_facts,
    read_pictures,
)
from relprop.reports.steps import Progress, Steps
from relprop.reports.text import Block, Table, Written, percent, remark_lines
from relprop.reports.works import Drawing, Numbers, Work
from relprop.tracing.view import Key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Conversation", "named_methods", "picture", "title_of"]

_SHEET, _TOLD = "sheet.png", "explain.json"
_COMBINED = {
    "contrast": (
        "†",
        "adds up before the contrast: the map is the difference of two that do, and sums to 0 or nearly",
    ),
    "product": (
        "‡",
        "adds up before the product: one of the two factors does, the map itself conserves nothing",
    ),
}
_HEADERS = ["method", "adds up", "largest error", "arrived", "bias", "stabiliser", "lost", "Σ|R|/start"]


@dataclass(frozen=True)
class _Asked:
    methods: Mapping[str, Method]  # by the name that stands over the column
    targets: Sequence[str]
    versus: str | None
    layers: Sequence[str]
    scale: Literal["symmetric", "shared"] | float
    top: int
    spot: Spot


@dataclass(frozen=True)
class _Found:
    picture: Picture
    predictions: list[Prediction]
    classes: list[str] | None
    targets: list[int]
    explanations: dict[str, Explanation]


@draws_bar()
@full_precision
def picture(
    model: Model,
    images: Any,
    *,
    method: MethodLike | Sequence[MethodLike] = RECOMMENDED,
    target: str | int | Sequence[str | int] = "top",
    layers: Sequence[str] = (),
    scale: str | float = "symmetric",
    versus: str | int | None = None,
    output: Key = None,
    region: Region = None,
    start: str | None = None,
    top: int = 5,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> Report:
    """Explain pictures: what `relprop explain` draws, prints and writes.

    A page a picture: one contact sheet (``sheet.png``; targets down, methods across) and a folder of numbers for
    each method.

    Args:
        model: a bundled model's name or another specification, what `relprop.models.load` or
            `relprop.models.sources.load_model` gives, a function without arguments that gives the latter, or a
            `torch.nn.Module`, whose inputs are then passed as tensors.
        images: one or several of: a file, a PIL picture, a finished input (1, C, H, W).
        method: one or several of: as for `relprop.explain`; "recommended" chooses by what is asked.
        target: one or several of: a class index or name, ``"top"``, ``"predicted"`` (every predicted class of a
            multi-label model).
        layers: names of layers whose relevance is kept, too.
        versus: a class index or name, whose score is taken off that of each target.
        output: which part of what the model returns is explained: a name, an index, or a function of it.
        region: of a model whose output is a map, the part whose scores are summed: a black and white picture
            of the pictures' size (white counts), which is resized and cut like them; a mask in the positions of
            the map; or "all".
        start: a layer or node that relevance starts at; targets are its channels.
        scale: colours of the sheet: ``"symmetric"`` (each map its own), ``"shared"``, or a number.
        top: predictions that are listed.
        out: a folder to which each picture's files are written once all its explanations are done.
        progress: True for a bar in a notebook or on a terminal; or a function of
            the steps done, their number, and what is being done.

    Raises:
        RelpropError: anything that can't be used. All pictures and methods are looked at before the model
            is loaded.

    >>> import relprop
    >>> report = picture("scenes-vgg", relprop.datasets.demo_image_path(), method=["lrp-epsilon", "gradient"])
    >>> list(report.figures), report.document["images"][0]["targets"]
    (['demo_scene/sheet.png'], [{'index': 1, 'name': 'dotted ball'}])
    """
    pictures = read_pictures(images)
    methods = named_methods(listed(method))
    targets = [str(one) for one in listed(target)]
    named = str(region) if isinstance(region, (str, Path)) else "" if region is None else "a mask"
    spot = Spot(output, start, read_region(region, pictures), named)
    asked = _Asked(
        methods, targets, None if versus is None else str(versus), layers, parsed_scale(scale), top, spot
    )
    places = folders(out, [one.source for one in pictures])
    sheets, numbers = _files(places, methods)
    check_places(out, [*sheets, *(place / _TOLD for place in places)], numbers)
    ready = loaded(model, pictures)
    if ready.takes_clips:
        raise InputError(
            f"Expected a model of pictures but {ready.spec} takes clips (N, C, T, H, W). Use relprop video."
        )
    check_layers(ready, pictures[0].input(ready), [*layers, *([] if start is None else [start])], output)
    steps = Steps(progress, len(pictures) * len(methods))

    def pages() -> Iterator[Page]:
        for one, folder in zip(pictures, places, strict=True):
            yield _page(ready, asked, folder, _explained(ready, asked, one, steps))

    return gathered(_head(ready), "images", pages(), out, told=_TOLD)


class Conversation:
    """Questions about one picture, one after another, which all read the same forward run.

    Its answers are those of `picture`; only the first one waits for the network. Up to a gigabyte is kept between
    answers: close it. One question at a time.

    Args:
        model: as for `picture`.
        image: one picture, as for `picture`.

    Raises:
        RelpropError: a picture or model that can't be used.

    >>> import relprop
    >>> with Conversation("scenes-resnet", relprop.datasets.demo_image_path()) as talk:
    ...     best = talk.predictions[0].name
    ...     report = talk.ask(method="lrp-composite", target=best)
    >>> best, list(report.figures)
    ('dotted ball', ['demo_scene/sheet.png'])
    """

    @full_precision
    def __init__(self, model: Model, image: Any) -> None:
        (self._picture,) = read_pictures(image)
        self.model = loaded(model, [self._picture])
        if self.model.takes_clips:
            raise InputError(
                f"Expected a model of pictures but {self.model.spec} takes clips (N, C, T, H, W)."
            )
        x = self._picture.input(self.model)
        self._value = Spot().value(self.model, self._picture, x)
        self.predictions: list[Prediction] = self._value.predictions
        self._x, self._maps = x, dict[int, torch.Tensor]()
        self._part: Callable[[int, int], None] = lambda done, total: None
        facts = replace(
            facts_of(self.model.module).fitting(x),
            classes=self._value.classes,
            progress=lambda done, total: self._part(done, total),
        )
        self._inquiry = Inquiry(self.model.module, x, self.predictions[0].index, facts=facts, several=True)

    @full_precision
    def ask(
        self,
        method: MethodLike | Sequence[MethodLike] = RECOMMENDED,
        target: str | int = "top",
        versus: str | int | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """What `picture` gives for these arguments.

        Raises:
            RelpropError: as `picture`.
        """
        methods = named_methods(listed(method))
        rival = None if versus is None else str(versus)
        asked = _Asked(methods, [str(target)], rival, (), "symmetric", 5, Spot())
        (folder,) = folders(None, [self._picture.source])
        targets, other = _classes(self.model, asked, self._value)
        self._inquiry.ask(_plain(targets), other)
        steps = Steps(progress, len(methods))
        self._part = steps.part
        found = _answered(asked, self._picture, self._value, targets, self._inquiry, steps, more=True)
        return gathered(
            _head(self.model), "images", [_page(self.model, asked, folder, found)], None, told=_TOLD
        )

    @full_precision
    def check(self, report: Report) -> list[HideAndSee]:
        """The hide-and-see check of each explanation in a report of `ask`; none where outputs are a map.

        >>> import relprop
        >>> with Conversation("scenes-resnet", relprop.datasets.demo_image_path()) as talk:
        ...     (check,) = talk.check(talk.ask())
        >>> check.holds  # and check.words
        True
        """
        found = list(report.numbers.values())
        if not found or found[0].outputs.ndim != 2 or self._x.ndim != 4:
            return []
        names, target = {p.index: p.name for p in self.predictions}, int(found[0].targets)
        versus = report.document["images"][0].get("versus")
        rival = None if versus is None else class_index(versus, len(names), self._value.classes)
        name = names[target] if rival is None else f"{names[target]} rather than {names[rival]}"
        return hide_and_see(self.model, self._x, [e.heatmap()[0] for e in found], target, name, rival)

    @full_precision
    def place(self, x: float, y: float, target: str | int = "top", classes: int = 6) -> PlaceAnswer:
        """Which classes a place of the picture speaks for and against.

        Args:
            x, y: 0 to 1, of the width and height of what the network sees.
            target: the class that is asked about; it is always among those compared.
            classes: how many of the best are compared.

        Raises:
            InputError: a place outside the picture, no such class, or outputs that are a map.

        >>> import relprop
        >>> with Conversation("scenes-resnet", relprop.datasets.demo_image_path()) as talk:
        ...     found = talk.place(0.3, 0.2)
        >>> found.amounts[0].name, found.window
        ('dotted ball', (27, 15, 41, 29))
        """
        window = window_at(x, y, *self._x.shape[2:])
        (asked,) = resolve([str(target)], self.predictions, self._value.classes, multi_label=False)
        if self._value.region is not None or self._x.ndim != 4 or math.isnan(self.predictions[0].score):
            raise InputError(
                "Expected a classifier of pictures: this model's outputs have places of their own."
            )
        wanted = dict.fromkeys([*(p.index for p in self.predictions[:classes]), asked])
        self._fill_maps([index for index in wanted if index not in self._maps])
        names = {p.index: p.name for p in self.predictions}
        compared = not self.model.multi_label and len(wanted) > 1
        maps = {index: self._maps[index] for index in wanted}
        amounts = amounts_in(window, maps, names, compared=compared)
        mask = torch.zeros(1, *self._x.shape[2:], dtype=torch.bool)
        mask[:, window[1] : window[3], window[0] : window[2]] = True
        outputs = outputs_with_hidden(self.model, self._x, mask, ["inpaint"])
        before, hidden = scores(self.model, outputs)[:, asked].tolist()
        return PlaceAnswer(window, amounts, compared, names[asked], before, hidden)

    def _fill_maps(self, missing: list[int]) -> None:
        if missing:
            self._inquiry.ask(missing)
            found: Any = self._inquiry.answer(resolve_method(PLACE_METHOD), last=False)
            self._maps |= dict(zip(missing, found.heatmap()[:, 0], strict=True))

    def close(self) -> None:
        """Let go of the forward run."""
        self._inquiry.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _head(model: LoadedModel) -> dict[str, Any]:
    return {
        "relprop": version(),
        "model": model_facts(model.spec, model.weights)
        | {"input_size": list(model.input_size), "multi_label": model.multi_label},
    }


def named_methods(methods: Sequence[MethodLike]) -> dict[str, Method]:
    """Each method once, by its text or name; configured ones of equal name get a number."""
    found: dict[str, Method] = {}
    for one in methods:
        recipe = resolve_method(one)  # a typing error shall not wait for the model
        if isinstance(one, str):
            found[one] = recipe
            continue
        count = 1 + sum(name.partition(" ")[0] == recipe.name for name in found)
        found[recipe.name if count == 1 else f"{recipe.name} {count}"] = recipe
    return found


def _files(places: Sequence[Path], methods: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """The sheets, and the folders of numbers."""
    names = [slug(name) for name in methods]
    return [place / _SHEET for place in places], [place / name for place in places for name in names]


def _explained(model: LoadedModel, asked: _Asked, picture: Picture, steps: Steps) -> _Found:
    x = picture.input(model)
    value = asked.spot.value(model, picture, x)
    targets, rival = _classes(model, asked, value)
    with Inquiry(
        model.module,
        x,
        _plain(targets),
        layers=tuple(asked.layers),
        versus=rival,
        region=value.region,
        start=asked.spot.start,
        output=asked.spot.output,
        facts=replace(facts_of(model.module).fitting(x), progress=steps.part, classes=value.classes),
        several=len(asked.methods) > 1,
    ) as inquiry:
        return _answered(asked, picture, value, targets, inquiry, steps)


def _classes(model: LoadedModel, asked: _Asked, value: Value) -> tuple[list[int], int | None]:
    """The classes that are asked about, and the one whose score is taken off."""
    found, names = value.predictions, value.classes
    rival = None if asked.versus is None else class_index(asked.versus, len(found), names)
    return resolve(asked.targets, found, names, model.multi_label), rival


def _plain(targets: list[int]) -> Any:
    """One target alone keeps the plain shapes. Several, and several methods, share one forward run."""
    return targets[0] if len(targets) == 1 else targets


def _answered(
    asked: _Asked,
    picture: Picture,
    value: Value,
    targets: list[int],
    inquiry: Inquiry,
    steps: Steps,
    *,
    more: bool = False,
) -> _Found:
    """What the methods say; `more`: the forward run is kept for further questions."""
    methods = list(asked.methods.items())
    for _, one in methods:
        inquiry.check(one)
    explanations = {}
    for i, (name, one) in enumerate(methods):
        steps.doing(f"{picture.name}: {name}")
        found_by: Any = inquiry.answer(one, last=not more and i + 1 == len(methods))
        explanations[name] = found_by
        steps.done()
    return _Found(picture, value.predictions, value.classes, targets, explanations)


def _page(model: LoadedModel, asked: _Asked, folder: Path, found: _Found) -> Page:
    colours = {"labels": found.classes, "scale": asked.scale, "mean": model.mean, "std": model.std}
    sheet = folder / _SHEET
    numbers = {name: folder / slug(name) for name in found.explanations}
    works: dict[Path, Work] = {
        numbers[name]: Numbers(explanation, **colours) for name, explanation in found.explanations.items()
    }
    works[sheet] = Drawing(partial(_sheet, model, asked, found))
    document = _document(model, asked, found, sheet, numbers)
    unclosed = any(e.ledger is not None and not e.ledger.closes for e in found.explanations.values())
    return Page(works, document, _text(model, asked, found, folder, sheet), unclosed)


def _sheet(model: LoadedModel, asked: _Asked, found: _Found) -> Figure:
    return contact_sheet(
        list(found.explanations.values()),
        labels=found.classes,
        scale=asked.scale,
        probability="sigmoid" if model.multi_label else "softmax",
        columns=[title_of(name, e) for name, e in found.explanations.items()],
        title=f"{found.picture.name} · {model.spec}",
        mean=model.mean,
        std=model.std,
    )


def _text(model: LoadedModel, asked: _Asked, found: _Found, folder: Path, sheet: Path) -> tuple[Block, ...]:
    together = " (all targets together)" if len(found.targets) > 1 else ""
    contrasts = any(_contrast(e) for e in found.explanations.values())
    made = {combination(e) for e in found.explanations.values()}
    kind = "" if asked.spot.start is not None else "sigmoid" if model.multi_label else "softmax"
    said = asked.spot.said()
    note = "* starts from relevance that sums to nearly 0 (a contrast): shares of its Σ|R|"
    return (
        heading(found.picture.source, model.spec, model.weights),
        *([f"Explained: {said}"] if said else []),
        "",
        predictions_table(found.predictions, asked.top, found.targets, kind),
        "",
        f"Where the relevance went, as shares of the explained output{together}:",
        Table(
            _HEADERS,
            [_ledger_row(title_of(name, e), e) for name, e in found.explanations.items()],
            range(2, 8),
        ),
        *([note] if contrasts else []),
        *(f"{sign} {said}" for word, (sign, said) in _COMBINED.items() if word in made),
        *remark_lines({name: (e.warnings, e.notes) for name, e in found.explanations.items()}),
        "",
        Written("Sheet (red: for the class, blue: against)", sheet),
        Written("Numbers, plans and ledgers", folder),
        "",
    )


def title_of(name: str, e: Explanation) -> str:
    """A method as it was asked for; and what it chose, where it is one that chooses."""
    return f"{name}: {e.method}" if name == RECOMMENDED else name


def _ledger_row(text: str, e: Explanation) -> list[str]:
    if e.ledger is None:
        gap, whole = (e.extras.get(key) for key in ("completeness_gap", "reference_difference"))
        word = verdict(None, e.relevance, e.targets)
        if isinstance(gap, torch.Tensor) and isinstance(whole, torch.Tensor):
            word = f"gap {percent(float(gap.abs().sum()), float(whole.abs().sum()))}"
        return [text, word, *["–"] * 6]
    s = e.ledger.summary()
    whole = float(s["start"])
    if _contrast(e):
        whole, text = _size(e), f"{text} *"
    shares = [percent(float(s[key]), whole) for key in ("input", "bias", "stabiliser", "lost")]
    text = f"{text} {_COMBINED[combination(e)][0]}" if combination(e) else text
    return [
        text,
        verdict(e.ledger, e.relevance, e.targets),
        f"{float(s['max_error']):.1e}",
        *shares,
        f"{float(s['growth']):.3g}",
    ]


def _size(e: Explanation) -> float:
    """Σ|R| at the start."""
    rows = () if e.ledger is None else e.ledger.rows
    return rows[0].absolute if rows else 0.0


def _contrast(e: Explanation) -> bool:
    """Whether the seed sums to nearly nothing, so that shares of its sum would mean nothing."""
    return e.ledger is not None and _size(e) > 0 and nearly_nothing(e.ledger)


def _document(
    model: LoadedModel, asked: _Asked, found: _Found, sheet: Path, numbers: Mapping[str, Path]
) -> dict[str, Any]:
    names = {p.index: p.name for p in found.predictions}
    return {
        "image": str(found.picture.source),
        "predictions": predictions_facts(found.predictions, asked.top),
        "targets": [{"index": i, "name": names[i]} for i in found.targets],
        **asked.spot.facts(),
        **({} if asked.versus is None else {"versus": asked.versus}),
        "sheet": sheet,
        "explanations": [
            {
                "method": e.method,
                "asked": name,
                "settings": e.settings,
                "extras": e.extras,
                "relevance_sum": _sums(e),
                "layers": {layer: list(t.shape) for layer, t in e.layers.items()},
                "ledger": None if e.ledger is None else e.ledger.summary(),
                "adds_up": verdict(e.ledger, e.relevance, e.targets),
                "warnings": e.warnings,
                "notes": e.notes,
                "folder": numbers[name],
            }
            for name, e in found.explanations.items()
        ],
    }


def _sums(e: Explanation) -> list[float]:
    """Total relevance of each target."""
    rows = e.relevance.double().reshape(e.targets.numel(), -1)
    return [float(total) for total in rows.sum(dim=1)]
