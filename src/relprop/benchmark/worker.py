"""Worker: computes chunks of a benchmark; each process that helps has one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from relprop.benchmark.baselines import BASELINES, Baseline, View, baseline, seeded
from relprop.benchmark.ceiling import WORLD, ceilings, game_of, with_ceiling
from relprop.benchmark.classes import ClassMap, are_wordnet_ids
from relprop.benchmark.controls import raised, squared_label, squares
from relprop.benchmark.disconnected import disconnected
from relprop.benchmark.job import Asked, ChunkResult, Job, PictureJob
from relprop.benchmark.keys import data_key, map_key, method_key, metric_key, model_key, world_key
from relprop.benchmark.maps import Maps
from relprop.benchmark.packed import as_kept, packed, unpacked
from relprop.benchmark.recipe import MethodEntry, ModelEntry, Recipe
from relprop.benchmark.record import KeptMap, Pair, Problem, Record
from relprop.benchmark.seen import ModelSeen, check_same
from relprop.datasets.data_set import DataSet, Viewer
from relprop.datasets.grids import Grids
from relprop.datasets.registry import load_dataset
from relprop.datasets.sample import EVERYTHING, Sample
from relprop.datasets.synsets import outputs_of
from relprop.errors import InputError, RelpropError
from relprop.explanation import Explanation
from relprop.explanation.explain import explanation_of
from relprop.explanation.inquiry import Inquiry
from relprop.methods.method import Method
from relprop.methods.registry import resolve
from relprop.metrics.metric import Case, Metric, Needs
from relprop.metrics.part_game import PartGame, world_map
from relprop.metrics.registry import load_metric
from relprop.models.geometry import Geometry
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import Preprocess
from relprop.models.sources import load_model
from relprop.own_file import code_of, split_file
from relprop.precision import full_precision
from relprop.registry import split_settings
from relprop.shortage import give_back_memory

__all__ = ["Worker", "load_metrics"]


@dataclass(eq=False)
class _Picture:
    """A picture that is ready to be judged.

    Attributes:
        sample: picture and truth.
        asked: what is wanted of it.
        pairs: its classes that the model knows.
        maps: (method, class) -> (h, w), of those that are kept.
        shown: (1, C, h, w), made when it is asked for: what the model's input shows, on the CPU.
        x: the same on the model's device, which has the model loaded.
        game: the parts of its world, if it is drawn, and what the model makes of them.
    """

    sample: Sample
    asked: Asked
    pairs: tuple[Pair, ...]
    maps: Mapping[tuple[str, int], Tensor]
    worker: Worker

    @cached_property
    def shown(self) -> Tensor:
        return self.worker.geometry.input(self.sample.image)

    @cached_property
    def x(self) -> Tensor:
        return self.worker.model.to_device(self.shown)

    @cached_property
    def game(self) -> PartGame | None:
        return self.worker.game(self.sample)

    @property
    def targets(self) -> list[int]:
        """The outputs that are explained."""
        return [pair.target for pair in self.pairs]


@dataclass(eq=False)
class _Found:
    """What came of a job so far."""

    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    pairs: dict[str, tuple[Pair, ...]] = field(default_factory=dict)
    maps: list[KeptMap] = field(default_factory=list)
    explained: set[str] = field(default_factory=set)


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
        seen: what an earlier run saw of this very model, which is then loaded when something needs it.
        data: the recipe's data set, where it is there already.

    Attributes:
        kept: the file with maps of earlier runs; None without one.
        pairs: picture -> what the model said of it, as far as it was asked.

    Raises:
        RelpropError: the recipe names something that isn't there or doesn't fit together.
    """

    def __init__(
        self, recipe: Recipe, device: str = "cpu", seen: ModelSeen | None = None, data: DataSet | None = None
    ) -> None:
        self.recipe, self._device, self._before = recipe, device, seen
        named = {**recipe.data, "name": recipe.located(recipe.data["name"])}
        self.data = load_dataset(**named) if data is None else data
        # Names first: a typing error shall not wait for the model.
        self.methods: dict[str, tuple[MethodEntry, Method | Baseline]] = {
            label: (entry, _method(recipe.located(entry.method)))
            for label, entry in zip(recipe.method_labels, recipe.rows, strict=True)
        }
        self.metrics = load_metrics(recipe)
        self._squares = squares(self.metrics) if recipe.squares else {}
        self._ceilings = with_ceiling(self.metrics) if recipe.ceiling else ()
        self.kept: Path | None = None
        self.pairs: Mapping[str, tuple[Pair, ...]] = {}
        # Without an earlier run the model is loaded, and refused, now; and where pictures are chosen by it.
        if data is None and (seen is None or _asks_the_model(self.data)):
            _ = self.seen
            self.data = _as_seen(recipe, self.data, self._loaded, self.geometry, self.classes)
            _check_takes(self.model, self.data, self.geometry)
        self.indices = _drawn(len(self.data), recipe)

    @cached_property
    def model(self) -> LoadedModel:
        """The model that is explained: the recipe's, or what is left of it where it is disconnected.

        Raises:
            InputError: it isn't the one that was seen, or can't be disconnected.
        """
        return _as_asked(self.recipe, self._loaded, self.data, self.geometry)

    @cached_property
    def _loaded(self) -> LoadedModel:
        """The recipe's model."""
        model = _load(self.recipe, self._device)
        if self._before is not None:
            check_same(self._before, self._looked_at(model), self.recipe.model.spec)
        return model

    @cached_property
    def seen(self) -> ModelSeen:
        """What has to be known of the model where it isn't loaded."""
        return self._looked_at(self._loaded) if self._before is None else self._before

    def _looked_at(self, model: LoadedModel) -> ModelSeen:
        return ModelSeen.of(
            self.recipe, model, _geometry(self.recipe.model, model), _class_map(self.recipe, model, self.data)
        )

    @cached_property
    def geometry(self) -> Geometry:
        """How a picture becomes an input, and a map lies on the picture."""
        return self.seen.geometry

    @cached_property
    def classes(self) -> ClassMap:
        """Which outputs of the model stand for which classes of the data set."""
        return self.seen.classes

    @property
    def device(self) -> str:
        """Where the model runs, or would run."""
        return self._device

    @property
    def pictures(self) -> int:
        """Number of pictures that the recipe takes."""
        return len(self.indices)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.pictures // self.recipe.chunk)

    @property
    def chunked(self) -> list[list[int]]:
        """Pictures (places in the data set) by chunk."""
        step = self.recipe.chunk
        return [self.indices[i : i + step] for i in range(0, self.pictures, step)]

    @cached_property
    def asked(self) -> Asked:
        """Row -> the metrics that it is judged by: all rows that the recipe can have in its table."""
        found = {}
        for label, (_, method) in self.methods.items():
            first = label == self.recipe.method_labels[0]
            found[label] = tuple(
                name for name, metric in self.metrics.items() if first or not metric.of_model
            )
            if self._is_squared(label, method):
                found[squared_label(label)] = tuple(self._squares)
        if self._ceilings:
            found[WORLD] = self._ceilings
        return found

    def _is_squared(self, label: str, method: Method | Baseline) -> bool:
        """Whether the method's map is judged once more, squared."""
        return bool(self._squares) and isinstance(method, Method) and self.methods[label][0].power == 1

    def base(self, row: str) -> str:
        """The label of the method whose maps a row is made of; the world makes its own."""
        return row if row in self.methods or row == WORLD else self._squared_of[row]

    @cached_property
    def _squared_of(self) -> dict[str, str]:
        return {squared_label(label): label for label in self.methods}

    @cached_property
    def row_keys(self) -> dict[str, str]:
        """Row -> what its numbers depend on, see `relprop.benchmark.keys`."""
        found = {}
        for row in self.asked:
            if row == WORLD:
                found[row] = world_key()
                continue
            entry, method = self.methods[self.base(row)]
            entry = entry if row in self.methods else replace(entry, power=2.0)
            found[row] = method_key(self.recipe, entry, seeded=isinstance(method, Baseline))
        return found

    @cached_property
    def map_keys(self) -> dict[str, str]:
        """Method -> what its maps depend on. A baseline's are drawn quicker than read."""
        return {
            label: map_key(self.recipe, entry)
            for label, (entry, method) in self.methods.items()
            if isinstance(method, Method)
        } | {WORLD: world_key()}

    @cached_property
    def metric_keys(self) -> dict[str, str]:
        """Metric -> what its numbers depend on."""
        entries = zip(self.recipe.metric_labels, self.recipe.metrics, strict=True)
        return {label: metric_key(self.recipe, entry) for label, entry in entries}

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
        """What everything depends on, whatever the methods and metrics: data, model, targets, version."""
        from importlib.metadata import version

        return {
            "data": data_key(self.recipe, self.data),
            "model": model_key(self.recipe),
            "weights": self.seen.weights,
            "labels": self.seen.labels,
            "code": code_of(self.recipe.located(self.recipe.model.spec)),
            "targets": self.recipe.targets,
            "version": version("relprop"),
        }

    @full_precision
    def process(self, job: Job | int) -> ChunkResult:
        """Measure what is asked of the pictures of one chunk; all there is on a chunk that is given by number.

        What fails is a `Problem` of its picture: a damaged file, a method that refuses the model, a metric
        that can't be had. The rest goes on.
        """
        begin = time.perf_counter()
        if isinstance(job, int):
            job = Job(job, tuple(PictureJob(index, self.asked) for index in self.chunked[job]))
        found = _Found()
        with _threads(self.recipe.threads):
            ready = [p for p in (self._picture(part, found) for part in job.parts) if p is not None]
            for group in self._groups(ready):
                with self._asking(group) as asking:
                    for label in self.methods:
                        self._judge(group, label, asking, found)
                for picture in group:
                    self._judge_ceiling(picture, found)
        give_back_memory()
        return ChunkResult(
            job.chunk,
            len(job.parts),
            time.perf_counter() - begin,
            tuple(found.records),
            tuple(found.problems),
            {self.data.names[part.index]: part.asked for part in job.parts},
            found.pairs,
            tuple(found.maps),
            len(found.explained),
        )

    @full_precision
    def maps(
        self, image: str, label: int, method: str, needs: Needs = "explanation"
    ) -> tuple[Sample, NDArray[np.float64], Case]:
        """One explanation once more, to be drawn: the sample, its map on the picture, and the case.

        Args:
            image: the picture's name.
            label: the class.
            method: a row's label.
            needs: what is wanted of the case, see `Metric.needs`; nothing is explained where a kept map is enough.

        Raises:
            RelpropError: as `process` would have reported it.
        """
        found, base = _Found(), self.base(method)
        kept = {} if needs == "explanation" else self._kept(image, base)
        part = PictureJob(list(self.data.names).index(image), {}, self.pairs.get(image), kept)
        with _threads(self.recipe.threads):
            picture = self._picture(part, found)
            labels = [] if picture is None else [pair.label for pair in picture.pairs]
            if picture is None or label not in labels:
                why = f": {found.problems[0].text}" if found.problems else "."
                raise InputError(f"Expected to explain class {label} of '{image}' but it can't be done{why}")
            if base == WORLD:
                cases = dict(self._world_cases(picture, needs, found))
            else:
                with self._asking([picture]) as asking:
                    made = dict(self._cases([picture], base, needs, asking, found))
                cases = {k: case for (_, k), case in made.items()}
        if labels.index(label) not in cases:
            raise InputError(
                f"Expected {method} to draw class {label} of '{image}' but there is nothing to draw."
            )
        case = cases[labels.index(label)]
        if method != base:
            case = _squared(case)
        return picture.sample, case.heat, case

    def _kept(self, image: str, method: str) -> dict[tuple[str, int], bytes]:
        """Kept maps of a method on a picture; none where the file can't be read now."""
        if self.kept is not None and self.kept.exists():
            with suppress(RelpropError), Maps(self.kept, None, self.map_keys) as maps:
                return maps.of(image, [method])
        return {}

    def _picture(self, part: PictureJob, found: _Found) -> _Picture | None:
        name = self.data.names[part.index]
        try:
            sample = self.data[part.index]
        except Exception as error:  # a damaged file can make a decoder do anything
            found.problems.append(Problem(name, "data", _said(error)))
            return None
        maps = {}
        for where, data in part.maps.items():
            with suppress(RelpropError):  # a damaged one is made anew
                maps[where] = unpacked(data)
        picture = _Picture(sample, part.asked, part.pairs or (), maps, self)
        try:
            if part.pairs is None:
                picture.pairs = found.pairs[name] = self._pairs(picture)
            return picture
        except Exception as error:
            found.problems.append(Problem(name, "model", _said(error)))
            return None

    def _prepared(self, image: Image.Image) -> Tensor:
        """A picture as the model's input, (1, C, h, w)."""
        x: Tensor = self.model.to_device(self.geometry.input(image))
        return x

    def _pairs(self, picture: _Picture) -> tuple[Pair, ...]:
        """What the model says of the picture's classes."""
        with torch.no_grad():
            scores = _scores(self.model.module(picture.x), self.model.classes)
        wanted = [EVERYTHING] if self.recipe.targets == "top-1" else list(picture.sample.labels)
        return tuple(
            Pair(label, target, self.classes.predicts(label, scores))
            for label in wanted
            if (target := self.classes.target(label, scores)) is not None
        )

    def game(self, sample: Sample) -> PartGame | None:
        """The model's outputs with any of the parts of a drawn picture; None where it isn't drawn."""
        return game_of(sample, self._prepared, lambda x: self.model.module(x))

    def _judge_ceiling(self, picture: _Picture, found: _Found) -> None:
        """What the world's own map gets for every class of a drawn picture."""
        asked = {name: self.metrics[name] for name in picture.asked.get(WORLD, ())}
        if not asked:
            return
        name, needs = picture.sample.name, self._needs({WORLD: tuple(asked)})
        try:
            for _, case in self._world_cases(picture, needs, found):
                found.records += [
                    Record(name, case.label, WORLD, metric, values, case.subsets)
                    for metric, values in ceilings(asked, case).items()
                ]
        except Exception as error:
            found.problems.append(Problem(name, WORLD, _said(error)))

    def _world_cases(self, picture: _Picture, needs: Needs, found: _Found) -> Iterator[tuple[int, Case]]:
        """(target's place, case) with the world's own map; none where the picture isn't drawn."""
        for k, pair in enumerate(picture.pairs):
            values = picture.maps.get((WORLD, pair.label))
            if values is None:
                if picture.game is None:
                    return
                values = torch.from_numpy(
                    world_map(picture.game.world, picture.game.effects()[:, pair.target])
                )
                self._keep(picture, pair, WORLD, values, found)
            case = Case(
                sample=picture.sample,
                label=pair.label,
                heat=values.numpy(),
                predicted=pair.predicted,
                target=pair.target,
            )
            yield k, case if needs == "heat" else replace(case, game=picture.game)

    def _keep(self, picture: _Picture, pair: Pair, label: str, values: Tensor, found: _Found) -> None:
        found.explained.add(picture.sample.name)
        if self.recipe.maps:
            found.maps.append(KeptMap(picture.sample.name, pair.label, label, packed(values)))

    def _groups(self, ready: Sequence[_Picture]) -> Iterator[list[_Picture]]:
        """Pictures of one size with the same to explain, at most `batch` together, in a fixed order."""
        same: dict[tuple[Any, ...], list[_Picture]] = {}
        for k, picture in enumerate(ready):
            if not picture.pairs:
                continue
            explained = tuple(label for label in self.methods if self._explains(picture, label))
            alike = (
                (explained, tuple(picture.asked.items()), tuple(picture.shown.shape)) if explained else (k,)
            )
            same.setdefault(alike, []).append(picture)
        step = self.recipe.batch
        for group in same.values():
            yield from (group[i : i + step] for i in range(0, len(group), step))

    def _explains(self, picture: _Picture, label: str) -> bool:
        """Whether the method has to explain the picture for what is asked."""
        wanted = self._wanted(picture, label)
        if not wanted or isinstance(self.methods[label][1], Baseline):
            return False
        there = all((label, pair.label) in picture.maps for pair in picture.pairs)
        return not there or self._needs(wanted) == "explanation"

    def _wanted(self, picture: _Picture, label: str) -> Asked:
        """Rows made of a method's maps -> what is asked of them."""
        return {row: metrics for row, metrics in picture.asked.items() if self.base(row) == label}

    def _needs(self, wanted: Asked) -> Needs:
        """The most that any metric needs."""
        needs = {self.metrics[name].needs for metrics in wanted.values() for name in metrics}
        return "explanation" if "explanation" in needs else "model" if "model" in needs else "heat"

    def _judge(self, group: list[_Picture], label: str, asking: _Asking, found: _Found) -> None:
        """Judge the rows made of one method's maps, as asked of the first picture, and so of all."""
        wanted = self._wanted(group[0], label)
        if not wanted:
            return
        try:
            cases = list(self._cases(group, label, self._needs(wanted), asking, found))
        except Exception as error:
            if len(group) > 1:  # one picture must not take those beside it along
                for picture in group:
                    with self._asking([picture]) as alone:
                        self._judge([picture], label, alone, found)
            else:
                found.problems.append(Problem(group[0].sample.name, label, _said(error)))
            return
        for _, case in cases:
            for row, metrics in wanted.items():
                self._measure(case if row == label else _squared(case), row, metrics, found)

    def _measure(self, case: Case, row: str, metrics: Sequence[str], found: _Found) -> None:
        name = case.sample.name
        for label in metrics:
            metric = self.metrics[label]
            try:
                values = metric.measure(case.limited(metric.needs))
            except Exception as error:
                found.problems.append(Problem(name, f"{row} / {label}", _said(error)))
                continue
            found.records.append(Record(name, case.label, row, label, values, case.subsets))

    def _cases(
        self, group: list[_Picture], label: str, needs: Needs, asking: _Asking, found: _Found
    ) -> Iterator[tuple[tuple[int, int], Case]]:
        """((row, target's place), case) of every class of every picture of a group, with what is needed in it."""
        entry, method = self.methods[label]
        answer = None
        if isinstance(method, Method) and (
            needs == "explanation" or not all((label, c.label) in p.maps for p in group for c in p.pairs)
        ):
            answer = asking.explained(entry, method)
            found.explained.update(picture.sample.name for picture in group)
        for row, picture in enumerate(group):
            size = picture.sample.size
            again: dict[nn.Module, list[Tensor]] = {}
            for k, pair in enumerate(picture.pairs):
                # A baseline knows the input alone; a map takes its own way through the geometry.
                draw: Any
                at: Any
                if isinstance(method, Baseline):
                    drawn = self._baseline(method, picture, pair.label)
                    if drawn is None:
                        continue
                    values, draw = drawn, partial(_same, drawn)
                    at = partial(self._baseline_at, method, picture, pair.label)
                else:
                    at = partial(self._at, pair.target, entry, method)
                    draw = partial(self._again, picture, k, entry, method, again)
                    there = picture.maps.get((label, pair.label))
                    if there is None:
                        assert answer is not None
                        values = as_kept(_reduced(_relevance(answer, entry)[k, row], entry.reduce))
                        self._keep(picture, pair, label, values, found)
                    else:
                        values = there
                heat = raised(_smoothed(self.geometry.back(values, size), entry.smooth), entry.power)
                case = Case(
                    sample=picture.sample,
                    label=pair.label,
                    heat=heat,
                    signed=isinstance(method, Method) and method.signed and bool((values < 0).any()),
                    predicted=pair.predicted,
                    map=values,
                    target=pair.target,
                    multi_label=self.seen.multi_label,
                )
                if needs != "heat":
                    case = replace(
                        case,
                        x=picture.x,
                        model=self.model.module,
                        explain=draw,
                        explain_at=at,
                        game=picture.game,
                        explanation=answer,
                    )
                yield (row, k), case

    def _asking(self, group: list[_Picture]) -> _Asking:
        """All classes of all pictures of a group: relevance (K, N, C, ...); short lists repeat their first."""
        most = max(len(p.targets) for p in group)
        rows = [[*p.targets, *[p.targets[0]] * (most - len(p.targets))] for p in group]
        targets = [torch.tensor(column) for column in zip(*rows, strict=True)]

        def inquiry() -> Inquiry:
            x = torch.cat([p.x for p in group])
            return Inquiry(self.model.module, x, targets, facts=self.model.facts, several=True)

        return _Asking(inquiry)

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
        size = (picture.shown.shape[-2], picture.shown.shape[-1])
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


