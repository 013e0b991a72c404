"""The benchmarks of measured answers score what they say, and go on where they stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.detectors.nets import linear_detector

from benchmarks import edges, hide_and_see, what_if
from relprop.detectors.hiding import Loss


def test_edges_scores_are_right_for_the_truth_and_wrong_for_its_opposite() -> None:
    # The left quarter pulled everything left, the right one right; half as strongly up and down.
    values = [0.5, -0.5, 0.1, 0.1, 10.0, 10.0, 30.0, 30.0]
    x, y = [-1.0, 3.0, 0.0, 0.0], [0.0, 0.0, -2.0, 1.0]
    effects = [x, y, x, y, x, y, x, [0.0, 0.0, 0.1, -0.2]]
    true = edges._scores(values, effects, effects)
    assert [score for _, (score, _) in true] == ["side", "side", *["edge: sign", "edge: top"] * 3]
    assert all(value == 1 for _, (_, value) in true)
    turned = [[-v for v in row] for row in effects]
    wrong = dict.fromkeys(["side", "edge: sign"], 0.0) | {"edge: top": 1.0}  # strength has no sign
    assert all(value == wrong[score] for _, (score, value) in edges._scores(values, effects, turned))


@pytest.mark.parametrize("benchmark", [edges, what_if])
def test_a_run_on_scenes_goes_on(
    benchmark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if benchmark is edges:
        few = {"four bands": edges.MEASURED["four bands"], "cells 5 x 5 x 1.25": {"cells": (2, 2)}}
        monkeypatch.setattr(edges, "MEASURED", few)
        monkeypatch.setattr(edges, "PAIRED", (("cells 5 x 5 x 1.25", "four bands"),))
    main = benchmark.main  # type: ignore[attr-defined]
    arguments = ["--split", "val", "--out", str(tmp_path)]
    assert main(["--scenes", "2", *arguments]) == 0
    first = capsys.readouterr().out
    kept = (tmp_path / "part-1-of-1.jsonl").read_text()
    assert main(["--scenes", "3", *arguments]) == 0
    assert (tmp_path / "part-1-of-1.jsonl").read_text().startswith(kept)
    capsys.readouterr()
    assert main(["--scenes", "2", "--tables-only", *arguments]) == 0
    assert capsys.readouterr().out == first
    assert first.startswith("2 scenes, ")


def test_hide_and_see_scores() -> None:
    random = tuple([0.0, 1.0] * 8)
    made = hide_and_see.scored([Loss("inpaint", 2.0, -1.0, random), Loss("mean", 0.5, 0.2, random)])
    assert made["holds up"] == 0  # with the mean colour half of the draws do as much
    assert made["blue against"] == 0
    assert made["inpaint: red less random"] == 1.5
    assert made["inpaint: beats"] == 1
    assert made["mean: beats"] == 0.5
    drawn = {"a": {f: {"random": list(random)} for f in ("inpaint", "mean")}, "b": None}
    ((picture, chance),) = hide_and_see.rows(drawn, drawn)
    assert picture == "a"
    assert abs(chance["mean: red less random"]) < 1e-12
    assert chance["mean: beats"] == pytest.approx(8 / 16 * 8 / 15)  # a draw of 1 beats those of 0
    record = {f: {"red": 2.0, "blue": None} for f in ("inpaint", "mean")}
    ((_, scores),) = hide_and_see.rows(drawn, {"a": record, "b": None})
    assert scores["holds up"] == 1
    assert "mean: blue" not in scores


def test_hide_and_see_measures_the_likeliest_and_skips_what_is_there(tmp_path: Path) -> None:
    from PIL import Image

    detector = linear_detector.detector()
    picture = tmp_path / "one.png"
    noise = linear_detector.picture().mul(255).byte()
    Image.fromarray(noise.permute(1, 2, 0).numpy()).save(picture)
    out = tmp_path / "out" / "centre.jsonl"
    for _ in range(2):
        hide_and_see.run(detector, [picture], hide_and_see.CENTRE, out)
    (line,) = out.read_text().splitlines()
    out.write_text(out.read_text() + line[:30])  # stopped within a line
    hide_and_see.run(detector, [picture], hide_and_see.CENTRE, out)
    found = hide_and_see.read(out)
    assert list(found) == ["one"]
    assert found["one"]["score"] == pytest.approx(detector(picture)[0].score)
    assert found["one"]["inpaint"]["blue"] is None
    heat = hide_and_see.centre(detector, detector.prepared(picture), detector(picture)[0])
    assert heat.shape == (24, 24)
    x0, y0, x1, y1 = detector(picture)[0].box.tolist()
    y, x = divmod(int(heat.argmax()), 24)
    assert abs(x + 0.5 - (x0 + x1) / 2) <= 0.5 + 1e-9
    assert abs(y + 0.5 - (y0 + y1) / 2) <= 0.5 + 1e-9
