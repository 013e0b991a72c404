"""Segmentation: cut-outs by hand, refinement, and the dense CRF where it is installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from tests.metrics import make

from relprop.datasets.sample import Sample
from relprop.errors import InputError
from relprop.metrics import Case, Segmentation, foreground, iou, segmentation_scores
from relprop.metrics.crf import DenseCRF
from relprop.metrics.segmentation import foreground_probability

MASKS = arrays(np.bool_, (4, 5))


@given(MASKS, MASKS, MASKS)
def test_scores_by_hand(cut: np.ndarray, region: np.ndarray, ignore: np.ndarray) -> None:
    pixels = [(bool(c), bool(r)) for c, r, i in zip(cut.flat, region.flat, ignore.flat, strict=True) if not i]
    found = segmentation_scores(cut, region, ignore)
    if not any(r for _, r in pixels):
        assert found is None
        return
    assert found is not None
    front = pixels.count((True, True)) / (len(pixels) - pixels.count((False, False)))
    assert found["foreground"] == front == iou(cut, region, 0.5, ignore)
    behind = len(pixels) - pixels.count((True, True))
    assert found["mean"] == ((front + pixels.count((False, False)) / behind) / 2 if behind else front)
    assert found["pixel-accuracy"] == sum(c == r for c, r in pixels) / len(pixels)


def test_foreground_is_above_0_or_above_the_mean() -> None:
    heat = [[4.0, 1.0, 0.0, -1.0]]
    assert foreground(heat).tolist() == [[True, True, False, False]]
    assert foreground([[4.0, 1.0, 1.0, 0.0]], signed=False).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("value", [0.1, 0.3, 1e300])
def test_constant_unsigned_map_has_no_foreground(value: float) -> None:
    assert not foreground(np.full((7, 7), value), signed=False).any()
    assert (foreground_probability(np.full((7, 7), value), signed=False) == 0.5).all()


@given(arrays(np.float64, (4, 5), elements=st.integers(-9, 9).map(float)), st.booleans())
def test_probability_passes_one_half_where_the_foreground_begins(heat: np.ndarray, signed: bool) -> None:
    heat = heat if signed else np.abs(heat)
    p = foreground_probability(heat, signed)
    assert ((p > 0.5) == foreground(heat, signed)).all()
    assert p.min() >= 0
    assert p.max() <= 1


def test_class_reads_masks_and_leaves_ignored_pixels_out() -> None:
    case = make.masked_case(
        [[1.0, 1.0, -1.0]], [[1, 0, 0]], label=-1, ignore=np.array([[False, True, False]])
    )
    case = Case(case.sample, -1, case.heat)  # -1: the union of all masks
    assert Segmentation().measure(case) == {"foreground": 1.0, "mean": 1.0, "pixel-accuracy": 1.0}
    found = Segmentation(ignore=False).measure(case)
    assert found == {"foreground": 0.5, "mean": 0.5, "pixel-accuracy": 2 / 3}
    assert Segmentation(region="boxes").measure(case) == {}
    assert Segmentation().measure(make.masked_case([[1.0]], [[0]])) == {}


def test_object_over_the_whole_picture_has_no_background_to_judge() -> None:
    assert segmentation_scores([[1, 1]], [[1, 1]]) == {"foreground": 1.0, "mean": 1.0, "pixel-accuracy": 1.0}
    assert segmentation_scores([[1, 0]], [[1, 1]]) == {"foreground": 0.5, "mean": 0.25, "pixel-accuracy": 0.5}


def test_refinement_gets_picture_and_probability() -> None:
    seen = []

    def refine(picture: np.ndarray, probability: np.ndarray) -> np.ndarray:
        seen.append((picture, probability))
        return probability < 0.5

    metric = Segmentation(refine=refine)
    assert metric.measure(make.masked_case([[-1.0, 0.5]], [[1, 0]]))["foreground"] == 1.0
    ((picture, probability),) = seen
    assert (picture.dtype, picture.shape, picture[0, 0].tolist()) == (np.uint8, (1, 2, 3), [128, 128, 128])
    assert probability.tolist() == [[0.0, 0.75]]


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"crf=True .*both"):
        Segmentation(crf=True, refine=lambda picture, probability: probability > 0)
    with pytest.raises(InputError, match=r"refine .*got 3"):
        Segmentation(refine=3)  # type: ignore[arg-type]
    bad = Segmentation(refine=lambda picture, probability: probability)
    with pytest.raises(InputError, match=r"region .*got float64"):
        bad.measure(make.masked_case([[-1.0, 0.5]], [[1, 0]]))
    small = Case(make.sample((4, 4), masks={0: np.ones((2, 2), dtype=bool)}), 0, np.ones((2, 2)))
    with pytest.raises(InputError, match=r"size \(4, 4\) but got \(2, 2\)"):
        bad.measure(small)
    with pytest.raises(InputError, match=r"Expected a finite map"):
        foreground([[np.nan]])


def two_colours() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture dark on the left and light on the right, a noisy probability of light, and the truth."""
    truth = np.zeros((40, 60), dtype=bool)
    truth[:, 30:] = True
    picture = np.where(truth, 200, 40).astype(np.uint8)[..., None].repeat(3, -1)
    noise = np.random.default_rng(0).normal(0, 0.25, truth.shape)
    return picture, (np.where(truth, 0.7, 0.3) + noise).clip(0, 1), truth


