"""Two measured effects on two classes."""

from __future__ import annotations

import re

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.detectors.nets import linear_detector
from tests.detectors.nets.linear_detector import SIDE
from tests.detectors.test_removal import TERMS, gone

from relprop.detectors import WhatIf, what_if_effects
from relprop.detectors.variants import inside
from relprop.detectors.what_if import nearest
from relprop.errors import InputError


def test_effects_of_a_linear_detector_are_known() -> None:
    detector, image = linear_detector.detector(), linear_detector.picture()
    prepared = detector.prepared(image)
    d = detector(image).at(0, 1)
    region = torch.tensor([0.0, 0.0, 5.0, 24.0])
    made = what_if_effects(detector, image, d, 2, region, fill="mean")
    own, other = inside(torch.stack([d.box, region.double()]), prepared)
    lost = gone(detector, prepared, 0, torch.stack([own, other & ~own])).detach()
    size = float(prepared.x.abs().sum())
    assert made.region is not None
    found = torch.tensor([made.box, made.region], dtype=torch.float64)
    assert_close_to_rounding(found, lost[:, [1, 2]], TERMS, size)
    assert (made.label, made.other, made.runs, made.apart) == ("dog", "cat", 3, True)
    assert made.place == (0, 0, 5, 24)
    alone = what_if_effects(detector, image, d, 2, fill="mean")
    assert alone.region is None
    assert alone.box == pytest.approx(made.box)
    assert alone.words.startswith("No cat is known in this picture. Taking the detected dog away")


def test_regions_that_overlap_are_said_to() -> None:
    detector, image = linear_detector.detector(), linear_detector.picture()
    prepared = detector.prepared(image)
    d = detector(image).at(0, 1)
    made = what_if_effects(detector, image, d, 2, d.box, fill="mean")
    assert not made.apart
    assert made.region == pytest.approx(made.box)
    assert "The two regions overlap" in made.words
    assert prepared.window == (0, 0, SIDE, SIDE)


def test_the_nearest_of_a_class() -> None:
    detector, image = linear_detector.detector(), linear_detector.picture()
    found = detector(image)
    first = found[0]
    for label in (1, 2):
        others = [d for d in found if d.label == label and d.anchor != first.anchor]
        box = nearest(first, found, label)
        if others:
            assert box is not None
            assert any(torch.equal(box, d.box) for d in others)
        else:
            assert box is None


def test_words() -> None:
    made = WhatIf("dog", "cat", (4.0, 1.0), (9.0, 2.9), (-0.02, 0.1), (0, 0, 5, 5), True, "inpaint", 3)
    assert made.words == (
        "Taking the detected dog away lowers cat's logit here by 2.9 (dog's falls by 9.0). Taking the cat's "
        "region away lowers it by 0.1 (dog's stays): what this place says of cat is rather from the detected "
        "object. (Filled by a smooth continuation of what is around.)"
    )
    made = WhatIf("dog", "cat", (4.0, 1.0), (9.0, -0.5), (-0.2, 1.5), (0, 0, 5, 5), True, "inpaint", 3)
    assert "raises cat's logit here by 0.5" in made.words
    assert "rather from the cat." in made.words


def test_refusals() -> None:
    detector, image = linear_detector.detector(), linear_detector.picture()
    d = detector(image).at(0, 1)
    with pytest.raises(InputError, match="another class than the detection's, 1, from 0 to 2 but got 1"):
        what_if_effects(detector, image, d, 1)
    with pytest.raises(
        InputError, match=re.escape("Expected a region of (4,), x0, y0, x1, y1, but got (2,).")
    ):
        what_if_effects(detector, image, d, 2, torch.zeros(2))
    with pytest.raises(InputError, match="Expected boxes with pixels in the picture"):
        what_if_effects(detector, image, d, 2, torch.tensor([30.0, 30.0, 40.0, 40.0]))
