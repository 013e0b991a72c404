"""The detector benchmark measures what it says: truth, maps, scores, and a whole run on a random detector."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import relprop
from benchmarks import crp_maps, crp_scenes, crp_tables, crp_truth
from relprop.datasets import CLASSES, Scene, Scenes
from relprop.datasets._render import layout, paint
from relprop.detectors import BoxCode, Detections, Detector, Reading, Squash
from relprop.detectors.scene_ssd import SceneSSD, anchors
from relprop.methods.crp import CRP

NAMES = ["background", *CLASSES]


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Random weights: whatever it finds is right by chance only, so the threshold lets everything pass."""
    torch.manual_seed(0)
    raw = SceneSSD().eval().requires_grad_(False)
    for head in (*raw.classification, *raw.localisation):
        torch.nn.init.normal_(head.weight, std=0.05)  # offsets of both signs, and some of 0.25
    mean, std = (0.4, 0.4, 0.38), (0.22, 0.22, 0.22)  # as the bundled one
    return Detector(
        raw=raw, anchors=anchors(), decode=BoxCode().decode, background=0, classes=NAMES,
        prepare=Squash((112, 112), mean, std), mean=mean, std=std, score_threshold=0.1, nms_threshold=0.9,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Several objects, one of them over another."""
    return next(s for s in Scenes(n=50, split="val") if len(s) == 3 and s.masks.sum() < s.silhouettes.sum())


# Truth


def test_taking_the_last_object_away_leaves_the_others(scene: Scene) -> None:
    items = layout(scene.seed, 1, scene.index)
    expected, _, _ = paint(items[:-1], scene.seed, 1, scene.index, 112)
    np.testing.assert_array_equal(crp_truth.without(scene, len(scene) - 1), expected)


def test_taking_an_earlier_object_away_keeps_the_colours_of_the_later(scene: Scene) -> None:
    behind = crp_truth.without(scene, 0)
    mask = torch.from_numpy(scene.masks[-1].copy())[None].float()
    inner = -torch.nn.functional.max_pool2d(-mask, 3, stride=1, padding=1)[0] > 0  # without the soft edge
    np.testing.assert_array_equal(behind[inner.numpy()], scene.image[inner.numpy()])
    changed = (behind != scene.image).any(-1)
    assert changed[scene.masks[0]].mean() > 0.9


def test_strips_are_the_quarters(scene: Scene) -> None:
    k = len(scene) - 1  # whole
    left, right, top, bottom = crp_truth.strips(scene, k)
    x0, y0, x1, y1 = scene.boxes[k].astype(int)
    width, height = x1 - x0, y1 - y0
    mask = scene.masks[k]
    np.testing.assert_array_equal(left & mask, mask & (np.arange(112) + 0.5 < x0 + width / 4))
    np.testing.assert_array_equal(bottom & mask, mask & (np.arange(112) + 0.5 > y1 - height / 4)[:, None])
    assert not (left & right).any()
    assert not (top & bottom).any()
    for strip, picture in zip((left, right, top, bottom), crp_truth.without_strips(scene, k), strict=True):
        np.testing.assert_array_equal(picture[~strip], scene.image[~strip])
        np.testing.assert_array_equal(picture[strip], crp_truth.without(scene, k)[strip])


def test_right_detections(scene: Scene) -> None:
    boxes = torch.from_numpy(scene.boxes).float()
    labels = [NAMES.index(n) for n in scene.names]
    # The second object twice, the first with a wrong class, the third shifted by more than half its size.
    far = boxes[2] + 60
    table = torch.stack([boxes[1], boxes[1], boxes[0], far])
    said = torch.tensor([labels[1], labels[1], labels[0] % 8 + 1, labels[2]])
    d = len(table)
    scores = torch.zeros(d, 9).scatter_(1, said[:, None], 0.9)
    reading = Reading(torch.arange(d), scores, torch.zeros(d, 4), table, table, NAMES, 0)
    found = Detections(table, said, torch.full((d,), 0.9), torch.arange(d), reading)
    assert [(one.index, k) for one, k in crp_truth.correct(found, scene, NAMES)] == [(0, 1)]
    difficult = replace(scene, difficult=np.ones(3, dtype=bool))
    assert crp_truth.correct(found, difficult, NAMES) == []


def test_enlarged_box() -> None:
    assert crp_truth.inside_box((2, 4, 4, 6), (10, 10)).sum() == 4
    assert crp_truth.inside_box((2, 4, 4, 6), (10, 10), 2.0).sum() == 16
    assert crp_truth.inside_box((2, 4, 4, 6), (10, 10))[4:6, 2:4].all()


# Maps


@pytest.fixture(scope="module")
def asked(detector: Detector, scene: Scene) -> tuple[Tensor, relprop.detectors.Detection, crp_maps.Maps]:
    x = detector.prepared(scene.image).x
    d = next(d for d in detector(scene.image) if d.offsets.amin() < 0 < d.offsets.amax())
    return x, d, crp_maps.Propagation(detector).maps(x, d, range(9))


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("crp", "crp"),
        ("crp, no background", CRP(include_background=False)),
        ("gradient-x-input", "gradient-x-input"),
        ("grad-cam", "grad-cam"),
        ("odam", "odam"),
    ],
)
def test_maps_are_those_of_explain_detection(
    detector: Detector, scene: Scene, asked: tuple, name: str, method: object
) -> None:
    _, d, maps = asked
    e = relprop.explain_detection(detector, scene.image, d, ["class"], list(range(9)), method)
    torch.testing.assert_close(maps.classes[name], e.heatmap()[:, 0], rtol=1e-4, atol=1e-6)
    offsets = relprop.explain_detection(detector, scene.image, d, ["cx", "cy", "w", "h"], None, method)
    flip = torch.where(d.offsets < 0, -1.0, 1.0)[:, None, None]
    if name in ("grad-cam", "odam"):  # of the negated offset, which has no call of its own
        maps.offsets[name][d.offsets < 0] = offsets.heatmap()[:, 0][d.offsets < 0]
    expected = offsets.heatmap()[:, 0] * (flip if name == "gradient-x-input" else 1.0)
    torch.testing.assert_close(maps.offsets[name], expected, rtol=1e-4, atol=1e-6)


def test_parts_of_crp_add_up(asked: tuple) -> None:
    _, d, maps = asked
    alone = maps.classes["crp, no contrast"]
    others = (alone.sum(0) - alone) / 8
    torch.testing.assert_close(maps.classes["crp"], alone - others, rtol=1e-4, atol=1e-7)
    mean, o = alone.mean(0), maps.offsets
    torch.testing.assert_close(o["mean of the classes"], mean.expand(4, -1, -1), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(o["crp"], o["crp, no contrast"] - mean, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(o["crp, no switch"], o["crp, neither"] - mean, rtol=1e-4, atol=1e-7)
    negative = d.offsets < 0
    torch.testing.assert_close(o["crp, no switch"][~negative], o["crp"][~negative], rtol=1e-4, atol=1e-7)
    assert not torch.allclose(o["crp, no switch"][negative], o["crp"][negative], rtol=1e-2)
    # Where the offset is negative, w+ less w− times the sign is the switched map less the other.
    two = o["crp, no contrast"] - o["crp, neither"]
    torch.testing.assert_close(o["w+ less w−"][negative], two[negative], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(o["w+ less w−"].sum((1, 2)), torch.zeros(4), rtol=0, atol=1e-4)


def test_nothing_outside_of_reach(asked: tuple) -> None:
    _, _, maps = asked
    for name in ("crp", "crp, no contrast", "gradient-x-input"):
        outside = maps.classes[name][:, ~maps.reach]
        assert not outside.any(), name


def test_sources() -> None:
    assert crp_maps.source_of(0) == crp_maps.source_of(391) == "raw.norm4_2"
    assert crp_maps.source_of(392) == crp_maps.source_of(489) == "raw.features.relu5_2"
    assert crp_maps.source_of(490) == crp_maps.source_of(521) == "raw.features.relu6_2"
    with pytest.raises(ValueError, match="one 1 beyond"):
        crp_maps.head_of(522)


def test_occlusion_by_the_definitions(detector: Detector, scene: Scene, asked: tuple) -> None:
    _, d, _ = asked
    picture = torch.from_numpy(scene.image.copy()).permute(2, 0, 1) / 255
    method = relprop.DRISE(masks=5, grid=8, chunk=2)
    masks = torch.cat(list(method.draws((112, 112)).parts(5)))
    other = d.label % 8 + 1
    maps = crp_maps.Occlusion(detector, picture, method).maps(d, [d.label, other])
    seen = [detector(picture * m).reading for m in masks]
    said = torch.stack([r.scores[d.anchor, d.label] for r in seen])
    expected = sum((s - said.mean()) * m for s, m in zip(said, masks, strict=True)) / 5
    torch.testing.assert_close(maps.classes["occlusion"][0], expected, rtol=1e-4, atol=1e-8)
    cx = torch.stack([r.offsets[d.anchor, 0] for r in seen]) * d.offsets[0].sign()
    expected = sum((s - cx.mean()) * m for s, m in zip(cx, masks, strict=True)) / 5
    close = {"rtol": 1e-4, "atol": 1e-6 * float(cx.abs().max())}  # batches of 1 and 2 round otherwise
    torch.testing.assert_close(maps.offsets["occlusion"][0], expected, **close)
    e = relprop.explain_detection(detector, scene.image, d, "class", [d.label, other], method)
    torch.testing.assert_close(maps.classes["d-rise"], e.heatmap()[:, 0], rtol=1e-4, atol=1e-6)


# Scores


def test_scores_of_an_offset() -> None:
    # The centre has gone left: without the left quarter it goes right, and the other way round.
    changes = [0.4, -0.5, 0.1, 0.0]
    effects = [0.4, -0.5, 0.1, 0.0]
    size = [3.0, 1.0, 0.5, 0.5]
    good = crp_tables.offset_scores("cx", -1.0, changes, effects, size)
    assert good == {"axis": 0.8, "direction": 1.0, "rank": pytest.approx(1.0), "top-1": 1.0}
    bad = crp_tables.offset_scores("cx", -1.0, changes, [-e for e in effects], size)
    assert bad == {"axis": 0.8, "direction": 0.0, "rank": pytest.approx(-1.0), "top-1": 0.0}
    even = crp_tables.offset_scores("cx", -1.0, changes, [2.0] * 4, [0.0] * 4)
    assert even == {"axis": 0.5, "direction": 0.5, "rank": 0.0, "top-1": 0.25}
    # Gone right: the same changes are effects of the other sign.
    assert crp_tables.offset_scores("cx", 1.0, changes, effects, size)["rank"] == pytest.approx(-1.0)
    tall = crp_tables.offset_scores("h", 1.0, [0, 0, -1, -2], [0, 0, 1, 2], [1, 1, 1, 1])
    assert tall == {"axis": 0.5, "rank": pytest.approx(1.0), "top-1": 1.0}


def _record(share: float, **extra: object) -> dict:
    return {
        "class": {"crp": share, "other": 0.25},
        "hit": {"crp": 1.0},
        "anchor": 400,
        "offsets": None,
        **extra,
    }


def test_tables_average_detections(tmp_path: Path) -> None:
    done = {3: [_record(0.5), _record(1.0)], 8: [_record(0.0)]}
    text = crp_tables.report(done, ["crp", "other"], tmp_path / "t.csv", replicates=50)
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        rows = {(r["question"], r["score"], r["method"]): r for r in csv.DictReader(file)}
    own = rows["class", "positive relevance on it", "crp"]
    assert (float(own["value"]), own["values"], own["scenes"]) == (0.5, "3", "2")
    assert float(rows["class", "positive relevance on it", "other"]["crp_less_this"]) == 0.25
    assert float(rows["by head", "7 x 7 on it", "crp"]["value"]) == 0.5
    assert "| other  | 25.0 [25.0, 25.0]" in text
    assert "2 scenes, 3 right detections" in text


def test_tables_of_offsets(tmp_path: Path) -> None:
    flat = [0.0] * 4
    offsets = {
        "values": [0.5, 0.1, -0.3, 0.0],  # the second and the fourth are too small to count
        "changes": [[0.2, -0.2, 0.0, 0.01], flat, [-0.3, -0.2, -0.1, -0.05], flat],
        "area": [1.0] * 4,
        "relevance": {"crp": [[-1.0, 1.0, 0.0, -0.5], [2.0, 1.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4], flat]},
        "size": {"crp": [[3.0, 3.0, 1.0, 1.0], [1.0] * 4, [1.0] * 4, flat]},
    }
    crp_tables.report({0: [_record(0.5, offsets=offsets)]}, ["crp"], tmp_path / "t.csv", replicates=5)
    with (tmp_path / "t.csv").open(encoding="utf-8") as file:
        found = {(r["score"], r["method"]): float(r["value"]) for r in csv.DictReader(file)}
    assert found["direction", "crp"] == found["7 x 7 direction", "crp"] == 1.0
    assert found["direction", crp_tables.OTHER] == 0.0  # that of cy
    assert found["axis", "crp"] == (0.75 + 0.5) / 2
    assert found["cx", "crp"] == found["w", "crp"] == pytest.approx(1.0)
    assert found["size below 0", "crp"] == pytest.approx(1.0)
    assert ("cy", "crp") not in found
    # What stands left and right widens, so it speaks against a width below 0: ranks ½ ½ 2½ 2½ with 0 1 2 3.
    assert found["w", crp_tables.GUESS] == pytest.approx(4 / (4 * 5) ** 0.5)


# The whole


def test_a_run_and_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--split", "val", "--masks", "4", "--out", str(tmp_path)]
    assert crp_scenes.main(["--scenes", "2", *common]) == 0
    text = (tmp_path / "part-1-of-1.jsonl").read_text(encoding="utf-8")
    settings, *lines = map(json.loads, text.splitlines())
    assert settings["masks"] == 4
    assert [one["scene"] for one in lines] == [0, 1]
    records = [r for one in lines for r in one["records"]]
    assert records
    every = {*crp_maps.PROPAGATION, *crp_maps.OCCLUSION, *crp_scenes.TRIVIAL}
    of_offsets = {"crp, no switch", "crp, neither", "w+ less w−", "mean of the classes"}
    assert all(set(r["class"]) == every - of_offsets for r in records)
    assert all(0 <= share <= 1 for r in records for share in r["class"].values())
    kept = [r["offsets"] for r in records if r["offsets"]]
    assert kept
    assert np.shape(kept[0]["relevance"]["crp"]) == np.shape(kept[0]["changes"]) == (4, 4)
    assert np.abs(kept[0]["changes"]).max() > 0

    capsys.readouterr()
    assert crp_scenes.main(["--scenes", "2", "--tables-only", *common]) == 0
    out = capsys.readouterr().out
    assert "| crp, no contrast" in out
    assert "left taken away" in out