def test_crf_cleans_a_noisy_map_up_to_the_colours_border() -> None:
    pytest.importorskip("pydensecrf")
    picture, probability, truth = two_colours()
    assert 0.1 < ((probability > 0.5) != truth).mean() < 0.3
    assert (DenseCRF()(picture, probability) == truth).all()
    heat = probability - 0.5
    sample = Sample("two", Image.fromarray(picture), masks={0: truth})
    assert Segmentation(crf=True).measure(Case(sample, 0, heat))["foreground"] == 1.0
    assert Segmentation().measure(Case(sample, 0, heat))["foreground"] < 0.8


def test_crf_without_pairs_returns_the_probability() -> None:
    pytest.importorskip("pydensecrf")
    picture, probability, _ = two_colours()
    alone = DenseCRF(smooth_weight=0, weight=0)
    kept = probability.clip(0.01, 0.99)
    assert np.abs(alone.probability(picture, probability) - kept).max() < 1e-6  # float32
    decided = np.abs(probability - 0.5) > 1e-6
    assert (alone(picture, probability) == (probability > 0.5))[decided].all()


def test_crf_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    text = r"The dense CRF needs `pydensecrf2`. Install it with: pip install 'relprop\[crf\]'."
    with pytest.raises(InputError, match=text):
        Segmentation(crf=True).measure(make.masked_case([[1.0]], [[1]]))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"steps": -1}, "Expected steps of a dense CRF to be >= 0 but got -1."),
        ({"steps": 2.0}, "Expected steps of a dense CRF to be >= 0 but got 2.0."),
        ({"weight": float("nan")}, "Expected weight of a dense CRF to be >= 0 but got nan."),
        ({"size": 0}, "Expected size of a dense CRF to be >= 1e-09 but got 0."),
        ({"certain": 0.5}, "Expected certain to be between 0.5 and 1 but got 0.5."),
    ],
)
def test_crf_settings_are_checked(settings: dict[str, float], text: str) -> None:
    with pytest.raises(InputError, match=text):
        DenseCRF(**settings)  # type: ignore[arg-type]


def test_crf_input_is_checked() -> None:
    with pytest.raises(InputError, match=r"picture .*uint8"):
        DenseCRF()(np.zeros((2, 2, 3)), np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"probabilities .*got 0 to 2"):
        DenseCRF()(np.zeros((1, 2, 3), np.uint8), [[0.0, 2.0]])
