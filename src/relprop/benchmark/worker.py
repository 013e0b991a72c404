"""Worker: computes chunks of a benchmark; each process that helps has one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from relprop.benchmark.baselines import BASELINES, Baseline, View, baseline, seeded
from relprop.benchmark.ceiling import WORLD, ceilings, game_of
from relprop.benchmark.classes import ClassMap, are_wordnet_ids
from relprop.benchmark.controls import raised, squared_label, squares
from relprop.benchmark.recipe import MethodEntry, ModelEntry, Recipe
from relprop.benchmark.record import Problem, Record
from relprop.benchmark.store import ChunkResult
from relprop.datasets.data_set import DataSet, Viewer
from relprop.datasets.registry import load_dataset
from relprop.datasets.sample import EVERYTHING, Sample
from relprop.datasets.synsets import outputs_of
from relprop.errors import InputError, RelpropError
from relprop.explanation import Explanation
from relprop.explanation.explain import explanation_of
from relprop.explanation.inquiry import Inquiry
from relprop.methods.method import Method
from relprop.methods.registry import resolve
from relprop.metrics.metric import Case, Metric
from relprop.metrics.part_game import PartGame
from relprop.metrics.registry import load_metric
from relprop.models.geometry import Geometry
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import Preprocess
from relprop.models.sources import load_model
from relprop.models.state import weights_digest
from relprop.own_file import code_of, split_file
from relprop.precision import full_precision
from relprop.registry import split_settings
from relprop.shortage import give_back_memory

__all__ = ["Worker", "load_metrics"]


@dataclass(eq=False)
class _Picture:
    """A picture that is ready to be explained."""

    sample: Sample
    x: Tensor  # (1, C, h, w)
    labels: list[int]
    targets: list[int]
    predicted: list[bool]
    game: PartGame | None = None


class _Asking:
    """One forward run for all methods, made when the first of them asks: baselines need none.

    Entries of a recipe that only treat a map otherwise (smoothed, summed up differently) and stand one behind the
    other share the explanation.
    """

    def __init__(self, make: Callable[[], Inquiry]) -> None:
        self._make = make
        self._made: Inquiry | None = None
        self._last: tuple[tuple[str, tuple[str, ...]], Explanation] | None = None

    def __enter__(self) -> _Asking:
        return self

    def __exit__(self, *_: object) -> None:
        if self._made is not None:
            self._made.close()

    def explained(self, entry: MethodEntry, method: Method) -> Explanation:
        """What a method says. A model that can't be run is refused anew for each of them."""
        asked = entry.method, _layers(entry)
        if self._last is not None and self._last[0] == asked:
            return self._last[1]
        self._last = None  # one explanation at a time
        if self._made is None:
            self._made = self._make()
        found: Any = self._made.answer(method, asked[1], last=False)
        self._last = asked, found
        answer: Explanation = found
        return answer


