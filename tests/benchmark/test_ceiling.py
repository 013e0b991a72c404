"""Ceiling: what the world's own map gets, in the table and only where that means something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL.Image import Transpose
from tests.benchmark.make import by_key, pictures, recipe, scenes
from torch import Tensor

from relprop.benchmark.ceiling import WORLD, ceilings, game_of, with_ceiling
from relprop.benchmark.run import run
from relprop.benchmark.tabled import table_of
from relprop.benchmark.worker import Worker
from relprop.datasets import Sample, SceneSamples
from relprop.metrics import Case, Energy, Metric, ObjectDiscrimination, PointingGame, held, world_map

METRICS: list[Any] = [
    {"name": "energy", "region": "masks", "within": 3, "label": "masks"},
    {"name": "energy", "label": "boxes"},
    {"name": "odi", "region": "masks"},
    "removed-parts",
    {"name": "pointing-game", "tolerance": 3},
]
SAMPLES = SceneSamples(n=12, size=48, seed=3)


def prepared(image: Any) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def red_and_blue(x: Tensor) -> Tensor:
    return x.mean((2, 3))[:, [0, 2]]


def test_the_row_says_what_the_parts_hold(tmp_path: Path) -> None:
    data = {"name": "scenes", "n": 3, "seed": 3}
    given = scenes(tmp_path, 3, methods=["gradient-x-input", "center"], metrics=METRICS, data=data)
    done = run(given, tmp_path / "results.sqlite", workers=1)
    assert done.problems == ()
    table = table_of(done)
    assert (table.ceiling, table.methods[-1]) == (WORLD, WORLD)
    told = {c.id for c in table.columns if table.cell(WORLD, c).pairs}
    assert {
        "masks.inside",
        "odi.share",
        "removed-parts.rank",
        "removed-parts.sign",
        "removed-parts.top",
    } <= told
    # A box holds a part of the backdrop, and so does what lies within 3 pixels: what that is worth nobody knows.
    assert not any(c.startswith(("boxes", "masks.near", "pointing")) or c == "odi.even" for c in told)

    # A squared map is judged by the parts, too.
    squared = "gradient-x-input, squared"
    raised = [
        r for r in Worker(replace(given, controls=("squared",))).process(0).records if r.method == squared
    ]
    assert {r.metric for r in raised} == set(given.metric_labels)

    # The same numbers without the runner.
    worker = Worker(given)
    found = {k: r for k, r in by_key(done.records).items() if k[2] == WORLD}
    for index in range(3):
        sample = worker.data[index]
        game = game_of(sample, lambda image: worker.geometry.input(image), worker.model.module)
        assert game is not None
        assert sample.world is not None
        effects = game.effects()
        for label in sample.labels:
            own = [part.label == label for part in sample.world.parts]
            share = held(effects[:, label], own)
            seen = [part.pixels.any() for part in sample.world.parts]
            if all(seen) and share is not None:
                inside = found[sample.name, label, WORLD, "masks"].values["inside"]
                # Scores are float32, and the runner's pass through the network in other batches.
                assert inside == pytest.approx(share, rel=1e-5)
            assert game.scores([range(len(game.world))])[0] - game.scores([[]])[0] == pytest.approx(
                effects.sum(0), rel=1e-6, abs=1e-6
            )


def test_no_ceiling_where_nothing_is_drawn_or_nobody_asks(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "set")
    metrics: list[Any] = [{"name": "energy", "region": "auto"}, "removed-parts"]
    done = run(recipe(folder, metrics=metrics), tmp_path / "real.sqlite", workers=1)
    assert done.problems == ()
    table = table_of(done)
    assert table.ceiling == ""
    assert any(
        "Without any number, so not shown: Parts: sign; Parts: rank; Parts: top" in n for n in table.notes
    )
    drawn = scenes(tmp_path, 1, methods=["center"], metrics=METRICS, ceiling=False)
    assert WORLD not in {r.method for r in Worker(drawn).process(0).records}


def test_a_changed_picture_has_no_world() -> None:
    sample = SAMPLES[0]
    assert game_of(sample, prepared, red_and_blue) is not None
    turned = replace(sample, image=sample.image.transpose(Transpose.FLIP_TOP_BOTTOM))
    assert game_of(turned, prepared, red_and_blue) is None
    assert game_of(replace(sample, world=None), prepared, red_and_blue) is None


def other(sample: Sample) -> int:
    """A class with all its objects, beside others."""
    return next(label for label in sample.labels)


def test_which_metrics_have_one() -> None:
    sample = next(s for s in SAMPLES if len(s.labels) > 1)
    game = game_of(sample, prepared, red_and_blue)
    assert game is not None
    metrics: dict[str, Metric] = {
        "masks": Energy(region="masks", within=2),
        "boxes": Energy(region="boxes"),
        "odi": ObjectDiscrimination(region="masks"),
        "point": PointingGame(),
    }
    assert with_ceiling(metrics) == ("masks", "boxes", "odi")
    heat = world_map(game.world, game.effects()[:, 0])

    def told(label: int) -> dict[str, dict[str, float]]:
        return ceilings(metrics, Case(sample, label, heat, game=game))

    found = told(other(sample))
    assert set(found) == {"masks", "odi"}
    assert set(found["masks"]) == {"inside", "inside-pair"}
    # All objects together hold what each of them does.
    single = [told(c)["masks"]["inside"] for c in sample.masks or {}]
    assert told(-1)["masks"]["inside"] == pytest.approx(sum(single))
    assert ceilings({"point": PointingGame()}, Case(sample, 0, heat)) == {}


def test_a_model_that_fails_on_the_parts_is_a_problem(tmp_path: Path) -> None:
    given = scenes(tmp_path, 1, methods=["center"], metrics=METRICS[:1])
    worker = Worker(given)
    whole = worker.model.module.forward

    def only_one(x: Tensor) -> Tensor:
        if len(x) > 1:
            raise RuntimeError("one picture at a time")
        return whole(x)

    worker.model.module.forward = only_one  # type: ignore[method-assign]
    found = worker.process(0)
    assert {r.method for r in found.records} == {"center"}
    assert [(p.where, p.text) for p in found.problems] == [(WORLD, "RuntimeError: one picture at a time")]
