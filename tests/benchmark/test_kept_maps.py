"""Kept maps: what is new is measured on them, what is old is not measured again, and the table is the same."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.benchmark.make import PICTURES, by_key, pictures, recipe, scenes
from tests.benchmark.test_run import CHILD

from relprop.benchmark import worker as worker_file
from relprop.benchmark.formats import to_csv
from relprop.benchmark.maps import Maps, beside_results
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.run import Finished, run
from relprop.benchmark.store import Store
from relprop.benchmark.tabled import table_of
from relprop.errors import InputError, RelpropError

METHODS: list[Any] = [
    "center",
    {"method": "gradient", "reduce": "max-abs", "smooth": 0.05},
    "lrp-epsilon",
    {"method": "lrp-composite", "at": "features.1"},
    "grad-cam",
]
POINTING = {"name": "pointing-game", "tolerance": 3}
METRICS: list[Any] = [POINTING, "miou", "energy"]
OTHERS: list[Any] = [
    {"name": "pointing-game", "tolerance": 1, "label": "close"},
    "rank-accuracy",
    {"name": "masking-fidelity", "top": 1},
    {"name": "perturbation", "steps": 3},
    {"name": "randomisation", "similarities": ["spearman"]},
    "bias-ratio",
    "ledger",
]


@pytest.fixture
def given(tmp_path: Path) -> Recipe:
    """A recipe whose weights lie in a file, so that the model can be told by it."""
    folder = pictures(tmp_path / "set")
    made = recipe(folder, methods=METHODS, metrics=METRICS, controls=["random", "squared"])
    net = worker_file.Worker(made).model.module
    torch.save(net.state_dict(), folder / "w.pth")
    return recipe(
        folder, methods=METHODS, metrics=METRICS, controls=["random", "squared"],
        model={"weights": str(folder / "w.pth")},
    )  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the model was loaded, run, and asked for explanations."""
    counts = {"loaded": 0, "run": 0, "explained": 0}
    load, inquiry = worker_file.load_subject, worker_file.Inquiry

    def loading(*given: Any) -> Any:
        counts["loaded"] += 1
        model = load(*given)
        model.module.register_forward_hook(lambda *_: counts.update(run=counts["run"] + 1))
        return model

    class Counting(inquiry):  # type: ignore[misc, valid-type]
        def answer(self, *given: Any, **more: Any) -> Any:
            counts["explained"] += 1
            return super().answer(*given, **more)

    monkeypatch.setattr(worker_file, "load_subject", loading)
    monkeypatch.setattr(worker_file, "Inquiry", Counting)
    return counts


def reset(counts: dict[str, int]) -> None:
    counts.update(dict.fromkeys(counts, 0))


@pytest.fixture
def metrics(given: Recipe, tmp_path: Path) -> Callable[..., Recipe]:
    """The recipe with other metrics."""
    folder = tmp_path / "set"

    def other(*named: Any) -> Recipe:
        return replace(given, metrics=recipe(folder, metrics=list(named)).metrics)

    return other


def csv(done: Finished) -> str:
    return to_csv(table_of(done))


def same(one: Finished, other: Finished) -> None:
    """The same measurements, bit by bit: maps are kept without loss."""
    assert by_key(one.records) == by_key(other.records)
    assert csv(one) == csv(other)
    assert one.problems == other.problems


def test_a_metric_that_looks_at_the_map_needs_no_model(
    given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path, asked: dict[str, int]
) -> None:
    first = run(given, tmp_path / "a.sqlite", workers=1)
    assert (first.computed, first.explained) == (7, 7)
    assert asked["explained"] > 0
    reset(asked)
    other = metrics(POINTING, "energy", *OTHERS[:2])
    second = run(other, tmp_path / "a.sqlite", workers=1)
    assert asked == {"loaded": 0, "run": 0, "explained": 0}
    assert (second.computed, second.explained) == (7, 0)
    same(second, run(other, tmp_path / "b.sqlite", workers=1))


