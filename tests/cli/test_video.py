"""`relprop video`, from the words typed to the figures, films and numbers that come out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import relprop
from relprop.cli import run
from relprop.datasets import demo_clip_path
from relprop.models.loaded import LoadedModel
from relprop.models.sampling import Sampling
from relprop.models.sources import load_model
from relprop.video import C3D
from relprop.video.clip import read_clip
from relprop.video.films import reel
from relprop.video.separation import MotionSeparation
from relprop.viz import file as figures
from relprop.viz.film import save_gif
from relprop.viz.motion import motion_figure
from relprop.viz.motion_film import overlay_frames

av = pytest.importorskip("av")

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.relu(self.conv(x)).mean((2, 3, 4)))

class Pictures(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return torch.relu(self.conv(x)).mean((2, 3))
"""
FILMS = ("original", "spatial", "temporal")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FACTORY)
    (tmp_path / "names.txt").write_text("walk\nrun\nrest\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "three.txt").write_text("1 2 3\n")
    _film(tmp_path / "a.gif")
    return tmp_path


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at numbers alone: drawing takes most of the time."""
    monkeypatch.setattr("relprop.reports.report.Page.write", lambda *_: None)


def _film(path: Path, seed: int = 0) -> Path:
    """Ten frames of noise, 24 x 36."""
    noise = np.random.default_rng(seed).integers(0, 256, (10, 24, 36, 3), dtype=np.uint8)
    path.parent.mkdir(exist_ok=True)
    return save_gif(noise, path, 10)


SMALL = ["--model", "net.py:Net", "--frames", "4", "--resize", "none", "--crop", "16"]


def _model() -> LoadedModel:
    return load_model("net.py:Net")


def _document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["video", *arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, Any] = json.loads(out)
    return document


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _check_films(clip: dict[str, Any], films: dict[str, Tensor]) -> None:
    """The document's sums are those of the films (T, H, W)."""
    assert list(clip["films"]) == list(films)
    for name, film in films.items():
        said, film = clip["films"][name], film.double()
        assert said["sum"] == pytest.approx(float(film.sum()), abs=1e-12)
        assert said["positive"] == pytest.approx(film.clamp(min=0).sum((1, 2)).tolist(), abs=1e-12)
        assert said["negative"] == pytest.approx(film.clamp(max=0).sum((1, 2)).tolist(), abs=1e-12)


def _check_moving(files: dict[str, str], count: int) -> None:
    with Image.open(files["gif"]) as gif:
        assert gif.n_frames == count
        size = gif.size
    with av.open(files["mp4"]) as film:
        shown = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(shown) == count
    assert shown[0].shape == (size[1], size[0], 3)


def test_the_demo_clip_separated(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _document(capsys, "--separate")
    model = load_model("motion-c3d")
    assert model.sampling is not None
    film = read_clip(demo_clip_path(), model.sampling)
    method = relprop.DeepTaylor(bounds=model.sampling.bounds(), seed="one")
    s = relprop.separate_motion(model.module, film.x, None, method, "conserving")

    assert document["model"] == {"spec": "motion-c3d", "weights": "bundled"}
    assert Sampling(**document["sampling"]) == model.sampling
    (clip,) = document["clips"]
    assert clip["film_frames"] == list(range(16))
    assert clip["looped"] is False
    assert (clip["target"]["name"], clip["target"]["index"]) == ("left-right", int(s.targets))
    assert clip["predictions"][0]["output"] == float(s.outputs.max())
    assert (clip["method"], clip["mode"]) == ("deep-taylor", "conserving")
    assert clip["settings"]["method"]["seed"] == "one"
    films = {name: getattr(s, name)[0] for name in FILMS}
    _check_films(clip, films)
    sums = [clip["films"][name]["sum"] for name in FILMS]
    assert sums[0] == pytest.approx(1, abs=1e-6)
    assert sums[1] + sums[2] == pytest.approx(sums[0], abs=1e-6)
    assert s.frozen_targets is not None
    assert [f["index"] for f in clip["frozen_classes"]] == s.frozen_targets[0].tolist()
    assert set(clip["ledgers"]) == set(s.ledgers)
    assert all(ledger["closes"] for ledger in clip["ledgers"].values())

    files = clip["files"]
    folder = here / "relprop-out" / "demo_clip"
    assert {p.name for p in folder.iterdir()} == {
        "figure.png", "film.gif", "film.mp4", "video.json", "conserving_deep-taylor",
    }  # fmt: skip
    assert {Path(path).absolute().parent for path in files.values()} == {folder}
    _check_moving(files, 16)
    with Image.open(files["figure"]) as figure:
        assert min(figure.size) > 800
    saved = MotionSeparation.load(files["numbers"])
    assert all(torch.equal(getattr(saved, name), getattr(s, name)) for name in FILMS)
    facts = json.loads((Path(files["numbers"]) / "manifest.json").read_text())["facts"]
    assert facts["class"] == "left-right"
    assert facts["indices"] == list(range(16))
    assert (facts["clip"], facts["model"]) == (str(demo_clip_path()), "motion-c3d")


def test_a_negative_score_is_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Deep Taylor can't explain it: words, document, figure, film and folder say so, and nothing adds up."""
    assert run(["video", "--target", "growing-shrinking"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "all zero: there is nothing to add up" in out
    assert "adds up at every operator" not in out
    assert out.count("WARNING, deep-taylor: The map of deep-taylor is zero everywhere") == 1
    assert out.count("WARNING, deep-taylor: The explained output is −5.59") == 1
    (clip,) = _document(capsys, "--target", "growing-shrinking")["clips"]
    assert clip["all_zero"] is True
    assert len(clip["warnings"]) == 2
    e = relprop.Explanation.load(clip["files"]["numbers"])
    assert list(e.warnings) == clip["warnings"]
    frames = read_clip(demo_clip_path(), load_model("motion-c3d").sampling).frames
    said = relprop.video.films.reel(e, frames)
    quiet = overlay_frames(replace(said, warnings=()))
    assert overlay_frames(said).shape[1] > quiet.shape[1], "the film has room for the warning"
    figure = motion_figure(said)
    words = " ".join(t.get_text() for t in figure.texts).replace("\n", " ")
    assert "⚠ see the warning below" in words
    assert "explains positive outputs only" in words


def test_the_demo_clip_as_the_authors_split_it(
    unwritten: None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = _document(capsys, "--mode", "naive:slice=first,normalise=maxabs", "--chunk", "16")
    (clip,) = document["clips"]
    assert clip["mode"] == "naive"
    assert {k: clip["settings"][k] for k in ("slice", "normalise", "clamp")} == {
        "slice": "first", "normalise": "maxabs", "clamp": False,
    }  # fmt: skip
    assert clip["target"]["name"] == "left-right"
    assert set(clip["ledgers"]) == {"original", "frozen"}
    original, spatial, temporal = (clip["films"][name]["sum"] for name in FILMS)
    assert temporal == pytest.approx(original - spatial, abs=1e-4)
    assert clip["files"]["numbers"].endswith("naive_slice-first_normalise-maxabs_deep-taylor")


def test_a_clip_without_separation(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clip,) = _document(capsys, "a.gif", *SMALL, "--labels", "names.txt", "--target", "run")["clips"]
    assert clip["target"]["name"] == "run"
    assert (clip["mode"], clip["frozen_classes"], list(clip["ledgers"])) == (None, None, ["original"])
    sampling = Sampling(frames=4, crop=16)
    x = read_clip("a.gif", sampling).x
    method = relprop.DeepTaylor(bounds=sampling.bounds())
    e = relprop.explain(_model().module, x, 1, method)
    _check_films(clip, {"relevance": e.heatmap()[0]})
    assert torch.equal(relprop.Explanation.load(clip["files"]["numbers"]).relevance, e.relevance)
    _check_moving(clip["files"], 4)


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("conserving", {}),
        ("naive", {}),
        ("naive:slice=first,normalise=maxabs", {"slice": "first", "normalise": "maxabs"}),
        ("naive:clamp=True", {"clamp": True}),
        ("selective:sigma=0.5,padding=zero", {"sigma": 0.5, "padding": "zero"}),
    ],
)
def test_modes_are_the_librarys(
    mode: str, settings: dict[str, Any], unwritten: None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (clip,) = _document(capsys, "a.gif", *SMALL, "--mode", mode)["clips"]
    sampling = Sampling(frames=4, crop=16)
    method = relprop.DeepTaylor(bounds=sampling.bounds(), seed="one")
    name: Any = mode.partition(":")[0]
    x = read_clip("a.gif", sampling).x
    s = relprop.separate_motion(_model().module, x, None, method, name, **settings)
    _check_films(clip, {part: getattr(s, part)[0] for part in FILMS})
    assert clip["mode"] == name
    assert (clip["frozen_classes"] is None) == (s.frozen_targets is None)


def test_a_start_that_was_asked_for_is_kept(
    unwritten: None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def total(method: str, *separate: str) -> float:
        (clip,) = _document(capsys, "a.gif", *SMALL, "--method", method, *separate)["clips"]
        return float(next(iter(clip["films"].values()))["sum"])

    with torch.no_grad():
        score = float(_model().module(read_clip("a.gif", Sampling(frames=4, crop=16)).x).max())
    assert abs(score - 1) > 0.1
    assert total("deep-taylor") == pytest.approx(score, rel=1e-5)
    assert total("deep-taylor", "--separate") == pytest.approx(1, rel=1e-5)
    assert total("deep-taylor:seed=score", "--separate") == pytest.approx(score, rel=1e-5)


OPTIONS: list[tuple[list[str], Sampling]] = [
    ([], Sampling(resize=112, crop=112)),  # a model from a file: what is taken for granted
    (["--frames", "5", "--stride", "2"], Sampling(frames=5, stride=2, resize=112, crop=112)),
    (["--start", "3"], Sampling(start=3, resize=112, crop=112)),
    (["--frames", "4", "--start", "middle"], Sampling(frames=4, start="middle", resize=112, crop=112)),
    (["--resize", "20x30", "--crop", "none"], Sampling(resize=(20, 30))),
    (["--resize", "none", "--crop", "16"], Sampling(crop=16)),
    (["--resize", "40", "--crop", "16x24"], Sampling(resize=40, crop=(16, 24))),
    (["--order", "bgr", "--divisor", "1"], Sampling(resize=112, crop=112, order="bgr", divisor=1)),
    (
        ["--mean", "0.1,0.2,0.3", "--std", "2,3,4"],
        Sampling(resize=112, crop=112, mean=(0.1, 0.2, 0.3), std=(2, 3, 4)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "sampling"), OPTIONS, ids=[" ".join(o) or "none" for o, _ in OPTIONS])
def test_sampling_options_reach_the_network(
    options: list[str], sampling: Sampling, unwritten: None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = _document(capsys, "a.gif", "--model", "net.py:Net", "--method", "gradient", *options)
    assert Sampling(**document["sampling"]) == sampling
    film = read_clip("a.gif", sampling)
    with torch.no_grad():
        scores = _model().module(film.x)[0]
        usual = _model().module(read_clip("a.gif", OPTIONS[0][1]).x)[0]
    (clip,) = document["clips"]
    assert {p["index"]: p["output"] for p in clip["predictions"]} == dict(enumerate(scores.tolist()))
    assert not options or not torch.equal(scores, usual)
    assert clip["film_frames"] == list(film.indices)
    assert clip["looped"] is (sampling.frames > 10)


def test_options_replace_only_what_they_name(
    unwritten: None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = _document(capsys, "--order", "bgr", "--start", "3", "--method", "gradient")
    own = Sampling(resize=48, crop=48, divisor=1, mean=(90, 98, 102))
    assert load_model("motion-c3d").sampling == own
    asked = Sampling(resize=48, crop=48, divisor=1, mean=(90, 98, 102), order="bgr", start=3)
    assert Sampling(**document["sampling"]) == asked
    with torch.no_grad():
        scores = load_model("motion-c3d").module(read_clip(demo_clip_path(), asked).x)[0]
    (clip,) = document["clips"]
    assert clip["predictions"][0]["output"] == float(scores.max())
    assert clip["film_frames"] == [*range(3, 16), 0, 1, 2]
    assert clip["looped"] is True


def test_c3d_takes_its_widths_from_the_weights(
    unwritten: None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    net = C3D(classes=5, widths=(2, 3, 4, 5, 6), hidden=7, size=32).eval()
    save_file(net.state_dict(), "w.safetensors")
    document = _document(
        capsys, "a.gif", "--model", "c3d", "--weights", "w.safetensors", "--crop", "32", "--method", "gradient"
    )  # fmt: skip
    sampling = Sampling(
        stride=4, resize=(128, 171), crop=32, order="bgr", divisor=1, mean=(90, 98, 102), std=(1, 1, 1)
    )
    assert Sampling(**document["sampling"]) == sampling
    with torch.no_grad():
        scores = net(read_clip("a.gif", sampling).x)[0]
    (clip,) = document["clips"]
    assert {p["index"]: p["output"] for p in clip["predictions"]} == dict(enumerate(scores.tolist()))


def test_clips_of_one_name_get_folders_of_their_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _film(here / "b" / "a.gif", 1)
    document = _document(capsys, "a.gif", "b/a.gif", *SMALL, "--method", "gradient-x-input")
    assert [clip["clip"] for clip in document["clips"]] == ["a.gif", "b/a.gif"]
    first, second = (Path(clip["files"]["numbers"]) for clip in document["clips"])
    assert [first.parent.name, second.parent.name] == ["a", "a-2"]
    for path, folder in (("a.gif", first), ("b/a.gif", second)):
        assert torch.equal(
            relprop.Explanation.load(folder).input, read_clip(path, Sampling(frames=4, crop=16)).x
        )


def test_random_weights_are_said_everywhere(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    real = figures.save_figure

    def watched(figure: Figure, path: Path) -> Path:
        drawn.append(" ".join(text.get_text() for text in figure.texts))
        return real(figure, path)

    monkeypatch.setattr("relprop.reports.works.save_figure", watched)
    assert run(["video", "a.gif", *SMALL, "--separate", "--random-weights"]) == 0
    out = capsys.readouterr().out
    assert "a.gif through net.py:Net (weights: random (seed 0))" in out
    assert "4 frames, every frame of the film from frame 0 on" in out
    assert "film frames 0 to 3, 10 a second" in out
    assert "Standing still, the 4 frames are taken for:" in out
    assert "adds up at every operator (original, spatial, temporal): yes" in out
    for name in ("figure.png", "film.gif", "film.mp4", "conserving_deep-taylor"):
        assert f"relprop-out/a/{name}" in out
    (words,) = drawn
    assert "RANDOM WEIGHTS" in words
    assert "The weights are random" in " ".join(words.split())
    facts = json.loads((here / "relprop-out/a/conserving_deep-taylor/manifest.json").read_text())["facts"]
    assert facts["weights"] == "random (seed 0)"
    # The same command again goes over its results; a plain run says nothing of random weights.
    assert run(["video", "a.gif", *SMALL, "--separate", "--scale", "0.01"]) == 0
    assert "random" not in capsys.readouterr().out
    assert "RANDOM" not in drawn[1]


ERRORS: list[tuple[list[str], str]] = [
    (["nowhere.gif"], "Expected a film but got 'nowhere.gif', which does not exist"),
    (["names.txt"], "no film format fits"),
    (["cut.gif"], "Expected a whole film but 'cut.gif' is"),
    (["a.gif", "cut.gif"], "Expected a whole film but 'cut.gif' is"),
    (["--mode", "clever"], "Expected a known mode but got 'clever'. Valid: conserving, naive, selective"),
    (["--mode", "naive:sigma=2"], "of mode naive but got 'sigma'. Valid: slice, normalise, clamp"),
    (["--mode", "conserving:slice=first"], "Expected a setting of mode conserving but got 'slice'"),
    (["--mode", "naive:clamp"], "Expected a mode as name:key=value,key=value but got 'naive:clamp'"),
    (["--mode", "naive:slice=last"], "Expected slice to be one of 'same', 'first', 'mean', 'sum' but got 'last'"),
    (["--method", "deep-tailor"], "Expected a known method but got 'deep-tailor'. Did you mean 'deep-taylor'"),
    (["--method", "grad-cam", "--separate"], "the z+ and z-box rules for mode='conserving' but got grad-cam"),
    (["--method", "grad-cam", "--mode", "naive"], "Expected a method with relevance at the input"),
    (["--method", "deep-taylor:alpha=2", "--separate"], "Expected a known setting of deep-taylor but got 'alpha'"),
    (["--target", "sheep"], "the model has no class names. Pass --labels FILE"),
    (["--target", "3"], "Expected a class index from 0 to 2 but got 3"),
    (["--labels", "names.txt", "--target", "sheep"], "Valid: rest, run, walk"),
    (["--scale", "0"], "Expected --scale as a number above 0 but got 0."),
    (["--scale", "-1"], "Expected --scale as a number above 0 but got -1."),
    (["--scale", "nan"], "Expected --scale as a number above 0 but got nan."),
    (["--scale", "big"], "--scale"),
    (["--fps", "nan"], "--fps"),
    (["--fps", "60"], "--fps"),
    (["--chunk", "0"], "--chunk"),
    (["--frames", "0"], "--frames"),
    (["--frames", "1", "--separate"], "Expected a clip of at least 2 frames but got 1"),
    (["--start", "-1"], "Expected start as a film frame counted from 0, or 'middle', but got '-1'"),
    (["--start", "10"], "Expected start below the film's 10 frames but got 10"),
    (["--resize", "abc"], "Expected a size such as 224, 240x320 or 16x112x112 but got 'abc'"),
    (["--resize", "1x2x3"], "Expected resize as pixels, (height, width) in pixels, or None but got (1, 2, 3)"),
    (["--crop", "1x2x3"], "Expected crop as pixels, (height, width) in pixels, or None but got (1, 2, 3)"),
    (["--crop", "25"], "Expected frames of at least the crop's 25 x 25 but they are 24 x 36"),
    (["--order", "grb"], "Expected order as one of ('rgb', 'bgr') but got 'grb'"),
    (["--mean", "1,2"], "Expected mean as three numbers"),
    (["--mean", "a"], "Expected numbers with commas"),
    (["--std", "1,0,1"], "Expected std as three numbers above 0"),
    (["--divisor", "0"], "Expected divisor as a number above 0 but got 0.0"),
    (["--model", "net.py:Pictures"], "Expected a model of clips (N, C, T, H, W) but net.py:Pictures"),
    (["--model", "scenes-vgg"], "Expected a model of clips but scenes-vgg takes pictures (N, C, H, W)"),
    (["--model", "torchvision:resnet18", "--random-weights"], "but torchvision:resnet18 takes pictures"),
    (["--model", "motion-c3d"], "Expected clips (N, 3, 16, 48, 48) but got (1, 3, 4, 16, 16)"),
    (["--model", "c3d"], "Expected weights for c3d but got none"),
    (["--model", "c4d"], "Expected a known model but got 'c4d'. Did you mean 'c3d'"),
    (["--model", "net.py:Nut"], "Did you mean 'Net'"),
    (["--random-weights", "--weights", "a.gif"], "Leave one out"),
    (["--device", "cuda:99"], "Expected a device"),
    (["--out", "a.gif"], "a.gif' is a file. Take another one."),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "text"), ERRORS, ids=[" ".join(a) for a, _ in ERRORS])
def test_errors_are_one_line(
    arguments: list[str], text: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (here / "a.gif").read_bytes()
    (here / "cut.gif").write_bytes(whole[: len(whole) // 2])
    clips = [] if arguments[0].endswith((".gif", ".txt")) else ["a.gif"]
    before = _contents(here)
    assert run(["video", *clips, *SMALL, *arguments]) == (1 if "--out" in arguments else 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert err.startswith("relprop: ")
    assert err.count("\n") == 1
    assert {name for name in _contents(here) if "__pycache__" not in name} == set(before)
    assert not (here / "relprop-out").exists()  # no empty folder either


def test_an_error_leaves_older_results_as_they_were(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["video", "a.gif", *SMALL]) == 0
    before = _contents(here / "relprop-out")
    assert run(["video", "a.gif", *SMALL, "--target", "9"]) == 2
    assert run(["video", "a.gif", *SMALL, "--scale", "-3"]) == 2
    assert _contents(here / "relprop-out") == before
    # Nor is a folder replaced that holds somebody's own files, or anything written beside it.
    mine = here / "relprop-out" / "a" / "conserving_deep-taylor"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    assert run(["video", "a.gif", *SMALL, "--separate"]) == 1
    assert "thesis.tex" in capsys.readouterr().err
    assert _contents(here / "relprop-out") == before | {
        "a/conserving_deep-taylor/thesis.tex": b"years of work"
    }


def _shaking(path: Path) -> Path:
    """Eight frames of one scene, 40 x 40, moved about by whole pixels."""
    noise = np.random.default_rng(2).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(noise).resize((56, 48), Image.Resampling.BICUBIC))
    frames = [scene[4 + dy : 44 + dy, 6 + dx : 46 + dx] for dx, dy in _SHAKE]
    return save_gif(np.stack(frames), path, 10)


_SHAKE = [(0, 0), (2, 1), (4, 0), (5, -2), (3, -3), (1, 0), (-1, 2), (0, 4)]


def test_a_moving_camera_is_told_and_can_be_given(
    here: Path, capsys: pytest.CaptureFixture[str], unwritten: None
) -> None:
    clip = str(_shaking(here / "shaking.gif"))
    options = [
        clip,
        "--model",
        "net.py:Net",
        "--frames",
        "8",
        "--resize",
        "none",
        "--crop",
        "40",
        "--separate",
    ]
    (found,) = _document(capsys, *options)["clips"]
    offsets = -np.array(_SHAKE)  # what the window moves to the right, its content moves to the left
    assert found["camera"]["estimated"]
    assert found["camera"]["words"] == "moved by up to 6 pixels across and 7 down or up"
    assert np.array_equal(np.array(found["camera"]["maps"])[:, :, 2], offsets)
    assert any("The camera moved by up to 6 pixels" in note for note in found["notes"])
    np.savetxt(here / "path.txt", offsets, fmt="%d")
    (given,) = _document(capsys, *options, "--camera", "path.txt")["clips"]
    assert not given["camera"]["estimated"]
    assert given["camera"]["maps"] == found["camera"]["maps"]
    assert given["films"] == found["films"]
    (still,) = _document(capsys, *options, "--camera", "still")["clips"]
    assert still["camera"]["words"] == "stood still"
    (same,) = _document(capsys, *options[:-1], "--mode", "conserving:camera=still")["clips"]
    assert same["films"] == still["films"]
    assert run(["video", *options]) == 0
    assert "The camera moved by up to 6 pixels across" in capsys.readouterr().out


def test_a_page_shows_where_the_scene_is(here: Path) -> None:
    clip = read_clip(_shaking(here / "shaking.gif"), Sampling(frames=8, resize=None, crop=40))
    s = relprop.separate_motion(_model().module, clip.x, None, "deep-taylor", "conserving")
    moving, resting = (
        motion_figure(reel(part, clip.frames), names=["walk", "run", "rest"])
        for part in (s, replace(s, camera=None))
    )
    places = [line for axes in moving.axes for line in axes.lines if line.get_gid() == "place"]
    assert len(places) == 8
    assert not any(line.get_gid() == "place" for axes in resting.axes for line in axes.lines)
    moved = np.diff([line.get_xdata()[0] for line in places])
    assert np.allclose(moved, -np.diff(np.array(_SHAKE)[:, 0]) * moved[0] / -2)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--camera", "still"], "--camera beside --separate or --mode conserving"),
        (["--separate", "--camera", "nowhere.txt"], "Expected a text file .*nowhere.txt"),
        (["--separate", "--camera", "names.txt"], "lines of two or six numbers in 'names.txt'"),
        (["--separate", "--camera", "empty.txt"], "numbers in 'empty.txt' but .* no line. Write"),
        (["--separate", "--camera", "three.txt"], "numbers in 'three.txt' but got 3 in each"),
        (["--separate", "--versus", "crawl"], "crawl"),
    ],
)
def test_cameras_and_classes_that_are_not_there(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert run(["video", "a.gif", *SMALL, *words]) != 0
    assert re.search(text, " ".join(capsys.readouterr().err.split()))


def test_one_class_rather_than_another(
    here: Path, capsys: pytest.CaptureFixture[str], unwritten: None
) -> None:
    options = ["a.gif", *SMALL, "--labels", "names.txt", "--separate"]
    (found,) = _document(
        capsys, *options, "--target", "walk", "--versus", "rest", "--method", "deep-taylor:negative=against"
    )["clips"]
    assert found["versus"] == "rest"
    total = found["films"]["original"]["sum"]
    assert abs(total) == pytest.approx(1, rel=1e-5)
    (turned,) = _document(
        capsys, *options, "--target", "rest", "--versus", "walk", "--method", "deep-taylor:negative=against"
    )["clips"]
    assert turned["films"]["original"]["sum"] == pytest.approx(-total)
    assert run(["video", *options, "--target", "walk", "--versus", "rest"]) == 0
    assert "Explained: walk rather than rest" in capsys.readouterr().out
