"""explain_detection: exactly that unit, nothing else; sums, names, layers, refusals."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.detectors.nets.torchvision_nets import BIG, SMALL, big, small
from torch import Tensor, nn

import relprop
from relprop import explain_detection
from relprop.detectors import BoxCode, Detections, Detector, wrap
from relprop.errors import InputError, UnknownNameError
from relprop.explanation import Explanation

NAMES = ["none", "dog", "cat", "sheep", "cow"]
CODE = ("cx", "cy", "w", "h")


class Objects(nn.Module):
    """Classes, offsets and objectness of six anchors from one convolution, as YOLO has them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4))
        self.out = nn.Conv2d(6, 8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        units = self.out(self.body(x)).flatten(2).transpose(1, 2)
        return units[..., 5:], units[..., :4], units[..., 4]


def objects() -> Detector:
    anchors = torch.tensor([[x, y, x + 4.0, y + 4.0] for y in (0.0, 4.0) for x in (0.0, 4.0, 8.0)])
    return wrap(
        Objects().eval().double(),
        anchors=anchors,
        decode=BoxCode().decode,
        scores="sigmoid",
        classes=["dog", "cat", "sheep"],
        score_threshold=0.05,
        nms_threshold=1.0,
    )


OBJECTS_X = torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def scene(name: str) -> tuple[Detector, Tensor, Detections]:
    """A small torchvision detector in float64, a picture, and what it finds there."""
    detector = wrap(small(name).double(), classes=NAMES)
    picture = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return detector, picture, detector(picture)


def unit_gradient(detector: Detector, picture: Any, part: int, anchor: int, column: int) -> Tensor:
    """Gradient x input of one raw output: column `column` of output `part` at `anchor`."""
    x = detector.prepared(picture).x.requires_grad_()
    raw = detector.raw(x)[part]
    value = raw[0, anchor] if raw.ndim == 2 else raw[0, anchor, column]
    (gradient,) = torch.autograd.grad(value, x)
    return gradient * x.detach()


@pytest.mark.parametrize("name", SMALL)
def test_exactly_the_detections_own_unit_is_explained(name: str) -> None:
    detector, picture, found = scene(name)
    for d in (found[0], found[-1]):
        e = explain_detection(detector, picture, d, ["class", *detector.offsets], method="gradient-x-input")
        expected = [unit_gradient(detector, picture, 0, d.anchor, d.label)]
        expected += [unit_gradient(detector, picture, 1, d.anchor, i) for i in range(4)]
        assert torch.allclose(e.relevance, torch.stack(expected), rtol=1e-10, atol=1e-14)
        assert e.outputs[0, :5].softmax(0)[d.label] == pytest.approx(d.score) or name != "ssd"


def test_objectness_has_its_own_unit() -> None:
    detector = objects()
    e = explain_detection(detector, OBJECTS_X, 4, ["objectness", "class"], method="gradient-x-input")
    best = detector(OBJECTS_X).at(4).label
    assert torch.allclose(e.relevance[0], unit_gradient(detector, OBJECTS_X, 2, 4, 0), atol=1e-14)
    assert torch.allclose(e.relevance[1], unit_gradient(detector, OBJECTS_X, 0, 4, best), atol=1e-14)


@pytest.mark.parametrize("method", ["crp", "lrp-epsilon", "deep-taylor"])
def test_rows_at_once_are_the_rows_one_by_one(method: str) -> None:
    detector, picture, found = scene("ssd")
    d = found[1]
    together = explain_detection(
        detector, picture, d, ["class", "w", "cy"], target=["dog", "cat"], method=method
    )
    assert together.extras["of"] == ["class dog", "class cat", "w", "cy"]
    singles = [
        explain_detection(detector, picture, d, "class", "dog", method),
        explain_detection(detector, picture, d, "class", 2, method),
        explain_detection(detector, picture, d, "w", None, method),
        explain_detection(detector, picture, d, "cy", None, method),
    ]
    assert [s.relevance.shape for s in singles] == [together.relevance.shape[1:]] * 4
    assert torch.allclose(torch.stack([s.relevance for s in singles]), together.relevance, atol=1e-14)
    assert singles[0].extras["of"] == "class dog"


@pytest.mark.parametrize("method", ["gradient-x-input", "crp", "margin-rsp", "agreement"])
def test_a_class_against_another(method: str) -> None:
    detector, picture, found = scene("ssd")
    d = found[1]
    e = explain_detection(detector, picture, d, "class", "dog", method, versus="cat")
    assert e.extras["of"] == "class dog − cat"
    unit, x = detector.unit(detector.prepared(picture), [d.anchor]), detector.prepared(picture).x
    names = detector.classes or []
    pair = relprop.explain(
        unit, x, names.index("dog"), method, versus=names.index("cat"), facts=detector.facts.fitting(x)
    )
    assert torch.allclose(e.relevance, pair.relevance, rtol=1e-10, atol=1e-12)
    assert float(e.relevance.abs().max()) > 0
    both = explain_detection(detector, picture, [d, found[0]], ["class", "cx"], ["dog"], method, versus=2)
    other = explain_detection(detector, picture, found[0], "class", "dog", method, versus="cat")
    assert torch.allclose(both.relevance[0], e.relevance + other.relevance, rtol=1e-10, atol=1e-12)


def test_agreement_answers_each_part_as_it_would_alone() -> None:
    detector, picture, found = scene("ssd")
    ask = partial(explain_detection, detector, picture, found[1], method="agreement")
    both = ask(["class", "cx"], ["dog"], versus="cat")
    pair, shift = ask("class", "dog", versus="cat"), ask("cx")
    assert torch.allclose(both.relevance[0], pair.relevance, rtol=1e-10, atol=1e-12)
    assert torch.allclose(both.relevance[1], shift.relevance, rtol=1e-10, atol=1e-12)
    assert float(pair.relevance.min()) < 0 <= float(shift.relevance.min())  # two colours of the pair alone
    assert both.ledger is not None
    assert both.ledger.closes


def test_several_detections_are_added() -> None:
    detector, picture, found = scene("ssd")
    chosen = [found[0], found[2], found[3]]
    layers = ["backbone.low.0"]
    for of in ("class", ["class", "cx"]):
        singles = [explain_detection(detector, picture, d, of, layers=layers) for d in chosen]
        e = explain_detection(detector, picture, chosen, of, layers=layers)
        assert torch.allclose(e.relevance, sum(s.relevance for s in singles), atol=1e-13)
        assert torch.allclose(e.layers[layers[0]], sum(s.layers[layers[0]] for s in singles), atol=1e-13)
        assert [d["anchor"] for d in e.extras["detection"]] == [d.anchor for d in chosen]
        assert e.targets.shape == singles[0].targets.shape


def test_an_anchors_index_stands_for_its_best_class() -> None:
    detector, picture, found = scene("ssd")
    d = found[0]
    by_hand = explain_detection(detector, picture, d.anchor)
    assert torch.equal(by_hand.relevance, explain_detection(detector, picture, d).relevance)
    assert by_hand.extras["detection"]["index"] is None
    # An anchor whose best class is the background: the best of the others is meant.
    none = int(found.reading.scores[:, 0].argmax())
    e = explain_detection(detector, picture, none)
    assert e.extras["detection"]["label"] == 1 + int(found.reading.scores[none, 1:].argmax())
    assert e.targets.tolist() == [e.extras["detection"]["label"]]
    what_if = explain_detection(detector, picture, none, target="none")
    assert what_if.targets.tolist() == [0]


def test_extras_and_a_saved_explanation(tmp_path: Path) -> None:
    detector, picture, found = scene("retinanet")
    e = explain_detection(detector, picture, found[0], ["class", "h"])
    assert e.at == "input"
    assert e.relevance.shape == (2, *detector.prepared(picture).x.shape)
    assert e.extras["detection"]["box"] == found[0].box.tolist()
    assert e.extras["picture"] == {"size": [50, 70], "scale": [70 / 56, 50 / 40], "offset": [0.0, 0.0]}
    again = Explanation.load(e.save(tmp_path / "out"))
    survived = e.extras.pop("survived")
    assert torch.equal(again.extras.pop("survived"), survived)
    assert again.extras == e.extras
    assert torch.equal(again.relevance, e.relevance)


def test_layers_go_by_the_raw_networks_names() -> None:
    detector, picture, found = scene("ssd")
    ask = partial(explain_detection, detector, picture, found[0], method="crp")
    e = ask(layers=["backbone.high.0", "head.regression_head"])
    assert list(e.layers) == ["backbone.high.0", "head.regression_head"]
    assert e.layers["backbone.high.0"].shape[:2] == (1, 8)
    with pytest.raises(UnknownNameError):
        ask(layers=["backbone.hihg"])
    with pytest.raises(InputError, match="string 'backbone'"):
        ask(layers="backbone")


def test_one_graph_serves_all_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, picture, found = scene("ssd")
    exported = []
    capturing = import_module("relprop.graph.exporting")
    export = capturing.export

    def counted(*args: Any, **settings: Any) -> Any:
        exported.append(1)
        return export(*args, **settings)

    monkeypatch.setattr(capturing, "export", counted)
    for d in found[:4]:
        explain_detection(detector, picture, d, ["class", "cx"])
    explain_detection(detector, picture, found[0], "w")
    assert len(exported) == 1
    explain_detection(detector, picture, found[:2])
    explain_detection(detector, picture, found[2:4])
    assert len(exported) == 2


LEVELS = [
    *((name, torch.float64) for name in SMALL),
    *(pytest.param(n, torch.float32, marks=pytest.mark.nightly) for n in BIG),
]


@pytest.mark.parametrize(("name", "dtype"), LEVELS)
def test_the_ledger_closes_on_every_level(name: str, dtype: torch.dtype) -> None:
    detector = wrap((big(name) if name in BIG else small(name)).to(dtype))
    height, width = BIG.get(name, (50, 70))
    picture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(3), dtype=dtype)
    start = 0
    for level in detector.levels(detector.prepared(picture).x):
        e = explain_detection(detector, picture, start + len(level) // 2, ["class", *detector.offsets])
        assert e.ledger is not None
        assert e.ledger.closes, (name, len(level), e.ledger.max_error)
        assert all(bool(row.abs().sum() > 0) for row in e.relevance)
        start += len(level)


def test_what_is_refused() -> None:
    detector, picture, found = scene("ssd")
    d = found[0]

    def refuses(text: str, *args: Any, error: type[Exception] = InputError, **settings: Any) -> None:
        with pytest.raises(error, match=text):
            explain_detection(*args, **settings)

    refuses("a relprop.detectors.Detector but got SSD", small("ssd"), picture, d)
    total = sum(len(level) for level in detector.levels(detector.prepared(picture).x))
    refuses(f"an anchor from 0 to {total - 1} but got {total}", detector, picture, total)
    refuses("an anchor from 0 to .* but got -1", detector, picture, -1)
    refuses("at least one detection but got an empty list", detector, picture, [])
    refuses("a Detection, an anchor's index, .* but got str", detector, picture, "dog")
    refuses("at least one part .* but got an empty list", detector, picture, d, [])
    refuses("at least one target class but got an empty list", detector, picture, d, "class", [])
    refuses(
        r"part of a detection but got 'x'\. .* Valid: class, cx, cy, h, w, x1, x2, y1, y2\.",
        detector,
        picture,
        d,
        "x",
        error=UnknownNameError,
    )
    refuses("part of a detection but got 'objectness'", detector, picture, d, "objectness")
    refuses("only 'class' has targets", detector, picture, d, "cx", "dog")
    refuses(
        r"class but got 'dgo'\. Did you mean 'dog'\? Valid: cat, cow, dog, none, sheep",
        detector,
        picture,
        d,
        "class",
        "dgo",
        error=UnknownNameError,
    )
    refuses("a class from 0 to 4 but got 5", detector, picture, d, "class", 5)
    refuses(
        "another class than the target but both are 'dog'", detector, picture, d, "class", "dog", versus="dog"
    )
    refuses("no versus without of='class'", detector, picture, d, "cx", versus="dog")
    refuses("no versus= for d-rise", detector, picture, d, method="d-rise", versus=(d.label + 1) % 5)
    refuses("a class index or name but got float 1.5", detector, picture, d, "class", 1.5)
    nameless = wrap(detector, classes=None)
    refuses("this detector has no class names", nameless, picture, d, "class", "dog")
    refuses("values from 0 to 1 but got", detector, picture * 255, d)
    refuses("a known method but got 'crpp'", detector, picture, d, method="crpp", error=UnknownNameError)


def test_a_detection_from_another_picture_is_refused() -> None:
    detector, picture, found = scene("ssd")
    text = rf"from this picture and detector but anchor {found[0].anchor} gives the offsets \["
    with pytest.raises(InputError, match=text):
        explain_detection(detector, 1 - picture, found[0])
    # Its anchor may be asked about any picture.
    explain_detection(detector, 1 - picture, found[0].anchor)


def test_the_same_picture_in_another_precision_is_the_same() -> None:
    detector, picture, found = scene("ssd")
    assert explain_detection(detector, picture.float(), found[0]).ledger is not None
    assert relprop.explain_detection is explain_detection


def test_forgetting_a_network_forgets_its_detector() -> None:
    """Whichever module `clear_cache` is told of; weights changed through ``.data`` are the ones used anyway."""
    detector, picture, found = scene("ssd")
    detector = wrap(copy.deepcopy(detector.raw), anchors=detector.anchors, decode=detector.decode)
    anchor = found[0].anchor
    before = explain_detection(detector, picture, anchor, target=1, method="lrp-alpha-beta").relevance
    for module in detector.raw.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data.neg_()
    relprop.clear_cache(detector.raw)
    after = explain_detection(detector, picture, anchor, target=1, method="lrp-alpha-beta")
    fresh = wrap(copy.deepcopy(detector.raw), anchors=detector.anchors, decode=detector.decode)
    expected = explain_detection(fresh, picture, anchor, target=1, method="lrp-alpha-beta")
    assert torch.equal(after.relevance, expected.relevance)
    assert not torch.allclose(after.relevance, before)


@pytest.mark.parametrize("method", ["crp", "lrp-0", "deep-taylor"])
def test_scores_that_went_through_a_sigmoid(method: str) -> None:
    """A raw network that gives probabilities is explained at its logits, offsets beside them as they are."""

    class Probable(Objects):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logits, offsets, objectness = super().forward(x)
            return logits.sigmoid(), offsets, objectness.sigmoid()

    plain = objects()
    detector = replace(plain, raw=Probable().eval().double())
    parts = ["class", *CODE, "objectness"]
    for anchor in range(6):
        e = explain_detection(detector, OBJECTS_X, anchor, parts, target=[0, 1, 2], method=method)
        bare = explain_detection(plain, OBJECTS_X, anchor, parts, target=[0, 1, 2], method=method)
        assert_close_to_rounding(e.relevance, bare.relevance, plain.raw)
        assert any("in front of the last sigmoid" in note for note in e.notes)
