"""The scripts on answers measure what they say: truth, scores, controls, whole runs and their tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.answer_tables import scores_of
from PIL import Image
from tests.close import assert_close_to_rounding

import relprop
from benchmarks import answer_hiding, answer_maps, answer_order, answer_truth, answers
from relprop.datasets import Scenes


def _asked() -> answer_maps.Asked:
    choice = answer_maps.Choice(
        methods=("rsp", "lrp-gamma", "attention-rollout"),
        margins=("lrp-gamma",),
        products=(("rsp", "lrp-gamma", answer_maps.SIGMA),),
        squared=("rsp",),
        versus=("lrp-gamma", "margin-rsp:ratio=1"),
        hostile=("rsp:ratio=1",),
        differences=("rsp",),
        products_versus=(("margin-rsp:ratio=1", "lrp-gamma", answer_maps.SIGMA),),
    )
    return replace(answers.asked_of("scenes-vgg", "confirming"), choice=choice)


def test_scores_of_a_map() -> None:
    mask = np.zeros((112, 112), dtype=bool)
    mask[5:9, 5:9] = True
    truth = answers.Truth(mask, None)
    heat = mask.astype(np.float64)
    assert truth.scores(heat) == {"energy": 1, "rank": 1, "hit": 1, "hit near": 1, "near": 1}
    heat[7, 11] = 16.0  # three pixels from the object
    heat[50, 50] = -50.0  # blue counts for nothing
    assert truth.scores(heat) == {"energy": 0.5, "rank": 15 / 16, "hit": 0, "hit near": 0, "near": 1}
    heat[7, 11], heat[7, 10] = 0.0, 16.0  # strictly nearer than three
    assert truth.scores(heat)["hit near"] == 1


def test_shapley_values_share_out_what_a_game_is_worth() -> None:
    random = np.random.default_rng(0)
    worth = {frozenset(t): random.random() for t in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))}
    found = answer_truth.shapley(worth.__getitem__, 3)
    assert sum(found) == pytest.approx(worth[frozenset((0, 1, 2))] - worth[frozenset()])
    assert answer_truth.shares([3.0, -1.0, 1.0]) == [0.75, 0, 0.25]
    assert answer_truth.shares([0.0, -1.0]) is None


def test_coalitions_are_drawn_or_stand_on_an_empty_scene() -> None:
    scene = next(s for s in Scenes(n=20, seed=3, split="test") if len(set(s.labels.tolist())) >= 2)
    first, second = sorted(set(scene.labels.tolist()))[:2]
    teams = answer_truth.coalitions(scene, [first, second])
    assert len(teams) == 8
    own = scene.masks[scene.labels == first].any(0)
    nothing = answer_truth.empty(scene)
    np.testing.assert_array_equal(teams[frozenset((0, 1, 2))], scene.image)
    np.testing.assert_array_equal(teams[frozenset()], nothing)
    np.testing.assert_array_equal(teams[frozenset((0,))][own], scene.image[own])
    np.testing.assert_array_equal(teams[frozenset((0,))][~own], nothing[~own])
    assert not np.array_equal(teams[frozenset((1, 2))][own], scene.image[own])


def test_products_are_those_of_agreement() -> None:
    asked = _asked()
    scene = next(s for s in Scenes(n=20, seed=3, split="test") if len(set(s.labels.tolist())) >= 2)
    x = asked.geometry.input(Image.fromarray(scene.image))
    one, other = sorted(set(scene.labels.tolist()))[:2]
    maps = asked.classes(x, [one, other], (112, 112))
    assert set(asked.refused) == {"attention-rollout"}
    net, facts = asked.loaded.module, asked.loaded.facts
    e = relprop.explain(net, x, one, "agreement", facts=facts)
    assert e.extras["of"] == "rsp"
    product = torch.from_numpy(maps[0]["rsp x lrp-gamma"])
    assert_close_to_rounding((product / product.sum()).to(e.relevance), e.heatmap()[0], net)
    red, blue = asked.versus(x, one, other, (maps[0], maps[1]), (112, 112))["margin-rsp:ratio=1 x lrp-gamma"]
    both = relprop.explain(net, x, one, "agreement", versus=other, facts=facts)
    signed = torch.from_numpy((red - blue) / (red + blue).sum())
    assert_close_to_rounding(signed.to(both.relevance), both.heatmap()[0], net)


def test_controls_see_no_network() -> None:
    mask = np.zeros((16, 20), dtype=bool)
    mask[3:6, 4:8] = True
    picture = np.zeros((16, 20, 3), dtype=np.uint8)
    picture[:, 10:] = 200
    made = answer_maps.controls(picture, mask, 1)
    assert set(made) == set(answer_maps.CONTROLS)
    assert set(np.flatnonzero(made["edges"].sum(0))) == {9, 10}
    np.testing.assert_array_equal(made["oracle"], mask)
    assert made["center"].argmax() in {7 * 20 + 9, 7 * 20 + 10, 8 * 20 + 9, 8 * 20 + 10}


def test_a_run_goes_on_where_it_stopped_and_is_put_in_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = _asked()
    words = ["--model", "scenes-vgg", "--seed", "3", "--out", str(tmp_path / "one")]
    assert answers.main([*words, "--pictures", "2"], asked) == 0
    before = (tmp_path / "one/part-1-of-1.jsonl").read_text(encoding="utf-8")
    assert answers.main([*words, "--pictures", "3", "--against", "rsp"], asked) == 0
    after = (tmp_path / "one/part-1-of-1.jsonl").read_text(encoding="utf-8")
    assert after.startswith(before)
    lines = [json.loads(line) for line in after.splitlines()]
    assert [line.get("scene") for line in lines] == [None, 0, 1, 2]
    said = capsys.readouterr().out
    assert "**Less rsp, paired**" in said
    assert "the world: logit" in said
    done = {line["scene"]: line["records"] for line in lines[1:]}
    scores = scores_of(done)
    e = scores.estimate("rsp", "energy")
    assert e is not None
    values = [r["maps"]["rsp"]["energy"] for rows in done.values() for r in rows if r["kind"] == "class"]
    assert e.value == pytest.approx(np.mean(values))
    squared, oracle = scores.estimate("rsp, squared", "rank"), scores.estimate("oracle", "energy")
    alike = scores.estimate("rsp", "rank")
    assert squared is not None
    assert alike is not None
    assert oracle is not None
    assert (squared.value, oracle.value) == (pytest.approx(alike.value), 1)
    assert answer_order.main([str(tmp_path / "one")] * 2 + ["--least", "1", "--replicates", "20"]) == 0
    assert "1.00 [1.00, 1.00]" in capsys.readouterr().out


def test_hiding_says_what_a_linear_network_loses(tmp_path: Path) -> None:
    class Bright(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left = x[..., :56].mean((1, 2, 3))
            return torch.stack([100 * left, 0 * left], 1)

    asked = answers.asked_of("scenes-vgg", "confirming")
    loaded = replace(asked.loaded, module=Bright().eval(), classes=None)
    picture = np.zeros((112, 112, 3), dtype=np.uint8)
    picture[:, :56] = 255
    hiding = answer_hiding.Hiding(loaded, asked.geometry, [Image.fromarray(picture)], ["gradient-x-input"], 0)
    (record,) = hiding(0)
    lost = record["maps"]["gradient-x-input"]
    assert record["target"] == 0
    assert lost["red mean"] > 2 * float(np.mean(record["random"]["mean"])) > 0
    assert lost["red mean"] == pytest.approx(max(lost["red mean"], *record["random"]["mean"]))
    assert record["maps"]["edges"]["red mean"] < lost["red mean"]  # half of them lie on the dark side
    assert "1 pictures" in answer_hiding.report({0: [record]})
