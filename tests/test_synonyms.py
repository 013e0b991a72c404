"""Synonyms: names of other libraries lead to ours, and to nothing that isn't there."""

from __future__ import annotations

import re

import pytest

from relprop.catalogue import DETECTOR_SPECS, DETECTORS, METHODS, METRICS, MODEL_SPECS, MODELS
from relprop.errors import InputError, UnknownNameError
from relprop.synonyms import METHODS_ELSEWHERE, METRICS_ELSEWHERE, MODELS_ELSEWHERE, meant


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        METHODS.check(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("table", "registry"),
    [(METHODS_ELSEWHERE, METHODS), (METRICS_ELSEWHERE, METRICS)],
    ids=["methods", "metrics"],
)
def test_what_is_named_is_there(table: dict[str, str], registry: dict[str, object]) -> None:
    ours = {re.sub("[^a-z0-9+]", "", name): name for name in registry}
    for typed, sentence in table.items():
        assert re.fullmatch(r"[a-z0-9+]+", typed)
        if typed in ours:  # one that is spelled as ours but for its dashes leads to it
            assert ours[typed] in sentence
        assert sentence.endswith(".")
        named = re.findall(r"(?:It is|nearest(?: is|, which adds up as well, is)) ([a-z0-9-]+)", sentence)
        assert all(name in registry for name in named), sentence
        assert named or any(name in sentence for name in registry), sentence


def test_models_that_are_named_are_there() -> None:
    known = {*MODEL_SPECS, *DETECTORS, *MODELS}
    for sentence in MODELS_ELSEWHERE.values():
        named = re.findall(r"(?:scenes|motion|efficientnet)-[a-z0-9]+", sentence)
        assert named
        assert set(named) <= known


def test_a_family_is_told_instead_of_the_nearest_spelling() -> None:
    with pytest.raises(InputError) as caught:
        METHODS.make("lrp", {})
    members = [name for name in METHODS if name.startswith("lrp-")]
    assert f"one of its family: {', '.join(members)}." in str(caught.value)
    assert "clrp" not in str(caught.value)
    told = refused("lrp-z")
    assert "lrp-epsilon, lrp-gamma" in told.split("Valid")[0]
    assert "Did you mean" not in told


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        ("grad cam", "grad-cam"),
        ("GradCAM", "grad-cam"),
        ("ig", "integrated-gradients"),
        ("smooth-grad", "smoothgrad"),
        ("SmoothGrad:samples=3", "smoothgrad"),
        ("guided_backprop", "guided-backprop"),
        ("Guided Backpropagation", "guided-backprop"),
        ("Saliency", "gradient"),
        ("InputXGradient", "gradient-x-input"),
        ("occlusion", "integrated-gradients"),
        ("GradientShap", "integrated-gradients"),
        ("ScoreCAM", "grad-cam"),
        ("DeepLift", "lrp-epsilon"),
        ("EpsilonPlusFlat", "lrp-composite"),
        ("excitation_backprop", "excitation-backprop"),
        ("DTD", "deep-taylor"),
    ],
)
def test_names_of_other_libraries(typed: str, ours: str) -> None:
    assert ours in refused(typed).split("Valid:")[0]


def test_a_typing_error_stays_one() -> None:
    assert "Did you mean 'lrp-epsilon'?" in refused("lrp-epsilom")
    assert meant("method", "lrp-epsilom") == meant("data set", "voc12") == ""


def test_models_of_libraries() -> None:
    for name in ("resnet50", "vgg16", "convnext_tiny", "vit_b_16", "resnet50.a1_in1k"):
        with pytest.raises(UnknownNameError, match=f"torchvision:{name} or timm:{name}"):
            MODEL_SPECS.check(name)
    with pytest.raises(UnknownNameError, match=r"front: torchvision:ssd300_vgg16\."):
        DETECTOR_SPECS.check("ssd300_vgg16")
    with pytest.raises(UnknownNameError, match=r"YOLO, YOLOX, DETR"):
        DETECTOR_SPECS.check("yolov8n")
    with pytest.raises(UnknownNameError, match=r"'alexandria'\. Valid"):
        MODEL_SPECS.check("alexandria")