def test_the_worlds_own_map_is_kept_too(tmp_path: Path, asked: dict[str, int]) -> None:
    def drawn(*metrics: Any) -> Recipe:
        weights = tmp_path / "w.pth"
        more = {"spec": f"{tmp_path / 'nets.py'}:scenes", "size": [32, 32], "labels": None}
        if not weights.exists():
            plain = scenes(tmp_path, 2)
            torch.save(worker_file.Worker(plain).model.module.state_dict(), weights)
        return recipe(
            tmp_path, data={"name": "scenes", "n": 2, "seed": 3}, methods=["gradient", "center"],
            metrics=list(metrics), model={**more, "weights": str(weights)},
        )  # fmt: skip

    masks = {"name": "energy", "region": "masks"}
    run(drawn(masks), tmp_path / "a.sqlite", workers=1)
    reset(asked)
    other = drawn({**masks, "within": 2}, {"name": "odi", "region": "masks"})
    done = run(other, tmp_path / "a.sqlite", workers=1)
    assert asked == {"loaded": 0, "run": 0, "explained": 0}
    whole = run(other, tmp_path / "b.sqlite", workers=1)
    same(done, whole)
    assert table_of(done).ceiling == "the world"
    _, heat, case = whole.worker.maps(done.records[0].image, done.records[0].label, "the world", needs="heat")
    assert (heat.shape, case.game) == ((112, 112), None)
    # What the world makes of a method's map needs the model, and nothing explained.
    reset(asked)
    other = drawn(masks, "removed-parts")
    done = run(other, tmp_path / "a.sqlite", workers=1)
    assert (asked["loaded"], asked["explained"]) == (1, 0)
    same(done, run(other, tmp_path / "b.sqlite", workers=1))