class Worker:
    """Data, model, methods and metrics of a recipe, loaded once.

    Args:
        recipe: what to compute.
        device: where the model runs.

    Raises:
        RelpropError: the recipe names something that isn't there or doesn't fit together.
    """

    def __init__(self, recipe: Recipe, device: str = "cpu") -> None:
        self.recipe = recipe
        self.data = load_dataset(**{**recipe.data, "name": recipe.located(recipe.data["name"])})
        # Names first: a typing error shall not wait for the model.
        self.methods: dict[str, tuple[MethodEntry, Method | Baseline]] = {
            label: (entry, _method(recipe.located(entry.method)))
            for label, entry in zip(recipe.method_labels, recipe.rows, strict=True)
        }
        self.metrics = load_metrics(recipe)
        self._squares = squares(self.metrics) if recipe.squares else {}
        self.model = _load(recipe, device)
        self.geometry = _geometry(recipe.model, self.model)
        self.classes = _class_map(recipe, self.model, self.data)
        self.data = _seen(recipe, self.data, self.model, self.geometry, self.classes)
        self.indices = _drawn(len(self.data), recipe)

    @property
    def pictures(self) -> int:
        """Number of pictures that the recipe takes."""
        return len(self.indices)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.pictures // self.recipe.chunk)

    @property
    def controls(self) -> tuple[str, ...]:
        """Labels of the rows that know nothing of what the network learned, or only sharpen another's map."""
        return tuple(
            label
            for label, (entry, method) in self.methods.items()
            if isinstance(method, Baseline) or entry.power != 1
        )

    @property
    def oracle(self) -> str:
        """Label of the row that was told the truth; "" where there is none."""
        told = (m for m, (_, made) in self.methods.items() if isinstance(made, Baseline) and made.oracle)
        return next(told, "")

    def facts(self) -> dict[str, str]:
        """What the results depend on: recipe, data, weights, class names, the model's own file, version."""
        from importlib.metadata import version

        return {
            "recipe": self.recipe.fingerprint(),
            "data": self.data.fingerprint(),
            "weights": weights_digest(self.model.module),
            # The file is named in the recipe; its lines say which output is asked.
            "labels": hashlib.sha256(repr(self.model.classes).encode()).hexdigest(),
            "code": _code(self.recipe),
            "version": version("relprop"),
        }

    @full_precision
    def process(self, chunk: int) -> ChunkResult:
        """Measure everything on the pictures of one chunk.

        What fails is a `Problem` of its picture: a damaged file, a method that refuses the model, a metric
        that can't be had. The rest goes on.
        """
        begin = time.perf_counter()
        records: list[Record] = []
        problems: list[Problem] = []
        first = chunk * self.recipe.chunk
        places = self.indices[first : first + self.recipe.chunk]
        with _threads(self.recipe.threads):
            ready = [p for p in (self._picture(k, problems) for k in places) if p is not None]
            for group in self._groups(ready):
                with self._asking(group) as asking:
                    for label, (entry, method) in self.methods.items():
                        self._judge(group, label, entry, method, asking, records, problems)
                for picture in group if self.recipe.ceiling else ():
                    self._ceiling(picture, records, problems)
        give_back_memory()
        return ChunkResult(chunk, len(places), time.perf_counter() - begin, tuple(records), tuple(problems))

    @full_precision
    def maps(self, image: str, label: int, method: str) -> tuple[Sample, NDArray[np.float64], Case]:
        """One explanation once more, to be drawn: the sample, its map on the picture, and the case.

        Raises:
            RelpropError: as `process` would have reported it.
        """
        problems: list[Problem] = []
        with _threads(self.recipe.threads):
            picture = self._picture(list(self.data.names).index(image), problems)
            if picture is None or label not in picture.labels:
                raise InputError(f"Expected to explain class {label} of '{image}' but it can't be done.")
            entry, recipe = self.methods[method]
            with self._asking([picture]) as asking:
                cases = dict(self._cases([picture], entry, recipe, asking))
        case = cases[0, picture.labels.index(label)]
        return picture.sample, case.heat, case

    def _picture(self, index: int, problems: list[Problem]) -> _Picture | None:
        name = self.data.names[index]
        try:
            sample = self.data[index]
        except Exception as error:  # a damaged file can make a decoder do anything
            problems.append(Problem(name, "data", _said(error)))
            return None
        try:
            x = self._prepared(sample.image)
            with torch.no_grad():
                scores = _scores(self.model.module(x), self.model.classes)
            wanted = [EVERYTHING] if self.recipe.targets == "top-1" else list(sample.labels)
            found = [(c, t) for c in wanted if (t := self.classes.target(c, scores)) is not None]
            return _Picture(
                sample,
                x,
                [c for c, _ in found],
                [t for _, t in found],
                [self.classes.predicts(c, scores) for c, _ in found],
                game_of(sample, self._prepared, self.model.module),
            )
        except Exception as error:
            problems.append(Problem(name, "model", _said(error)))
            return None

    def _prepared(self, image: Image.Image) -> Tensor:
        """A picture as the model's input, (1, C, h, w)."""
        x: Tensor = self.model.to_device(self.geometry.input(image))
        return x

    def _ceiling(self, picture: _Picture, records: list[Record], problems: list[Problem]) -> None:
        """What the world's own map gets for every class of a drawn picture."""
        if picture.game is None:
            return
        name = picture.sample.name
        for label, target, predicted in zip(picture.labels, picture.targets, picture.predicted, strict=True):
            try:
                found = ceilings(self.metrics, picture.sample, picture.game, label, target, predicted)
            except Exception as error:
                problems.append(Problem(name, WORLD, _said(error)))
                return
            records += [
                Record(name, label, WORLD, metric, values, case.subsets)
                for metric, (values, case) in found.items()
            ]

    def _groups(self, ready: Sequence[_Picture]) -> Iterator[list[_Picture]]:
        """Pictures of one size with something to explain, at most `batch` together, in a fixed order."""
        sizes: dict[tuple[int, ...], list[_Picture]] = {}
        for picture in ready:
            if picture.labels:
                sizes.setdefault(tuple(picture.x.shape), []).append(picture)
        step = self.recipe.batch
        for same in sizes.values():
            yield from (same[i : i + step] for i in range(0, len(same), step))

    def _judge(
        self,
        group: list[_Picture],
        label: str,
        entry: MethodEntry,
        method: Method | Baseline,
        asking: _Asking,
        records: list[Record],
        problems: list[Problem],
    ) -> None:
        try:
            cases = list(self._cases(group, entry, method, asking))
        except Exception as error:
            if len(group) > 1:  # one picture must not take those beside it along
                for picture in group:
                    with self._asking([picture]) as alone:
                        self._judge([picture], label, entry, method, alone, records, problems)
            else:
                problems.append(Problem(group[0].sample.name, label, _said(error)))
            return
        first = label == self.recipe.method_labels[0]
        asked = {k: m for k, m in self.metrics.items() if first or not m.of_model}
        for _, case in cases:
            self._measure(case, label, asked, records, problems)
            if self._squares and isinstance(method, Method) and entry.power == 1:
                heat = raised(case.heat, 2.0)
                sharper = replace(case, heat=heat, map=None, explanation=None, explain=None, explain_at=None)
                self._measure(sharper, squared_label(label), self._squares, records, problems)

    def _measure(
        self,
        case: Case,
        label: str,
        metrics: Mapping[str, Metric],
        records: list[Record],
        problems: list[Problem],
    ) -> None:
        name = case.sample.name
        for metric_label, metric in metrics.items():
            try:
                values = metric.measure(case)
            except Exception as error:
                problems.append(Problem(name, f"{label} / {metric_label}", _said(error)))
                continue
            records.append(Record(name, case.label, label, metric_label, values, case.subsets))

    def _cases(
        self, group: list[_Picture], entry: MethodEntry, method: Method | Baseline, asking: _Asking
    ) -> Iterator[tuple[tuple[int, int], Case]]:
        """((row, target's place), case) of every class of every picture of a group."""
        found = None if isinstance(method, Baseline) else asking.explained(entry, method)
        for row, picture in enumerate(group):
            size = picture.sample.size
            again: dict[nn.Module, list[Tensor]] = {}
            for k, label in enumerate(picture.labels):
                # A baseline knows the input alone; a map takes its own way through the geometry.
                draw: Any
                at: Any
                if found is None or isinstance(method, Baseline):
                    drawn = self._baseline(method, picture, label)
                    if drawn is None:
                        continue
                    values, draw = drawn, partial(_same, drawn)
                    at = partial(self._baseline_at, method, picture, label)
                else:
                    at = partial(self._at, picture.targets[k], entry, method)
                    values = _reduced(_relevance(found, entry)[k, row], entry.reduce)
                    draw = partial(self._again, picture, k, entry, method, again)
                heat = raised(_smoothed(self.geometry.back(values, size), entry.smooth), entry.power)
                yield (
                    (row, k),
                    Case(
                        sample=picture.sample,
                        label=label,
                        heat=heat,
                        signed=isinstance(method, Method) and method.signed and bool((values < 0).any()),
                        predicted=picture.predicted[k],
                        map=values.cpu(),
                        x=picture.x,
                        target=picture.targets[k],
                        model=self.model.module,
                        multi_label=self.model.multi_label,
                        explanation=found,
                        explain=draw,
                        explain_at=at,
                        game=picture.game,
                    ),
                )

    def _asking(self, group: list[_Picture]) -> _Asking:
        """All classes of all pictures of a group: relevance (K, N, C, ...); short lists repeat their first."""
        most = max(len(p.targets) for p in group)
        rows = [[*p.targets, *[p.targets[0]] * (most - len(p.targets))] for p in group]
        targets = [torch.tensor(column) for column in zip(*rows, strict=True)]
        x = torch.cat([p.x for p in group])
        return _Asking(lambda: Inquiry(self.model.module, x, targets, facts=self.model.facts, several=True))

    def _again(
        self,
        picture: _Picture,
        k: int,
        entry: MethodEntry,
        method: Method,
        known: dict[nn.Module, list[Tensor]],
        net: nn.Module,
    ) -> Tensor:
        """The map of the k-th target on another network; all targets are made at once and kept in `known`."""
        if net not in known:
            found = explanation_of(
                net, picture.x, picture.targets, method, _layers(entry), facts=self.model.facts
            )
            known[net] = [_reduced(r, entry.reduce).cpu() for r in _relevance(found, entry)[:, 0]]
        return known[net][k]

    def _at(self, target: int, entry: MethodEntry, method: Method, x: Tensor) -> Tensor:
        """The maps (N, h, w) of a target at other inputs (N, C, h, w), `batch` at a time."""
        maps = []
        for part in x.split(self.recipe.batch):
            found = explanation_of(
                self.model.module, part, target, method, _layers(entry), facts=self.model.facts
            )
            maps += [_reduced(r, entry.reduce).cpu() for r in _relevance(found, entry)]
        return torch.stack(maps)

    def _baseline_at(self, which: Any, picture: _Picture, label: int, x: Tensor) -> Tensor:
        """What a baseline draws where the model's input is another, (N, h, w)."""
        mean, std = (x.new_tensor(values)[:, None, None] for values in (self.model.mean, self.model.std))
        shown = (x * std + mean).clamp(0, 1).permute(0, 2, 3, 1).double().cpu().numpy()
        views = [np.array(np.broadcast_to(seen, (*seen.shape[:2], 3))) for seen in shown]
        drawn = [self._baseline(which, picture, label, view) for view in views]
        return torch.stack([d for d in drawn if d is not None])

    def _baseline(
        self, which: Any, picture: _Picture, label: int, seen: NDArray[np.float64] | None = None
    ) -> Tensor | None:
        """What a baseline draws for a class, (h, w), or None; in the picture `seen` (h, w, 3), if not its own."""
        size = (picture.x.shape[-2], picture.x.shape[-1])
        truth = picture.sample.region(label, "masks")
        if truth is None:
            truth = picture.sample.region(label, "boxes")
        view = View(
            size,
            seeded(self.recipe.seed, picture.sample.name, label),
            self.geometry.seen(picture.sample.image) if seen is None else seen,
            None if truth is None else self.geometry.seen_region(truth),
        )
        drawn = baseline(which, view)
        return None if drawn is None else torch.from_numpy(drawn)


