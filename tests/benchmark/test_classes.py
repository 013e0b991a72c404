"""Which outputs stand for a class, and which the network predicts."""

from __future__ import annotations

import pytest
import torch

from relprop.benchmark.classes import ClassMap, are_wordnet_ids
from relprop.errors import InputError
from relprop.models.packaged import imagenet_synsets


def test_names_meet_whatever_their_case() -> None:
    found = ClassMap.by_name(["cat", "Dog ", "yak"], ["owl", "DOG", "cat", "dog"], "top-1")
    assert found.outputs == ((2,), (1, 3), ())


def test_without_names_the_number_counts() -> None:
    assert ClassMap.by_name(["cat", "dog"], None, "top-1").outputs == ((0,), (1,))


def test_no_class_in_common() -> None:
    with pytest.raises(InputError, match=r"\(cat, dog, …\) but its own are a, b"):
        ClassMap.by_name(["cat", "dog"], ["a", "b"], "top-1")


def test_target_is_the_likeliest_output_of_the_class() -> None:
    classes = ClassMap(((2,), (1, 3), ()), "top-1")
    scores = torch.tensor([9.0, -1.0, 0.0, -0.5])
    assert [classes.target(k, scores) for k in (0, 1, 2, -1)] == [2, 3, None, 0]
    assert classes.target(5, scores) is None
    assert classes.target(1, torch.zeros(4)) == 1  # a tie: the first


def test_more_classes_than_outputs() -> None:
    classes = ClassMap.by_name(["a", "b", "c"], None, "top-1")
    assert classes.target(1, torch.zeros(2)) == 1
    with pytest.raises(InputError, match=r"output 2 for class 2 .*has 2 outputs"):
        classes.target(2, torch.zeros(2))


@pytest.mark.parametrize(
    ("rule", "predicted"),
    [
        ("sigmoid", [True, False, False]),
        ("top-1", [False, False, False]),
        ("top-5", [True, True, False]),
    ],
)
def test_predicted(rule: str, predicted: list[bool]) -> None:
    scores = torch.tensor([0.0, -2.0, 5.0, 4.0, 3.0, -3.0, -9.0])
    classes = ClassMap(((0,), (1, 6), (6,)), rule)
    # Of seven, the five highest are 2, 3, 4, 0 and 1.
    assert [classes.predicts(k, scores) for k in range(3)] == predicted
    assert classes.predicts(-1, scores)


def test_top_one() -> None:
    classes = ClassMap(((0, 2), (1,)), "top-1")
    assert classes.predicts(0, torch.tensor([0.0, 1.0, 2.0]))
    assert not classes.predicts(1, torch.tensor([0.0, 1.0, 2.0]))


def test_top_five_of_fewer_outputs() -> None:
    assert ClassMap(((0,), (1,)), "top-5").predicts(0, torch.tensor([-5.0, 1.0]))


def test_wordnet_ids_meet_imagenets_classifiers() -> None:
    ids = ["n01440764", "n99999999", "n02124075"]
    assert are_wordnet_ids(ids)
    assert not are_wordnet_ids([*ids, "tench"])
    names = list(imagenet_synsets().values())
    first = [name.split(",")[0].replace(" ", "_") for name in names]  # as some models spell them
    for model in (None, names, first):
        assert ClassMap.by_wordnet(ids, model, "top-1").outputs == ((0,), (), (285,))


@pytest.mark.parametrize("classes", [["tench"] * 1000, ["tench, Tinca tinca", "goldfish"]])
def test_wordnet_ids_and_a_model_of_other_classes(classes: list[str]) -> None:
    with pytest.raises(InputError, match="ImageNet's 1000 classes in the usual order"):
        ClassMap.by_wordnet(["n01440764"], classes, "top-1")
    with pytest.raises(InputError, match="others: n99999999"):
        ClassMap.by_wordnet(["n99999999"], None, "top-1")


def test_confidence_is_that_of_a_picture_classified_rightly() -> None:
    classes = ClassMap(((0,), (1, 2), ()), "top-1")
    scores = torch.tensor([1.0, 0.0, 2.0])
    own = float(torch.softmax(scores, 0)[2])
    assert [classes.confidence(k, scores, multi_label=False) for k in range(3)] == [0.0, own, 0.0]
    alone = torch.tensor([-1.0, 0.5, 2.0])
    assert classes.confidence(1, alone, multi_label=True) == float(torch.sigmoid(alone[2]))
    assert classes.confidence(0, alone, multi_label=True) == 0.0
    for others in ([0.0, -1.0, 2.0], [-1.0, -1.0, -1.0]):  # another class, too; none at all
        assert classes.confidence(1, torch.tensor(others), multi_label=True) == 0.0
