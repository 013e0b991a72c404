"""The worker: values that depend on the pair alone, and failures that stay with their picture."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.benchmark.make import LABELS, PICTURES, UNKNOWN, by_key, pictures, recipe

import relprop
from relprop.benchmark import worker as worker_file
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.record import Problem, Record
from relprop.benchmark.worker import Worker
from relprop.errors import InputError

METHODS: list[Any] = [
    "center",
    "random",
    {"method": "gradient", "reduce": "max-abs", "smooth": 0.05},
    {"method": "gradient-x-input", "reduce": "positive"},
    "smoothgrad:samples=3",
    "integrated-gradients:steps=4",
    "grad-cam",
    "lrp-epsilon",
    {"method": "lrp-composite", "at": "features.1"},
    "contrastive-excitation-backprop",
    "clrp",
]
METRICS: list[Any] = [
    {"name": "pointing-game", "tolerance": 3},
    "miou",
    "energy",
    {"name": "masking-fidelity", "top": 1},
    {"name": "perturbation", "steps": 3},
]
DISCRETE = ("pointing-game", "masking-fidelity")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pictures(tmp_path / "set")


def everything(given: Recipe) -> tuple[list[Record], list[Problem]]:
    worker = Worker(given)
    results = [worker.process(k) for k in range(worker.chunks)]
    assert sum(r.pictures for r in results) == worker.pictures
    assert [r.chunk for r in results] == list(range(worker.chunks))
    assert all(r.seconds > 0 for r in results)
    return [x for r in results for x in r.records], [x for r in results for x in r.problems]


def close(one: list[Record], other: list[Record], tolerance: float = 1e-5) -> None:
    a, b = by_key(one), by_key(other)
    assert a.keys() == b.keys()
    for key, record in a.items():
        assert record.subsets == b[key].subsets
        assert record.values.keys() == b[key].values.keys()
        if record.metric in DISCRETE:
            assert record.values == b[key].values, key
        for name, value in record.values.items():
            assert value == pytest.approx(b[key].values[name], rel=tolerance, abs=tolerance), (key, name)


def test_every_pair_is_measured_once(folder: Path) -> None:
    given = recipe(folder, methods=METHODS, metrics=METRICS)
    records, problems = everything(given)
    assert problems == []
    pairs = {
        (name, LABELS.index(c)) for name, (_, labels) in PICTURES.items() for c in labels if c != UNKNOWN
    }
    assert set(by_key(records)) == {
        (image, label, method, metric)
        for image, label in pairs
        for method in given.method_labels
        for metric in given.metric_labels
    }
    # Threshold 0 says nothing about maps without negative values.
    signed = {m for m in given.method_labels if m not in ("center", "random", "grad-cam")}
    signed -= {"gradient", "gradient-x-input"}  # reduced to what is positive
    found = {r.method for r in records if r.metric == "miou" and "zero" in r.values}
    assert found == signed


def test_batches_change_nothing_but_rounding(folder: Path) -> None:
    # Sizes and numbers of classes differ within the chunk.
    alone, _ = everything(recipe(folder, methods=METHODS, metrics=METRICS, chunk=7))
    for batch in (3, 7):
        together, problems = everything(
            recipe(folder, methods=METHODS, metrics=METRICS, chunk=7, batch=batch)
        )
        assert problems == []
        close(alone, together)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_chunks_change_nothing(folder: Path, chunk: int) -> None:
    methods = METHODS[:4]
    one, _ = everything(recipe(folder, methods=methods, metrics=METRICS[:3], chunk=2))
    other, _ = everything(recipe(folder, methods=methods, metrics=METRICS[:3], chunk=chunk))
    assert by_key(one) == by_key(other)


def test_chunks_in_another_order(folder: Path) -> None:
    worker = Worker(recipe(folder, methods=["random", "smoothgrad:samples=2"]))
    forward = [worker.process(k).records for k in range(worker.chunks)]
    backward = [worker.process(k).records for k in reversed(range(worker.chunks))]
    assert forward == backward[::-1]


def test_values_are_those_of_the_library(folder: Path) -> None:
    given = recipe(folder, methods=["lrp-epsilon"], metrics=[{"name": "pointing-game", "tolerance": 3}])
    worker = Worker(given)
    sample, heat, case = worker.maps("b.png", 1, "lrp-epsilon")
    assert sample.name == "b.png"
    assert case.label == case.target == 1
    assert case.x is not None
    assert case.x.shape == (1, 3, 16, 21)
    own = relprop.explain(worker.model.module, case.x, 1, "lrp-epsilon").relevance[0].sum(0)
    assert torch.allclose(case.map, own, atol=1e-6)
    assert heat.shape == sample.size == (30, 40)
    from relprop.metrics import pointing_game

    (record,) = [r for r in worker.process(0).records if (r.image, r.label) == ("b.png", 1)]
    assert record.values["hit"] == pointing_game(heat, sample.region(1), 3)


def test_maps_of_what_can_not_be_explained(folder: Path) -> None:
    worker = Worker(recipe(folder))
    with pytest.raises(InputError, match=r"class 3 of 'c\.png'"):
        worker.maps("c.png", 3, "lrp-epsilon")


def test_top_one_takes_every_picture(folder: Path) -> None:
    records, problems = everything(recipe(folder, targets="top-1", methods=["gradient"], metrics=["energy"]))
    assert problems == []
    assert {(r.image, r.label) for r in records} == {(name, -1) for name in PICTURES}
    assert {r.subsets for r in records} == {("all", "all-p")}


def test_subsets_follow_the_prediction(folder: Path) -> None:
    given = recipe(folder, methods=["center"], metrics=["energy"])
    worker = Worker(given)
    records, _ = everything(given)
    assert {("all-p" in r.subsets) for r in records} == {True, False}
    for r in records:
        index = list(worker.data.names).index(r.image)
        x = worker.geometry.input(worker.data[index].image)
        assert ("all-p" in r.subsets) == (int(worker.model.module(x).argmax()) == r.label)


def test_unknown_classes_are_left_out(folder: Path) -> None:
    worker = Worker(recipe(folder))
    assert [bool(outputs) for outputs in worker.classes.outputs] == [True, True, True, False]
    assert not [r for k in range(worker.chunks) for r in worker.process(k).records if r.label == 3]


def test_limit_draws_with_the_seed(folder: Path) -> None:
    drawn = {seed: Worker(recipe(folder, limit=3, seed=seed)).indices for seed in range(8)}
    again = {seed: Worker(recipe(folder, limit=3, seed=seed)).indices for seed in range(8)}
    assert drawn == again
    assert all(len(set(found)) == 3 and found == sorted(found) for found in drawn.values())
    assert len({tuple(found) for found in drawn.values()}) > 1
    for limit in (0, 7, 100):
        assert Worker(recipe(folder, limit=limit)).indices == list(range(7))
    records, _ = everything(recipe(folder, limit=3, methods=["center"]))
    assert {r.image for r in records} == {sorted(PICTURES)[k] for k in drawn[0]}
    whole, _ = everything(recipe(folder, methods=["center"]))
    assert by_key(records).items() <= by_key(whole).items()


def test_nothing_else_is_touched(folder: Path) -> None:
    given = recipe(folder, methods=METHODS, metrics=[*METRICS, "randomisation"], limit=1, threads=1)
    torch.manual_seed(5)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    try:
        worker = Worker(given)
        weights = {k: v.clone() for k, v in worker.model.module.state_dict().items()}
        found = worker.process(0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert {r.metric for r in found.records} == set(given.metric_labels)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert random.getstate() == states[2]
    after = worker.model.module.state_dict()
    assert all(torch.equal(after[k], v) for k, v in weights.items())
    assert all(p.grad is None for p in worker.model.module.parameters())
    assert torch.is_grad_enabled()


def test_facts_change_with_what_they_stand_for(folder: Path, tmp_path: Path) -> None:
    given = recipe(folder)
    facts = Worker(given).facts()
    assert set(facts) == {"data", "model", "weights", "labels", "code", "targets", "version"}
    assert Worker(given).facts() == facts
    worker = Worker(given)
    with torch.no_grad():
        worker.model.module.head.bias[0] += 1e-6
    torch.save(worker.model.module.state_dict(), folder / "w.pth")
    changed = Worker(replace(given, model=replace(given.model, weights=str(folder / "w.pth")))).facts()
    assert {k for k in facts if facts[k] != changed[k]} == {"weights"}
    with (folder / "labels.csv").open("a") as handle:
        handle.write("a.png,dog,1,1,5,5\n")
    changed = Worker(given).facts()
    assert {k for k in facts if facts[k] != changed[k]} == {"data"}
    (folder / "names.txt").write_text("dog\ncat\nowl\n")
    turned = Worker(given).facts()
    assert {k for k in facts if changed[k] != turned[k]} == {"labels"}
    changed = Worker(replace(given, targets="top-1")).facts()
    assert {k for k in facts if changed[k] != turned[k]} == {"targets"}
    changed = Worker(replace(given, model=replace(given.model, geometry="squash"))).facts()
    assert {k for k in facts if changed[k] != turned[k]} == {"model"}
    assert Worker(replace(given, seed=1, methods=given.methods[:1], limit=2, chunk=1)).facts() == turned
    path = Path(given.model.spec.rpartition(":")[0])
    path.write_text(path.read_text() + "# another forward\n")
    assert {k for k, v in Worker(given).facts().items() if v != turned[k]} == {"code"}


# What goes wrong with one picture.


def damaged(folder: Path, how: str) -> str:
    """Spoil b.png; a part of the text that has to be said about it."""
    path = folder / "b.png"
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:200])
        return "can't be decoded"
    if how == "no picture":
        path.write_text("not a picture")
        return "no picture format fits"
    if how == "missing":
        path.unlink()
        return "does not exist"
    Image.open(path).resize((10, 8)).save(path)  # boxes no longer fit
    return "Expected a box inside the picture of 10 x 8"


@pytest.mark.parametrize("how", ["cut off", "no picture", "missing", "too small"])
def test_a_damaged_picture_harms_no_other(tmp_path: Path, how: str) -> None:
    whole = pictures(tmp_path / "whole", {k: v for k, v in PICTURES.items() if k != "b.png"})
    folder = pictures(tmp_path / "set")
    text = damaged(folder, how)
    records, problems = everything(recipe(folder))
    assert [(p.image, p.where) for p in problems] == [("b.png", "data")]
    assert text in problems[0].text
    assert "b.png" in problems[0].text or "labels.csv" in problems[0].text
    assert by_key(records) == by_key(everything(recipe(whole))[0])


VOC_XML = (
    "<annotation>{}</annotation>",
    "<object><name>cat</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>",
)


def test_annotations_that_are_missing_or_empty(tmp_path: Path) -> None:
    voc = tmp_path / "VOC2007"
    (voc / "JPEGImages").mkdir(parents=True)
    (voc / "Annotations").mkdir()
    spoilt = {"2": None, "3": VOC_XML[0].format(""), "4": "<annotation>", "6": VOC_XML[0].format(VOC_XML[1])}
    for k in range(1, 7):
        noise = np.random.default_rng(k).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(voc / "JPEGImages" / f"{k}.jpg")
        text = spoilt.get(str(k), VOC_XML[0].format(VOC_XML[1]))
        if text is not None:
            (voc / "Annotations" / f"{k}.xml").write_text(text)
    (voc / "JPEGImages" / "6.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    nets = pictures(tmp_path / "nets")
    given = recipe(
        nets,
        data={"name": "voc", "folder": str(voc)},
        model={"spec": f"{nets / 'nets.py'}:voc", "labels": None},
        batch=2,
    )
    records, problems = everything(given)
    assert {r.image for r in records} == {"1", "5"}
    assert {r.label for r in records} == {7}
    assert [(p.image, p.where) for p in problems] == [
        ("2", "data"),
        ("3", "data"),
        ("4", "data"),
        ("6", "data"),
    ]
    texts = {p.image: p.text for p in problems}
    assert "2.xml', which does not exist" in texts["2"]
    assert "3.xml' has none" in texts["3"]
    assert "4.xml' can't be parsed" in texts["4"]
    assert "6.jpg" in texts["6"]


def test_a_method_that_refuses_the_network(folder: Path) -> None:
    model = {"spec": f"{folder / 'nets.py'}:Gated"}
    given = recipe(folder, model=model, methods=["center", "lrp-epsilon", "gradient"], batch=2)
    records, problems = everything(given)
    assert {p.image for p in problems} == set(PICTURES)
    assert {p.where for p in problems} == {"lrp-epsilon"}
    assert len(problems) == len(PICTURES)
    assert all("softmax" in p.text for p in problems)
    alone, none = everything(replace(given, methods=(given.methods[0], given.methods[2])))
    assert none == []
    close(records, alone, 0.0)


def test_a_metric_that_can_not_be_had(folder: Path) -> None:
    given = recipe(
        folder, methods=["gradient", "center"], metrics=["energy", {"name": "masking-fidelity", "top": 5}]
    )
    records, problems = everything(given)
    assert {r.metric for r in records} == {"energy"}
    assert {p.where for p in problems} == {"gradient / masking-fidelity", "center / masking-fidelity"}
    text = "Expected at least top=5 classes but the model has 3. Set a smaller top."
    assert {p.text for p in problems} == {text}
    assert by_key(records) == by_key(everything(replace(given, metrics=given.metrics[:1]))[0])


def test_one_of_a_batch_fails_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = recipe(folder, methods=["gradient", "center"], chunk=7, batch=7)
    worker = Worker(given)
    index = list(worker.data.names).index("d.png")
    poison = worker.geometry.input(worker.data[index].image)[0]
    asking = worker_file.Inquiry

    def refusing(model: Any, x: torch.Tensor, *rest: Any, **more: Any) -> Any:
        if any(torch.equal(row, poison) for row in x):
            raise ValueError("this one\nI don't like")
        return asking(model, x, *rest, **more)

    whole = worker.process(0)
    monkeypatch.setattr(worker_file, "Inquiry", refusing)
    found = worker.process(0)
    assert found.problems == (Problem("d.png", "gradient", "ValueError: this one I don't like"),)
    kept = [r for r in whole.records if (r.image, r.method) != ("d.png", "gradient")]
    close(list(found.records), kept)


def test_methods_share_a_forward_run_and_fail_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = recipe(folder, methods=["gradient", "lrp-epsilon", "lrp-0", "center"], chunk=7, batch=7)
    worker = Worker(given)
    poison = worker.geometry.input(worker.data[list(worker.data.names).index("d.png")].image)[0]
    asking, explain = worker_file.Inquiry, relprop.LRPEpsilon.explain
    runs: list[int] = []

    def counting(model: Any, x: torch.Tensor, *rest: Any, **more: Any) -> Any:
        runs.append(len(x))
        return asking(model, x, *rest, **more)

    monkeypatch.setattr(worker_file, "Inquiry", counting)
    whole = worker.process(0)
    pictures = len({r.image for r in whole.records})
    assert sum(runs) == pictures  # each picture once, for all methods
    runs.clear()

    def refusing(self: Any, request: Any) -> Any:
        if any(torch.equal(row, poison) for row in request.trace.input):
            raise ValueError("not this one")
        return explain(self, request)

    monkeypatch.setattr(relprop.LRPEpsilon, "explain", refusing)
    found = worker.process(0)
    assert found.problems == (Problem("d.png", "lrp-epsilon", "ValueError: not this one"),)
    kept = [r for r in whole.records if (r.image, r.method) != ("d.png", "lrp-epsilon")]
    close(sorted(found.records, key=_place), sorted(kept, key=_place))


def _place(record: Any) -> tuple[Any, ...]:
    return record.image, record.label, record.method, record.metric


def test_maps_that_are_not_finite_are_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(recipe(folder, methods=["gradient-x-input", "center"], metrics=["energy"], chunk=7))
    monkeypatch.setattr(worker_file, "map_of", lambda *_: torch.full((8, 8), torch.nan))
    found = worker.process(0)
    assert {p.where for p in found.problems} == {"gradient-x-input / energy"}
    assert {p.image for p in found.problems} == set(PICTURES)
    assert all("Expected a finite map but" in p.text for p in found.problems)
    assert {r.method for r in found.records} == {"center"}


def test_a_network_that_gives_nan(folder: Path) -> None:
    worker = Worker(
        recipe(folder, methods=["gradient-x-input", "center"], metrics=["energy"], chunk=7, batch=3)
    )
    with torch.no_grad():
        worker.model.module.head.weight[1, 0] = float("nan")
    found = worker.process(0)
    assert sorted((p.image, p.where) for p in found.problems) == [
        (n, "gradient-x-input") for n in sorted(PICTURES)
    ]
    assert all(p.text.startswith("Expected finite outputs but Net returned NaN") for p in found.problems)
    assert {r.method for r in found.records} == {"center"}


def test_outputs_that_are_no_scores(folder: Path) -> None:
    records, problems = everything(recipe(folder, model={"spec": f"{folder / 'nets.py'}:Clips"}))
    assert records == []
    assert {(p.image, p.where) for p in problems} == {(name, "model") for name in PICTURES}
    text = r"Expected a classifier with outputs (N, classes) but got shape (1, 8,"
    assert all(p.text.startswith(text) for p in problems)


def test_fewer_outputs_than_classes(folder: Path) -> None:
    _, problems = everything(recipe(folder, model={"labels": None}))
    (problem,) = problems
    assert (problem.image, problem.where) == ("c.png", "model")  # the one with a fourth class
    assert problem.text.startswith(
        "Expected an output 3 for class 3 of the data set but the model has 3 outputs."
    )


def test_a_layer_without_places(folder: Path) -> None:
    given = recipe(folder, methods=[{"method": "lrp-epsilon", "at": "head"}, "center"])
    records, problems = everything(given)
    assert {r.method for r in records} == {"center"}
    assert all(
        p.text.startswith("Expected relevance (C, h, w) for a map but got shape (3,).") for p in problems
    )
    _, problems = everything(replace(given, methods=(replace(given.methods[0], at="heed"),)))
    assert all("'heed'" in p.text and "'head'" in p.text for p in problems)
    assert len(problems) == len(PICTURES)


# What is refused before anything is computed.


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"data": {"name": "fodler"}}, "Expected a known data set but got 'fodler'. Did you mean 'folder'"),
        ({"data": {"name": "folder"}}, "Expected the setting 'folder' of folder but it is missing"),
        ({"data": {"name": "folder", "folder": "nowhere"}}, "got 'nowhere', which does not exist"),
        ({"data": {"name": "scenes", "year": 3}}, "Expected a known setting of scenes but got 'year'"),
        ({"model": {"spec": "scenes-vg"}}, "Expected a known model but got 'scenes-vg'"),
        (
            {"methods": ["lrp-epsilom"]},
            "Expected a known method but got 'lrp-epsilom'. Did you mean 'lrp-epsilon'",
        ),
        ({"methods": ["lrp-epsilon:epsilom=1"]}, "Expected a known setting of lrp-epsilon but got 'epsilom'"),
        ({"metrics": ["energie"]}, "Expected a known metric but got 'energie'. Did you mean 'energy'"),
        (
            {"metrics": [{"name": "energy", "tolerance": 3}]},
            "Expected a known setting of energy but got 'tolerance'",
        ),
        (
            {"metrics": [{"name": "pointing-game", "tolerance": "x"}]},
            "Expected tolerance to be a number of pixels",
        ),
    ],
)
def test_wrong_words(folder: Path, changes: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError) as caught:
        Worker(recipe(folder, **changes))
    assert error in str(caught.value)


def test_classes_that_have_nothing_in_common(folder: Path) -> None:
    (folder / "names.txt").write_text("a\nb\nc\n")
    with pytest.raises(InputError, match="cat, dog, owl, yak, …"):
        Worker(recipe(folder))