def _squared(case: Case) -> Case:
    """The case of the squared map, for metrics that hold it against a region."""
    return replace(
        case, heat=raised(case.heat, 2.0), map=None, explanation=None, explain=None, explain_at=None
    )


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


def _asks_the_model(data: DataSet) -> bool:
    """Whether the data set's pictures depend on the model."""
    return data.native or type(data).for_viewer is not DataSet.for_viewer


def _as_seen(
    recipe: Recipe, data: DataSet, model: LoadedModel, geometry: Geometry, classes: ClassMap
) -> DataSet:
    """The data set as the model's: its pictures may depend on the model, and may have to be shown as they are.

    Raises:
        InputError: another geometry than the data set needs, or what the data set itself refuses.
    """
    if data.native and geometry.mode != "native":
        raise InputError(
            f'Expected geometry = "native" for the data set {data.name}, whose pictures are made at the size '
            f"that they are shown at, but got {geometry.mode!r}."
        )
    return data.for_viewer(_viewer(recipe, model, geometry, classes))


def _as_asked(recipe: Recipe, model: LoadedModel, data: DataSet, geometry: Geometry) -> LoadedModel:
    """The model as it is asked about the data set's pictures.

    Raises:
        InputError: it is to be disconnected, and can't be, or the data set has no grids that ask one cell each.
    """
    how, places = recipe.model.disconnected, recipe.model.places
    if not how:
        if places:
            raise InputError('Expected disconnected = "full" or "part" with places but got places alone.')
        return model
    if not isinstance(data, Grids) or data.asked not in ("first", "last"):
        came = f"grids, asked = {data.asked!r}" if isinstance(data, Grids) else data.name
        raise InputError(
            'Expected the data set grids, asked = "first" or "last", for a disconnected model, whose head sees '
            f"one cell, but got {came}."
        )
    changed = disconnected(
        model.module,
        model.to_device(torch.zeros(1, len(model.mean), *geometry.preprocess.size)),
        how,
        side=data.side,
        cell=0 if data.asked == "first" else data.side**2 - 1,
        places=[place for place in map(str.strip, places.split(",")) if place],
    )
    return replace(model, module=changed)


def _check_takes(model: LoadedModel, data: DataSet, geometry: Geometry) -> None:
    """Refuse a model that doesn't take pictures which mustn't be resized."""
    if not data.native:
        return
    picture = data[0].image
    try:
        model.run(model.to_device(geometry.input(picture)))
    except InputError as error:
        height, width = geometry.preprocess.size
        raise InputError(
            f"Expected a model that takes pictures of any size (one that pools over all positions), for those of "
            f"{data.name} have {picture.height} x {picture.width} pixels; but {model.spec} takes no other than "
            f"{height} x {width}."
        ) from error


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
