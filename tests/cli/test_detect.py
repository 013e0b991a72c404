"""`relprop detect`, from the words typed to the files and the text that come out."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.detectors.nets import tiny_detector

import relprop
from relprop.cli import run
from relprop.detectors.hiding import check_maps
from relprop.detectors.misses import unit_at
from relprop.detectors.removal import measured_effects
from relprop.detectors.what_if import what_if_effects

TINY = str(Path(tiny_detector.__file__))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    return tmp_path


def _document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["detect", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, Any] = json.loads(out)
    return document


def test_detections_are_drawn_and_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tiny_detector.detector()(Image.open("a.png"))
    assert run(["detect", "a.png", "--model", f"{TINY}:make"]) == 0
    out = capsys.readouterr().out
    for d in found:
        assert f"{d.name:<6}" in out
        assert f"{d.score:.2f}" in out
    assert "--explain" in out
    found = {p.name for p in (here / "relprop-out" / "a").iterdir()}
    assert found == {"detections.png", "detect.json"}


def test_numbers_are_those_of_the_library(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = tiny_detector.detector()
    with Image.open("a.png") as picture:
        found = detector(picture)
        d = found[1]
        versus = next(k for k in (1, 2, 3) if k != d.label)
        name = tiny_detector.CLASSES[versus]
        e = relprop.explain_detection(
            detector, picture, d, ["class", "x1", "y1", "x2", "y2"], [d.label, versus]
        )
    document = _document(
        capsys,
        "a.png",
        "--model",
        f"{TINY}:make",
        "--box",
        "1",
        "--versus",
        name,
        "--layers",
        "--method",
        "crp",
    )
    (image,) = document["images"]
    assert image["size"] == [24, 40]
    assert image["input_size"] == [16, 16]
    assert [one["anchor"] for one in image["detections"]] == found.anchor.tolist()
    listed = image["detections"][1]
    assert listed["box"] == pytest.approx(d.box.tolist())
    assert listed["offsets"] == pytest.approx(dict(zip(detector.offsets, d.offsets.tolist(), strict=True)))
    assert listed["scores"][0]["score"] == pytest.approx(float(d.scores.max()))
    (one,) = image["explanations"]
    assert one["box"] == 1
    assert one["method"] == "crp"
    edges = ["left edge", "top edge", "right edge", "bottom edge"]
    assert [t["name"] for t in one["targets"]] == [d.name, name, *edges]
    saved = relprop.Explanation.load(one["folder"])
    assert torch.equal(saved.relevance, e.relevance)
    for k, target in enumerate(one["targets"]):
        assert target["relevance_sum"] == pytest.approx(float(e.relevance[k].sum()), abs=1e-12)
        assert target["relevance_size"] == pytest.approx(float(e.relevance[k].abs().sum()))
        row = target["table"][-1]
        assert row["layer"] == "low"
        assert [row["max"], row["min"]] == pytest.approx(
            [float(e.relevance[k].max()), float(e.relevance[k].min())]
        )
    assert one["ledger"]["closes"] is True
    assert one["edges"] is None  # crp answers for the edges, too
    for path in (one["figure"], one["layers"], image["drawn"], *one["files"]):
        assert Path(path).is_file()
    with Image.open(one["figure"]) as figure:
        assert min(figure.size) > 800
    manifest = json.loads((Path(one["folder"]) / "manifest.json").read_text())
    assert [t["name"] for t in manifest["targets"]] == [t["name"] for t in one["targets"]]
    assert manifest["extras"]["detection"]["anchor"] == d.anchor


def test_explain_takes_all_boxes_and_goes_over_old_results(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["detect", "a.png", "--model", f"{TINY}:ready", "--explain", "--method", "gradient-x-input"]
    for _ in range(2):
        assert run(command) == 0
        out = capsys.readouterr().out
    count = len(tiny_detector.detector()(Image.open("a.png")))
    assert count > 1
    folder = here / "relprop-out" / "a"
    expected = {"detections.png", "detect.json"} | {
        f"box-{i}{end}" for i in range(count) for end in ("", ".png")
    }
    assert {p.name for p in folder.iterdir()} == expected
    assert "by gradient-x-input" in out
    assert "left edge" in out
    index = here / "relprop-out" / "index.html"
    assert f"Index: {index.relative_to(here)}" in out
    links = re.findall('(?:href|src)="([^"]*)"', index.read_text())
    assert {f"a/box-{i}.png" for i in range(count)} | {"a/detections.png"} == set(links)
    assert all((index.parent / link).is_file() for link in links)


def test_offsets_in_place_of_edges(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["a.png", "--model", f"{TINY}:make", "--box", "0", "--offsets"]
    document = _document(capsys, *arguments)
    (one,) = document["images"][0]["explanations"]
    assert [t["of"] for t in one["targets"]] == ["class", "cx", "cy", "w", "h"]
    assert one["layers"] is None  # nobody asked
    assert one["measured"]["cells"] is None
    assert not (here / "relprop-out" / "index.html").exists()  # one page needs none
    assert run(["detect", *arguments]) == 0
    assert "centre " in capsys.readouterr().out


def test_what_was_measured_is_the_librarys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = tiny_detector.detector()
    with Image.open("a.png") as picture:
        found = detector(picture)
        prepared = detector.prepared(picture)
    versus = next(k for k in (1, 2, 3) if k != found[0].label)
    tiny = ["a.png", "--model", f"{TINY}:make", "--box", "0", "--versus", str(versus), "--method", "crp"]
    document = _document(capsys, *tiny)
    (one,) = document["images"][0]["explanations"]
    saved = relprop.Explanation.load(one["folder"])
    names = [t["of"] for t in one["targets"]]
    checks = check_maps(
        detector,
        prepared,
        found[0],
        list(saved.heatmap()[:, 0]),
        names,
        [t["target"] for t in one["targets"]],
        up=[t["red_is_more"] for t in one["targets"]],
    )
    measured = one["measured"]
    assert [c["words"] for c in measured["checks"]] == [c.words for c in checks]
    assert [c["holds"] for c in measured["checks"]] == [c.holds for c in checks]
    effects = measured_effects(detector, prepared, found[0])
    assert measured["cells"]["effects"]["y2"] == pytest.approx(effects.of("y2").tolist())
    what_if = what_if_effects(detector, prepared, found[0], versus, found)
    assert measured["what_if"]["words"] == what_if.words
    assert measured["runs"] == checks[0].runs + effects.runs + what_if.runs
    assert run(["detect", *tiny]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert what_if.words in out
    assert effects.words("x1") in out
    assert "hiding a tenth costs" in out
    assert run(["detect", *tiny, "--not-measured"]) == 0
    assert "hiding" not in capsys.readouterr().out


def test_edges_by_crp_stand_in_a_folder_of_their_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A method that starts from one output can't be asked about an edge."""
    tiny = ["a.png", "--model", f"{TINY}:make", "--box", "0", "--method", "excitation-backprop"]
    document = _document(capsys, *tiny)
    (one,) = document["images"][0]["explanations"]
    assert (one["method"], one["edges"]["method"]) == ("excitation-backprop", "crp")
    assert relprop.Explanation.load(one["edges"]["folder"]).relevance.shape == (4, 1, 3, 16, 16)
    assert relprop.Explanation.load(one["folder"]).relevance.shape == (
        1,
        1,
        6,
        16,
        16,
    )  # behind the first layer
    assert run(["detect", *tiny]) == 0  # over the old results
    assert "by excitation-backprop, its edges by crp" in capsys.readouterr().out