def _same(values: Tensor, _: nn.Module) -> Tensor:
    """What a baseline draws on another network: the same."""
    return values


def load_metrics(recipe: Recipe) -> dict[str, Metric]:
    """The metrics of a recipe by label.

    Raises:
        InputError: an unknown metric or setting.
    """
    return {
        label: load_metric(recipe.located(entry.name), **_located(recipe, entry.settings))
        for label, entry in zip(recipe.metric_labels, recipe.metrics, strict=True)
    }


def _located(recipe: Recipe, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, with the path of the file where one is `file.py:Name`."""
    return {k: recipe.located(v) if isinstance(v, str) else v for k, v in settings.items()}


def _method(text: str) -> Method | Baseline:
    """The configured method or baseline."""
    name, settings = split_settings(text)
    if name in BASELINES:
        return BASELINES.make(name, settings)
    if split_file(name) is not None:
        own = BASELINES.find(name)
        if isinstance(own, type) and issubclass(own, Baseline):
            return BASELINES.make(name, settings)
    return resolve(text)


def _code(recipe: Recipe) -> str:
    """Hash of the files that the recipe names by `file.py:Name`; empty without any: our code has a version."""
    named = [
        recipe.model.spec,
        recipe.data["name"],
        *(entry.method for entry in recipe.rows),
        *(entry.name for entry in recipe.metrics),
        *(v for entry in recipe.metrics for v in entry.settings.values() if isinstance(v, str)),
    ]
    found = [code for code in map(code_of, map(recipe.located, named)) if code]
    return " ".join(dict.fromkeys(found))


def _load(recipe: Recipe, device: str) -> LoadedModel:
    entry = recipe.model
    model = load_model(
        recipe.located(entry.spec),
        weights=entry.weights,
        labels=entry.labels,
        size=entry.size,
        mean=entry.mean,
        std=entry.std,
        multi_label=entry.multi_label,
        random_weights=entry.random_weights,
        device=device,
    )
    if model.takes_clips:
        raise InputError(f"Expected a model of pictures but {entry.spec} takes clips.")
    return model


def _geometry(entry: ModelEntry, model: LoadedModel) -> Geometry:
    own = model.preprocess
    if not isinstance(own, Preprocess):
        own = Preprocess(model.input_size, model.mean, model.std)
    return Geometry(entry.geometry, own)  # type: ignore[arg-type]  # checked by the recipe


def _class_map(recipe: Recipe, model: LoadedModel, data: DataSet) -> ClassMap:
    rule = recipe.model.predicted
    if rule == "auto":
        rule = "sigmoid" if model.multi_label else "top-1"
    if recipe.targets == "top-1":
        return ClassMap((), rule)  # the likeliest output, whatever the data set calls its classes
    known = len(model.classes) if model.classes is not None else 0
    fits = known == 1000 and data.synsets != ""
    if recipe.model.classes == "synsets" or (recipe.model.classes == "auto" and fits):
        return ClassMap(tuple(outputs_of(data.classes, data.synsets or data.name, model.classes)), rule)
    if recipe.model.classes == "auto" and known in (0, 1000) and are_wordnet_ids(data.classes):
        return ClassMap.by_wordnet(data.classes, model.classes, rule)
    return ClassMap.by_name(data.classes, model.classes, rule)


def _seen(
    recipe: Recipe, data: DataSet, model: LoadedModel, geometry: Geometry, classes: ClassMap
) -> DataSet:
    """The data set as the model's: its pictures may depend on the model, and may have to be shown as they are.

    Raises:
        InputError: another geometry than the data set needs, or a model that doesn't take its pictures.
    """
    if data.native and geometry.mode != "native":
        raise InputError(
            f'Expected geometry = "native" for the data set {data.name}, whose pictures are made at the size '
            f"that they are shown at, but got {geometry.mode!r}."
        )
    found = data.for_viewer(_viewer(recipe, model, geometry, classes))
    if found.native:
        picture = found[0].image
        try:
            model.run(model.to_device(geometry.input(picture)))
        except InputError as error:
            height, width = geometry.preprocess.size
            raise InputError(
                f"Expected a model that takes pictures of any size (one that pools over all positions), for those "
                f"of {data.name} have {picture.height} x {picture.width} pixels; but {model.spec} takes no other "
                f"than {height} x {width}."
            ) from error
    return found


def _viewer(recipe: Recipe, model: LoadedModel, geometry: Geometry, classes: ClassMap) -> Viewer:
    """What a data set may ask the model, one picture at a time."""
    seen = geometry.preprocess

    @full_precision
    def confidence(picture: Image.Image, label: int) -> float:
        if recipe.targets == "top-1":
            raise InputError(
                'Expected targets = "labels" for a data set whose pictures are chosen by their classes but got '
                f"{recipe.targets!r}."
            )
        x = model.to_device(seen.scaled(picture, (picture.height, picture.width)))
        with torch.no_grad(), _threads(recipe.threads):
            scores = _scores(model.run(x), model.classes)
        return classes.confidence(label, scores, multi_label=model.multi_label)

    return Viewer(seen.cut, confidence)


def _drawn(count: int, recipe: Recipe) -> list[int]:
    """Indices of the pictures that the recipe takes, in the data set's order."""
    if not recipe.limit or recipe.limit >= count:
        return list(range(count))
    order = np.random.Generator(np.random.PCG64(recipe.seed)).permutation(count)
    return sorted(order[: recipe.limit].tolist())


def _layers(entry: MethodEntry) -> tuple[str, ...]:
    return (entry.at,) if entry.at else ()


def _relevance(found: Explanation, entry: MethodEntry) -> Tensor:
    return found.layers[entry.at] if entry.at else found.relevance


def _scores(outputs: Any, classes: Sequence[str] | None) -> Tensor:
    if not isinstance(outputs, Tensor) or outputs.dim() != 2:
        got = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(f"Expected a classifier with outputs (N, classes) but got {got}.")
    if classes is not None and len(classes) != outputs.shape[1]:
        raise InputError(
            f"Expected {outputs.shape[1]} class names, one an output, but got {len(classes)}. Pass others."
        )
    return outputs[0].detach().double().cpu()


def _reduced(relevance: Tensor, how: str) -> Tensor:
    """(C, h, w) -> (h, w)."""
    if relevance.dim() != 3:
        raise InputError(
            f"Expected relevance (C, h, w) for a map but got shape {tuple(relevance.shape)}. "
            "Name a place before the flattening (at = ...)."
        )
    if how == "max-abs":
        return relevance.abs().amax(0)
    total = relevance.sum(0)
    return total.clamp(min=0) if how == "positive" else total


def _smoothed(heat: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Gaussian blur with sigma = share of the longer side, edges repeated, cut at 4 sigma."""
    if not share:
        return heat
    from scipy.ndimage import gaussian_filter

    sigma = share * max(heat.shape)
    return np.asarray(gaussian_filter(heat, sigma, mode="nearest", radius=int(np.ceil(4 * sigma))))


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    known = isinstance(error, RelpropError)
    return text if known else f"{type(error).__name__}: {text}"


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many CPU threads inside the block: how a sum is split decides its last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
