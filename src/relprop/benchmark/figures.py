"""Figures: what is drawn of a finished benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.benchmark.columns import Column
from relprop.benchmark.legend import shown as shown_value
from relprop.benchmark.run import Finished
from relprop.benchmark.table import Table
from relprop.errors import unknown_name
from relprop.metrics.metric import Case
from relprop.metrics.randomisation import Randomisation
from relprop.metrics.region import Truth, truth_of
from relprop.registry import slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relprop.benchmark.cases_sheet import ShownCase

__all__ = ["figures"]

_SHOWN = 3  # best and worst cases a sheet
_MAPS = 4  # pictures in the figure of maps


def figures(
    done: Finished, table: Table, pictures: Sequence[str] = ()
) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Names of files without their endings, and what draws them.

    Args:
        done: what to draw.
        table: of the same benchmark.
        pictures: names of those in the figure of maps; some drawn with the recipe's seed by default.

    Raises:
        UnknownNameError: a picture that wasn't judged.
    """
    from relprop.benchmark.bars import bars_page
    from relprop.benchmark.curves import curves

    if table.main:
        yield "bars", partial(bars_page, table)
    if chosen := _chosen(done, table, pictures):
        yield "maps", partial(_maps, done, table, chosen)
    for metric in dict.fromkeys(series.metric for series in table.series):
        random = isinstance(done.worker.rows.metrics[metric], Randomisation)
        along = "layers randomised, from the output to the input" if random else ""
        yield f"curves-{slug(metric)}", partial(curves, table, metric, along=along)
        if random:
            yield f"steps-{slug(metric)}", partial(_steps, done, metric)
    for column in _judged(done, table):
        yield f"cases-{slug(column.metric)}", partial(_cases, done, table, column)


def _judged(done: Finished, table: Table) -> list[Column]:
    """The first column of each metric that looks at a region and has a number of a method, not of a baseline."""
    first: dict[str, Column] = {}
    for column in table.columns:
        regional = hasattr(done.worker.rows.metrics[column.metric], "region")
        if column.better and column.subset == "all" and regional and _best(table, column):
            first.setdefault(column.metric, column)
    return list(first.values())


def _best(table: Table, column: Column) -> str | None:
    """The best method in a column that is no control and has a number there."""
    order = [*table.best(column), *table.judged]
    return next((m for m in order if table.cell(m, column).pairs), None)


def _cases(done: Finished, table: Table, column: Column) -> Figure:
    """Best and worst pairs of the best method in a column, drawn once more."""
    from relprop.benchmark.cases_sheet import case_sheet

    method = _best(table, column)
    assert method is not None  # or the sheet wasn't asked for
    found = [
        (r.values[column.key], r.image, r.label)
        for r in done.records
        if r.method == method and r.metric == column.metric and column.key in r.values
    ]
    found.sort(reverse=column.better == "higher")
    count = min(_SHOWN, len(found) // 2 or 1)
    groups = {"best": found[:count], "worst": found[-count:][::-1] if len(found) > 1 else []}
    shown = {
        word: [_shown(done, column, method, image, label, value) for value, image, label in group]
        for word, group in groups.items()
        if group
    }
    return case_sheet(shown, title=f"{method}: best and worst by {column.title}")


def _shown(done: Finished, column: Column, method: str, image: str, label: int, value: float) -> ShownCase:
    from relprop.benchmark.cases_sheet import ShownCase

    sample, heat, case = done.worker.maps(image, label, method, needs="heat")
    region, kind = _region(case, getattr(done.worker.rows.metrics[column.metric], "region", "auto"))
    return ShownCase(
        title=f"{_named(done, label)} in {image}",
        picture=np.asarray(sample.image, dtype=np.float64) / 255.0,
        heat=heat,
        region=region,
        kind=kind,
        lines=(f"{column.title} {shown_value(value, column.percent)}",),
        signed=case.signed,
    )


def _named(done: Finished, label: int) -> str:
    return done.worker.data.classes[label] if label >= 0 else "all objects"


def _region(case: Case, truth: Truth) -> tuple[NDArray[np.bool_] | None, str]:
    """The region that a metric looks at, and what it is."""
    boxed = truth in ("boxes", "auto") and case.region("boxes") is not None
    return truth_of(case, truth)[0], "box" if boxed else "mask"


def _chosen(done: Finished, table: Table, pictures: Sequence[str]) -> list[tuple[str, int]]:
    """Pairs (picture, class) for the figure of maps: all methods have one of each."""
    held: dict[tuple[str, int], set[str]] = {}
    for record in done.records:
        held.setdefault((record.image, record.label), set()).add(record.method)
    own = set(_explained(done, table))
    whole = [pair for pair, methods in held.items() if own and own <= methods]
    if pictures:
        names = {image for image, _ in whole}
        for name in pictures:
            if name not in names:
                raise unknown_name("picture that every method explained", name, names)
        return [next(pair for pair in whole if pair[0] == name) for name in pictures]
    order = np.random.default_rng(done.recipe.seed).permutation(len(whole)).tolist()
    # One class of a picture, and as many classes as there are pictures to show.
    chosen: list[tuple[str, int]] = []
    for fresh in (True, False):
        for k in order:
            image, label = whole[k]
            seen = label in {c for _, c in chosen} if fresh else False
            if len(chosen) < _MAPS and not seen and image not in {i for i, _ in chosen}:
                chosen.append((image, label))
    return chosen


def _explained(done: Finished, table: Table) -> list[str]:
    """Methods of the table that explained anything."""
    drawn = {record.method for record in done.records}
    return [m for m in table.judged if m in drawn]


def _maps(done: Finished, table: Table, pairs: Sequence[tuple[str, int]]) -> Figure:
    """Every method's map of some pictures, drawn once more."""
    from relprop.benchmark.maps_sheet import ShownMaps, maps_sheet

    methods, rows = _explained(done, table), []
    for image, label in pairs:
        maps = {m: done.worker.maps(image, label, m, needs="heat") for m in methods}
        sample, _, case = maps[methods[0]]
        region, kind = _region(case, "auto" if sample.region(label, "masks") is None else "masks")
        rows.append(
            ShownMaps(
                _named(done, label),
                np.asarray(sample.image, dtype=np.float64) / 255.0,
                {m: heat for m, (_, heat, _) in maps.items()},
                frozenset(m for m, (_, _, case) in maps.items() if not case.signed),
                region,
                kind,
            )
        )
    shown = ", ".join(image for image, _ in pairs)
    return maps_sheet(rows, methods, notes=[f"{table.title}; shown: {shown}."])


def _steps(done: Finished, label: str) -> Figure:
    """Every method's maps of one picture while the network is randomised, drawn once more."""
    from relprop.benchmark.cases_sheet import ShownSteps, randomisation_sheet

    worker, metric = done.worker, done.worker.rows.metrics[label]
    assert isinstance(metric, Randomisation)
    image, target = next((r.image, r.label) for r in done.records if r.metric == label and r.values)
    rows = []
    for method in done.recipe.method_labels:
        sample, heat, case = worker.maps(image, target, method, needs="model")
        assert case.model is not None
        assert case.x is not None
        assert case.explain is not None
        found = {
            path: worker.geometry.back(case.explain(network), sample.size)
            for _, path, network in metric.compared(case.model, case.x)
        }
        picture = np.asarray(sample.image, dtype=np.float64) / 255.0
        rows.append(ShownSteps(method, picture, heat, found, signed=case.signed))
    return randomisation_sheet(rows, title=f"{image}: maps as the network is randomised ({metric.mode})")
