"""Pictures of a benchmark: bars, a sheet of maps, best and worst cases; and who computes what on a cluster."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from gallery_made import Made
from gallery_steps import steps
from matplotlib.figure import Figure

from relprop import benchmark
from relprop.benchmark.bars import bars_page
from relprop.benchmark.figures import figures
from relprop.benchmark.run import Finished

__all__ = ["pictures"]

#: What `relprop benchmark scenes --limit 24 --method ...` would run, as the pages say.
METHODS = ["gradient-x-input", "guided-backprop", "grad-cam", "lrp-composite", "clrp"]
LIMIT = 24


def pictures() -> Iterator[Made]:
    """A page's picture each."""
    yield Made(
        "benchmark-bars", "two columns of a benchmark, with controls and the ceiling", _bars, widest=1100
    )
    yield Made("benchmark-maps", "pictures × methods, as for a paper", partial(_drawn, "maps"), quality=62)
    yield Made(
        "benchmark-cases",
        "best and worst cases of a method",
        partial(_drawn, "cases-energy"),
        widest=1050,
        quality=72,
    )
    yield Made("cluster", "driver, actors, results", _cluster, lossless=True)


@cache
def _done() -> Finished:
    """The benchmark, run in a folder that stays until the process ends: its figures read from there."""
    _done.folder = tempfile.TemporaryDirectory()  # type: ignore[attr-defined]
    recipe = benchmark.read_recipe("scenes")
    methods = [entry for entry in recipe.methods if entry.method in METHODS]
    recipe = dataclasses.replace(recipe, methods=tuple(methods), limit=LIMIT)
    return benchmark.run(recipe, Path(_done.folder.name) / "results.sqlite", workers=1)  # type: ignore[attr-defined]


def _bars() -> Figure:
    table = dataclasses.replace(_done().table, notes=())
    wanted = ("Energy inside", "Parts: top")
    return bars_page(table, [next(c for c in table.columns if c.title == title) for title in wanted])


def _drawn(name: str) -> Figure:
    done = _done()
    return dict(figures(done, done.table, []))[name]()


def _cluster() -> Figure:
    return steps(
        [
            ["your machine cuts\nthe pictures into chunks"],
            [f"actor {n}: explains\nand measures a chunk" for n in ("1", "2", "3")],
            ["your machine writes\nnumbers and maps"],
            ["one results.sqlite,\nthe same table"],
        ]
    )
