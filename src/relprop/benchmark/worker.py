"""Worker: computes chunks of a benchmark; each process that helps has one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from relprop.benchmark.baselines import Baseline, View, baseline, seeded
from relprop.benchmark.ceiling import WORLD, ceilings, game_of
from relprop.benchmark.classes import ClassMap
from relprop.benchmark.controls import raised
from relprop.benchmark.job import Asked, ChunkResult, Job, PictureJob
from relprop.benchmark.keys import data_key, model_key
from relprop.benchmark.maps import Maps
from relprop.benchmark.one_run import OneRun, map_of, maps_at, maps_on
from relprop.benchmark.packed import as_kept, packed, unpacked
from relprop.benchmark.recipe import MethodEntry, Recipe
from relprop.benchmark.record import KeptMap, Pair, Problem, Record
from relprop.benchmark.rows import Rows
from relprop.benchmark.seen import ModelSeen, check_same
from relprop.benchmark.subject import (
    as_asked,
    as_seen,
    asks_the_model,
    check_takes,
    class_map_of,
    geometry_of,
    load_subject,
    scores_of,
    threads,
)
from relprop.datasets.data_set import DataSet
from relprop.datasets.registry import load_dataset
from relprop.datasets.sample import EVERYTHING, Sample
from relprop.errors import InputError, RelpropError
from relprop.explanation.inquiry import Inquiry
from relprop.methods.method import Method
from relprop.metrics.metric import Case, Needs
from relprop.metrics.part_game import PartGame, world_map
from relprop.models.geometry import Geometry
from relprop.models.loaded import LoadedModel
from relprop.own_file import code_of
from relprop.precision import full_precision
from relprop.shortage import give_back_memory

__all__ = ["Worker"]


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
        self.rows = Rows(recipe)
        self.kept: Path | None = None
        self.pairs: Mapping[str, tuple[Pair, ...]] = {}
        # Without an earlier run the model is loaded, and refused, now; and where pictures are chosen by it.
        if data is None and (seen is None or asks_the_model(self.data)):
            _ = self.seen
            self.data = as_seen(recipe, self.data, self._loaded, self.geometry, self.classes)
            check_takes(self.model, self.data, self.geometry)
        self.indices = _drawn(len(self.data), recipe)

    @cached_property
    def model(self) -> LoadedModel:
        """The model that is explained: the recipe's, or what is left of it where it is disconnected.

        Raises:
            InputError: it isn't the one that was seen, or can't be disconnected.
        """
        return as_asked(self.recipe, self._loaded, self.data, self.geometry)

    @cached_property
    def _loaded(self) -> LoadedModel:
        """The recipe's model."""
        model = load_subject(self.recipe, self._device)
        if self._before is not None:
            check_same(self._before, self._looked_at(model), self.recipe.model.spec)
        return model

    @cached_property
    def seen(self) -> ModelSeen:
        """What has to be known of the model where it isn't loaded."""
        return self._looked_at(self._loaded) if self._before is None else self._before

    def _looked_at(self, model: LoadedModel) -> ModelSeen:
        return ModelSeen.of(
            self.recipe,
            model,
            geometry_of(self.recipe.model, model),
            class_map_of(self.recipe, model, self.data),
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
            job = Job(job, tuple(PictureJob(index, self.rows.asked) for index in self.chunked[job]))
        found = _Found()
        with threads(self.recipe.threads):
            ready = [p for p in (self._picture(part, found) for part in job.parts) if p is not None]
            for group in self._groups(ready):
                with self._asking(group) as asking:
                    for label in self.rows.methods:
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
        found, base = _Found(), self.rows.base(method)
        kept = {} if needs == "explanation" else self._kept(image, base)
        part = PictureJob(list(self.data.names).index(image), {}, self.pairs.get(image), kept)
        with threads(self.recipe.threads):
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
            with suppress(RelpropError), Maps(self.kept, None, self.rows.map_keys) as maps:
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
            scores = scores_of(self.model.module(picture.x), self.model.classes)
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
        asked = {name: self.rows.metrics[name] for name in picture.asked.get(WORLD, ())}
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
            explained = tuple(label for label in self.rows.methods if self._explains(picture, label))
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
        if not wanted or isinstance(self.rows.methods[label][1], Baseline):
            return False
        there = all((label, pair.label) in picture.maps for pair in picture.pairs)
        return not there or self._needs(wanted) == "explanation"

    def _wanted(self, picture: _Picture, label: str) -> Asked:
        """Rows made of a method's maps -> what is asked of them."""
        return {row: metrics for row, metrics in picture.asked.items() if self.rows.base(row) == label}

    def _needs(self, wanted: Asked) -> Needs:
        """The most that any metric needs."""
        needs = {self.rows.metrics[name].needs for metrics in wanted.values() for name in metrics}
        return "explanation" if "explanation" in needs else "model" if "model" in needs else "heat"

    def _judge(self, group: list[_Picture], label: str, asking: OneRun, found: _Found) -> None:
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
            metric = self.rows.metrics[label]
            try:
                values = metric.measure(case.limited(metric.needs))
            except Exception as error:
                found.problems.append(Problem(name, f"{row} / {label}", _said(error)))
                continue
            found.records.append(Record(name, case.label, row, label, values, case.subsets))

    def _cases(
        self, group: list[_Picture], label: str, needs: Needs, asking: OneRun, found: _Found
    ) -> Iterator[tuple[tuple[int, int], Case]]:
        """((row, target's place), case) of every class of every picture of a group, with what is needed in it."""
        entry, method = self.rows.methods[label]
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
                        values = as_kept(map_of(answer, entry, k, row))
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

    def _asking(self, group: list[_Picture]) -> OneRun:
        """All classes of all pictures of a group: relevance (K, N, C, ...); short lists repeat their first."""
        most = max(len(p.targets) for p in group)
        rows = [[*p.targets, *[p.targets[0]] * (most - len(p.targets))] for p in group]
        targets = [torch.tensor(column) for column in zip(*rows, strict=True)]

        def inquiry() -> Inquiry:
            x = torch.cat([p.x for p in group])
            return Inquiry(self.model.module, x, targets, facts=self.model.facts, several=True)

        return OneRun(inquiry)

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
            known[net] = maps_on(net, self.model, picture.x, picture.targets, entry, method)
        return known[net][k]

    def _at(self, target: int, entry: MethodEntry, method: Method, x: Tensor) -> Tensor:
        """The maps (N, h, w) of a target at other inputs (N, C, h, w)."""
        return maps_at(x, self.model, target, entry, method, self.recipe.batch)

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


def _drawn(count: int, recipe: Recipe) -> list[int]:
    """Indices of the pictures that the recipe takes, in the data set's order."""
    if not recipe.limit or recipe.limit >= count:
        return list(range(count))
    order = np.random.Generator(np.random.PCG64(recipe.seed)).permutation(count)
    return sorted(order[: recipe.limit].tolist())