def test_one_class_rather_than_the_other_has_a_folder_of_its_own(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    d = tiny_detector.detector()(Image.open("a.png"))[0]
    versus = str(next(k for k in (1, 2, 3) if k != d.label))
    tiny = ["a.png", "--model", f"{TINY}:make", "--box", "0", "--versus", versus, "--not-measured"]
    document = _document(capsys, *tiny, "--method", "gradient-x-input")
    (one,) = document["images"][0]["explanations"]
    assert one["edges"] is None
    pair = relprop.Explanation.load(one["rather"]["folder"])
    both = relprop.Explanation.load(one["folder"])
    torch.testing.assert_close(pair.relevance, both.relevance[0] - both.relevance[1])  # it is linear
    assert one["measured"] is None


def test_settings_of_the_method_and_the_detector(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "names.txt").write_text("zero\none\ntwo\nthree\n")
    tiny = ["a.png", "--model", f"{TINY}:make", "--box", "0"]
    document = _document(capsys, *tiny, "--no-background", "--labels", "names.txt", "--threshold", "0.1")
    assert document["model"]["threshold"] == 0.1
    assert document["model"]["classes"] == ["zero", "one", "two", "three"]
    (one,) = document["images"][0]["explanations"]
    assert one["settings"]["include_background"] is False
    assert one["targets"][0]["name"] in ("one", "two", "three")
    document = _document(capsys, *tiny, "--include-background", "--method", "crp:seed=logit")
    (one,) = document["images"][0]["explanations"]
    assert (one["settings"]["include_background"], one["settings"]["seed"]) == (True, "logit")
    assert one["settings"]["bounds"] is None
    document = _document(capsys, *tiny, "--method", "deep-taylor")  # which can't do without a box
    assert document["images"][0]["explanations"][0]["ledger"]["closes"] is True


def test_weights_are_loaded(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = tiny_detector.detector().raw
    state = {name: torch.zeros_like(t) for name, t in net.state_dict().items()}
    save_file(state, here / "zero.safetensors")
    document = _document(capsys, "a.png", "--model", f"{TINY}:make", "--weights", "zero.safetensors")
    assert document["images"][0]["detections"] == []
    assert document["images"][0]["below_threshold"][0]["score"] == pytest.approx(0.25)
    assert document["model"]["weights"] == "zero.safetensors"


def test_nothing_found_is_no_failure(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detect", "a.png", "--model", f"{TINY}:blind", "--explain"]) == 0
    out = capsys.readouterr().out
    best = max(tiny_detector.detector()(Image.open("a.png")).scores.tolist())
    assert "No detection with a score over 1. The best below:" in out
    assert f"{best:.2f}" in out
    found = {p.name for p in (here / "relprop-out" / "a").iterdir()}
    assert found == {"detections.png", "detect.json"}


def test_the_label_itself_is_no_what_if(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    d = tiny_detector.detector()(Image.open("a.png"))[0]
    tiny = ["detect", "a.png", "--model", f"{TINY}:make", "--box", "0", "--versus", d.name]
    assert run(tiny) == 0
    out = capsys.readouterr().out
    assert "what if" not in out
    assert f"Box 0 is {d.name} already" in out


def test_the_bundled_detector_and_picture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _document(capsys, "--box", "0")
    assert document["model"]["spec"] == "scenes-ssd"
    (image,) = document["images"]
    truth = set(relprop.datasets.demo.demo_scene().names)
    assert {d["name"] for d in image["detections"]} <= truth
    (one,) = image["explanations"]
    assert one["ledger"]["closes"] is True
    assert one["targets"][0]["inside"] > 0.5


def test_torchvision_with_random_weights(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["a.png", "--model", "torchvision:ssdlite320_mobilenet_v3_large", "--random-weights"]
    document = _document(capsys, *command, "--threshold", "1")
    assert document["model"]["weights"] == "random (seed 0)"
    assert document["model"]["classes"][1] == "person"
    assert document["images"][0]["input_size"] == [320, 320]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nowhere.png"], 2, "does not exist"),
        (["a.png", "--model", "alexnet"], 2, "Valid: file.py:factory, scenes-ssd, torchvision:NAME"),
        (["a.png", "--model", "torchvision:fasterrcnn_resnet50"], 2, "Valid: fasterrcnn_mobilenet_v3"),
        (["a.png", "--model", "{tiny}:mak"], 2, "Did you mean 'make'"),
        (["a.png", "--model", "{tiny}:module"], 2, "Pass anchors="),
        (["a.png", "--model", "{tiny}:SIDE"], 2, "to give a relprop.detectors.Detector or a torch.nn.Module"),
        (["a.png", "--model", "{tiny}:make", "--box", "9"], 2, "Expected --box from 0 to"),
        (["a.png", "--model", "{tiny}:make", "--versus", "sheep"], 2, "Valid: ball, cube, nothing, star"),
        (["a.png", "--model", "{tiny}:make", "--versus", "4"], 2, "from 0 to 3 but got 4"),
        (["a.png", "--model", "{tiny}:make", "--threshold", "2"], 2, "--threshold"),
        (["a.png", "--model", "{tiny}:make", "--method", "crq"], 2, "Did you mean 'crp'"),
        (["a.png", "--model", "{tiny}:make", "--scale", "big"], 2, "--scale"),
        (["a.png", "--model", "{tiny}:make", "--device", "cuda:99"], 2, "device"),
        (["a.png", "--model", "{tiny}:make", "--labels", "a.png"], 2, "labels file"),
        (["a.png", "--model", "{tiny}:make", "--out", "a.png"], 1, "is a file"),
        (
            ["a.png", "--model", "{tiny}:make", "--method", "lrp-0", "--no-background"],
            2,
            "setting of lrp-0 but got 'include_background'",
        ),
        (["a.png", "--model", "{tiny}:make", "--random-weights", "--weights", "a.png"], 2, "Leave one out"),
        (["a.png", "--model", "{tiny}:make", "--at", "3"], 2, "a place such as 120,80"),
        (["a.png", "--model", "{tiny}:make", "--at", "99,3"], 2, "in the picture of 40 x 24 but got 99,3"),
        (["a.png", "--model", "{tiny}:make", "--anchor", "20"], 2, "from 0 to 19 but got 20"),
        (["a.png", "--model", "{tiny}:make", "--anchor", "2", "--target", "sheep"], 2, "Valid: ball, cube"),
        (["a.png", "--model", "{tiny}:make", "--target", "star"], 2, "--at or --anchor with --target"),
        (["a.png", "--model", "{tiny}:make", "--report", "x"], 2, "--truth PATH with --report"),
        (["a.png", "--model", "{tiny}:make", "--truth", "nowhere.json"], 2, "does not exist"),
        (["a.png", "--model", "{tiny}:make", "--truth", "a.png", "--box", "0"], 2, "no --box with --truth"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, text: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["detect", *(a.format(tiny=TINY) for a in arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert err.count("\n") == 1
    assert not (here / "relprop-out").exists()  # nothing half-written


def test_a_unit_that_made_no_detection(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector = tiny_detector.detector()
    with Image.open("a.png") as picture:
        found = detector(picture)
        anchor = next(a for a in range(20) if a not in found.anchor.tolist())
        e = relprop.explain_detection(detector, picture, anchor, "class", "star", "gradient-x-input")
    tiny = ["a.png", "--model", f"{TINY}:make", "--method", "gradient-x-input"]
    document = _document(capsys, *tiny, "--anchor", str(anchor), "--target", "star")
    (one,) = document["images"][0]["explanations"]
    assert (one["box"], one["anchor"], one["targets"][0]["name"]) == (None, anchor, "star")
    assert Path(one["figure"]).name == f"anchor-{anchor}.png"
    assert Path(one["figure"]).is_file()
    assert torch.equal(relprop.Explanation.load(one["folder"]).relevance[0], e.relevance)
    # At a place: the same unit as the library's, of a class and of any.
    for extra, label in ((["--target", "star"], 3), ([], None)):
        place = [31.0, 4.0]
        unit = unit_at(found, *place, label)
        document = _document(capsys, *tiny, "--at", "31,4", *extra)
        (one,) = document["images"][0]["explanations"]
        assert one["anchor"] == unit
        assert one["targets"][0]["target"] == (found.at(unit).label if label is None else label)
    # Beside a box, and asked for twice: each once.
    document = _document(capsys, *tiny, "--box", "0", "--anchor", str(anchor), "--anchor", str(anchor))
    assert [one["box"] for one in document["images"][0]["explanations"]] == [0, None]


def test_what_suppression_dropped_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tiny_detector.detector()(Image.open("a.png"))
    assert any(d.by is not None for d in found.dropped())
    tiny = ["a.png", "--model", f"{TINY}:make", "--method", "gradient-x-input"]
    document = _document(capsys, *tiny, "--explain")
    for one in document["images"][0]["explanations"]:
        mine = found.dropped(by=one["box"])
        assert [(d["anchor"], d["score"]) for d in one["dropped"]] == [(d.anchor, d.score) for d in mine]
    lost = next(d for d in found.dropped() if d.by is not None)
    command = ["detect", *tiny, "--box", str(lost.by), "--anchor", str(lost.anchor)]
    assert run([*command, "--target", tiny_detector.CLASSES[lost.label]]) == 0
    out = capsys.readouterr().out
    assert f"Suppression dropped {len(found.dropped(by=lost.by))} box" in out
    assert f"suppression dropped it for box {lost.by}" in out


def test_a_report_of_mistakes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    d = tiny_detector.detector()(Image.open("a.png"))[0]
    x0, y0, x1, y1 = d.box.tolist()
    other = "star" if d.name != "star" else "ball"
    truth = {
        "images": [{"id": 1, "file_name": "a.png", "height": 24, "width": 40}],
        "categories": [{"id": 5, "name": other}, {"id": 90, "name": d.name}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [x0, y0, x1 - x0, y1 - y0]}],
    }
    (here / "truth.json").write_text(json.dumps(truth))
    (here / "shots").mkdir()
    (here / "a.png").rename(here / "shots" / "a.png")
    command = [
        "detect",
        "shots",
        "--model",
        f"{TINY}:make",
        "--truth",
        "truth.json",
        "--report",
        "went-wrong",
    ]
    command += ["--method", "gradient-x-input", "--most", "1"]
    assert run(command) == 0
    out = capsys.readouterr().out
    assert "1 objects, 0 found" in out
    assert str(Path("went-wrong") / "report.html") in out
    assert run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["summary"]["confusions"][0] == {"true": other, "said": d.name, "count": 1, "not_found": 1}
    saved = json.loads((here / "went-wrong" / "mistakes.json").read_text())
    assert saved["mistakes"] == document["mistakes"]
    assert Path(document["files"]["page"]).is_file()
    confused = next(m for m in document["mistakes"] if m["kind"] == "confusion")
    # The command that stands beside a mistake does what it says.
    words = shlex.split(confused["command"])
    assert words[0] == "relprop"
    assert run([*words[1:], "--method", "gradient-x-input", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["images"][0]["explanations"]
    assert [t["name"] for t in one["targets"][:2]] == [d.name, other]
    missed = next(m for m in document["mistakes"] if m["kind"] == "missed")
    assert run([*shlex.split(missed["command"])[1:], "--method", "gradient-x-input", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["images"][0]["explanations"]
    assert (one["anchor"], one["targets"][0]["name"]) == (missed["anchor"], other)
    assert one["targets"][0]["score"] == pytest.approx(missed["true_score"], rel=1e-5)