def test_a_setting_is_judged_again_and_no_other_metric(
    given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(given, tmp_path / "a.sqlite", workers=1)
    from relprop.metrics import Energy, MeanIoU

    def never(*_: object) -> None:
        raise AssertionError("measured again")

    for kind in (Energy, MeanIoU):
        monkeypatch.setattr(kind, "measure", never)
    done = run(metrics({**POINTING, "tolerance": 1}, "miou", "energy"), tmp_path / "a.sqlite", workers=1)
    assert done.problems == ()
    monkeypatch.undo()
    same(done, run(metrics({**POINTING, "tolerance": 1}, "miou", "energy"), tmp_path / "b.sqlite", workers=1))
    again = run(given, tmp_path / "a.sqlite", workers=1)  # what was measured before is still there
    assert again.computed == 0
    same(again, run(given, tmp_path / "c.sqlite", workers=1))


def test_every_kind_of_metric(
    given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path, asked: dict[str, int]
) -> None:
    run(given, tmp_path / "a.sqlite", workers=1)
    reset(asked)
    run(metrics(*OTHERS[:-1]), tmp_path / "a.sqlite", workers=1)
    assert asked["loaded"] == 1
    assert asked["explained"] == 0
    everything = metrics(*METRICS, *OTHERS)
    done = run(everything, tmp_path / "a.sqlite", workers=1)
    assert done.explained == 7  # a ledger isn't kept
    whole = run(everything, tmp_path / "b.sqlite", workers=1)
    same(done, whole)
    assert {r.metric for r in done.records if r.values} == set(everything.metric_labels)


def test_a_method_beside_others(given: Recipe, tmp_path: Path, asked: dict[str, int]) -> None:
    less = replace(given, methods=given.methods[:2])
    run(less, tmp_path / "a.sqlite", workers=1)
    reset(asked)
    more = run(given, tmp_path / "a.sqlite", workers=1)
    assert asked["explained"] == 3 * 7  # the new ones alone
    whole = run(given, tmp_path / "b.sqlite", workers=1)
    same(more, whole)
    # What isn't in the recipe stays in the file and out of the table.
    fewer = run(less, tmp_path / "a.sqlite", workers=1)
    assert fewer.computed == 0
    assert {r.method for r in fewer.records} == {"center", "gradient", "gradient, squared", "random"}


def test_blur_and_power_are_of_the_judgement(given: Recipe, tmp_path: Path, asked: dict[str, int]) -> None:
    run(given, tmp_path / "a.sqlite", workers=1)
    reset(asked)
    entry = replace(given.methods[1], smooth=0.1, power=3.0, label="other")
    other = replace(given, methods=(*given.methods, entry))
    done = run(other, tmp_path / "a.sqlite", workers=1)
    assert asked["loaded"] == 0
    same(done, run(other, tmp_path / "b.sqlite", workers=1))


def test_a_larger_limit_and_another_seed(given: Recipe, tmp_path: Path, asked: dict[str, int]) -> None:
    run(replace(given, limit=3), tmp_path / "a.sqlite", workers=1)
    reset(asked)
    more = run(replace(given, limit=5, chunk=3), tmp_path / "a.sqlite", workers=1)
    methods = len(given.methods) - 1  # without the baseline
    assert (more.pictures, more.computed) == (5, 2)
    assert asked["explained"] == methods * 2
    same(more, run(replace(given, limit=5), tmp_path / "b.sqlite", workers=1))
    reset(asked)
    # Another seed draws other baselines; maps don't ask for it.
    other = run(replace(given, seed=1), tmp_path / "a.sqlite", workers=1)
    assert asked["explained"] == methods * 2
    same(other, run(replace(given, seed=1), tmp_path / "c.sqlite", workers=1))


def test_without_maps(given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path) -> None:
    plain = replace(given, maps=False)
    run(plain, tmp_path / "a.sqlite", workers=1)
    assert not beside_results(tmp_path / "a.sqlite").exists()
    other = replace(metrics("energy", "rank-accuracy"), maps=False)
    done = run(other, tmp_path / "a.sqlite", workers=1)
    assert done.explained == 7
    same(done, run(replace(other, maps=True), tmp_path / "b.sqlite", workers=1))
    # A file that is there is used all the same.
    kept = run(
        replace(other, metrics=metrics("rank-accuracy", POINTING).metrics), tmp_path / "b.sqlite", workers=1
    )
    assert kept.explained == 0


def test_maps_that_were_removed(given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path) -> None:
    first = run(given, tmp_path / "a.sqlite", workers=1)
    beside_results(tmp_path / "a.sqlite").unlink()
    same(run(given, tmp_path / "a.sqlite", workers=1), first)
    done = run(metrics("rank-accuracy"), tmp_path / "a.sqlite", workers=1)
    assert done.explained == 7
    # And results that were: their maps are still good.
    (tmp_path / "a.sqlite").unlink()
    again = run(metrics("rank-accuracy"), tmp_path / "a.sqlite", workers=1)
    assert again.explained == 0
    same(again, done)


def test_other_weights_are_refused(given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path) -> None:
    run(given, tmp_path / "a.sqlite", workers=1)
    weights = Path(str(given.model.weights))
    state = torch.load(weights)
    state["head.bias"] = state["head.bias"] + 1
    torch.save(state, weights)
    with pytest.raises(InputError, match="Expected results of the same weights in"):
        run(metrics("rank-accuracy"), tmp_path / "a.sqlite", workers=1)
    (tmp_path / "a.sqlite").unlink()
    with pytest.raises(InputError, match="Expected maps of the same weights in"):
        run(metrics("rank-accuracy"), tmp_path / "a.sqlite", workers=1)


def test_weights_that_change_while_only_maps_are_judged(
    given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path
) -> None:
    first = run(given, tmp_path / "a.sqlite", workers=1)
    worker = worker_file.Worker(given, seen=first.worker.seen)
    weights = Path(str(given.model.weights))
    state = torch.load(weights)
    state["head.bias"] = state["head.bias"] + 1
    torch.save(state, weights)
    with pytest.raises(InputError, match="Expected the same weights as in this benchmark's earlier runs"):
        assert worker.model


def test_a_damaged_map_is_made_anew(
    given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path, asked: dict[str, int]
) -> None:
    run(given, tmp_path / "a.sqlite", workers=1)
    file = beside_results(tmp_path / "a.sqlite")
    base = sqlite3.connect(file)
    whole = base.execute("select * from maps order by 1, 2, 3").fetchall()
    base.execute("update maps set packed = zeroblob(60) where image = 'b.png' and label = 1 and method = 2")
    base.execute("delete from maps where image = 'd.png' and label = 0 and method = 2")
    base.commit()
    base.close()
    reset(asked)
    other = metrics("rank-accuracy")
    done = run(other, tmp_path / "a.sqlite", workers=1)
    assert (done.explained, asked["loaded"], asked["explained"]) == (2, 1, 2)
    same(done, run(other, tmp_path / "b.sqlite", workers=1))
    base = sqlite3.connect(file)
    assert base.execute("select * from maps order by 1, 2, 3").fetchall() == whole
    base.close()


def test_a_damaged_file_of_maps_is_refused_by_name(
    given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path
) -> None:
    first = run(given, tmp_path / "a.sqlite", workers=1)
    file = beside_results(tmp_path / "a.sqlite")
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xab" * (len(data) - 4096)
    file.write_bytes(data)
    text = r"a-maps\.sqlite' is damaged: .*\. Move it away and run the same command again: what was measured stays"
    with pytest.raises(RelpropError, match=text):
        run(metrics("rank-accuracy"), tmp_path / "a.sqlite", workers=1)
    file.unlink()
    same(run(given, tmp_path / "a.sqlite", workers=1), first)


def test_another_run_holds_the_maps(given: Recipe, tmp_path: Path) -> None:
    run(given, tmp_path / "a.sqlite", workers=1)
    file = beside_results(tmp_path / "a.sqlite")
    with (
        Maps(file, None, {}),
        pytest.raises(RelpropError, match=r"a-maps\.sqlite' but another run holds it"),
    ):
        run(given, tmp_path / "a.sqlite", workers=1)


def test_a_full_disk_keeps_what_was_there(
    given: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Maps.write

    def full_after_two(self: Maps, maps: Any) -> None:
        if any(m.image == "e.png" for m in maps):
            (pages,) = self._base.execute("pragma page_count").fetchone()
            self._base.execute(f"pragma max_page_count = {pages}")
            maps = [replace(m, label=k) for k in range(200) for m in maps]
        write(self, maps)

    monkeypatch.setattr(Maps, "write", full_after_two)
    with pytest.raises(RelpropError, match=r"a-maps\.sqlite' is full .*goes on where it stopped"):
        run(given, tmp_path / "a.sqlite", workers=1)
    monkeypatch.setattr(Maps, "write", write)
    done = run(given, tmp_path / "a.sqlite", workers=1)
    assert done.computed == len(PICTURES) - 4
    same(done, run(given, tmp_path / "b.sqlite", workers=1))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_killed_while_judging_kept_maps(
    given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path, workers: int
) -> None:
    run(given, tmp_path / "a.sqlite", workers=1)
    other = metrics("energy", *OTHERS[:3])
    (tmp_path / "recipe.json").write_text(json.dumps(other.plain()))
    (tmp_path / "child.py").write_text(CHILD)  # spawned processes read the main file again
    words = [
        sys.executable,
        tmp_path / "child.py",
        tmp_path / "recipe.json",
        tmp_path / "a.sqlite",
        str(workers),
        "2",
    ]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout as lines:
        for line in lines:
            if int(line.split()[0]) >= 2:
                break
        child.send_signal(signal.SIGKILL)
    told: list[tuple[int, int]] = []
    done = run(other, tmp_path / "a.sqlite", workers=1, progress=lambda *p: told.append(p))
    assert 2 <= told[0][0] < 7
    assert done.explained == 0
    same(done, run(other, tmp_path / "b.sqlite", workers=1))


def test_stopped_between_maps_and_measurements(
    given: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            run(given, tmp_path / "a.sqlite", workers=1)
    done = run(given, tmp_path / "a.sqlite", workers=1)
    assert (done.computed, done.explained) == (7, 5)  # the first chunk's maps were there
    same(done, run(given, tmp_path / "b.sqlite", workers=1))


def test_several_processes(given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path) -> None:
    run(given, tmp_path / "a.sqlite", workers=2)
    other = metrics("energy", *OTHERS)
    done = run(other, tmp_path / "a.sqlite", workers=2)
    same(done, run(other, tmp_path / "b.sqlite", workers=1))


def test_batches_share_runs_and_maps(given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path) -> None:
    batched = replace(given, batch=4, chunk=7)
    run(batched, tmp_path / "a.sqlite", workers=1)
    other = replace(batched, metrics=metrics("energy", *OTHERS[:4]).metrics)
    same(run(other, tmp_path / "a.sqlite", workers=1), run(other, tmp_path / "b.sqlite", workers=1))


def test_failures_are_not_tried_again(given: Recipe, metrics: Callable[..., Recipe], tmp_path: Path) -> None:
    bad = replace(given, methods=(*given.methods, replace(given.methods[2], at="head", label="flat")))
    (tmp_path / "set" / "c.png").write_bytes(b"")
    first = run(bad, tmp_path / "a.sqlite", workers=1)
    assert {(p.image, p.where) for p in first.problems} == {
        ("c.png", "data"), *((name, "flat") for name in PICTURES if name != "c.png")
    }  # fmt: skip
    other = replace(bad, metrics=metrics("rank-accuracy").metrics)
    done = run(other, tmp_path / "a.sqlite", workers=1)
    assert done.explained == 0
    same(done, run(other, tmp_path / "b.sqlite", workers=1))


def test_cases_are_drawn_from_kept_maps(given: Recipe, tmp_path: Path, asked: dict[str, int]) -> None:
    done = run(given, tmp_path / "a.sqlite", workers=1)
    fresh = {m: done.worker.maps("b.png", 1, m)[2] for m in given.method_labels}
    done = run(given, tmp_path / "a.sqlite", workers=1)
    reset(asked)
    for row in (*given.method_labels, "lrp-epsilon, squared"):
        _, heat, case = done.worker.maps("b.png", 1, row, needs="heat")
        assert case.model is None
        if row in fresh:
            assert (heat == fresh[row].heat).all()
            assert torch.equal(case.map, fresh[row].map)
    assert asked == {"loaded": 0, "run": 0, "explained": 0}
    *_, case = done.worker.maps("b.png", 1, "lrp-epsilon", needs="model")
    assert case.explain is not None
    assert torch.allclose(case.explain(case.model), case.map, atol=1e-6)
    assert asked["explained"] == 0
