"""`scenes` as samples: the same truth, in the form that metrics take."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from relprop.datasets import CLASSES, Scenes, SceneSamples
from relprop.errors import InputError, UnknownNameError


def test_samples_hold_the_scenes_truth() -> None:
    data = SceneSamples(n=12, size=64, seed=3)
    assert data.classes == tuple(CLASSES)
    assert data.names[11] == "test-3-000011"
    hard = 0
    for sample, scene in zip(data, Scenes(n=12, size=64, seed=3, split="test"), strict=True):
        assert (np.asarray(sample.image) == scene.image).all()
        assert (sample.boxes == scene.boxes).all()
        assert (sample.box_labels == scene.labels).all()
        assert (sample.difficult == scene.difficult).all()
        hard += int(scene.difficult.sum())
        easy = {int(c) for c, d in zip(scene.labels, scene.difficult, strict=True) if not d}
        assert sample.labels == tuple(sorted(easy))
        assert sample.masks is not None
        assert set(sample.masks) == set(scene.labels.tolist())
        for label, mask in sample.masks.items():
            region = sample.region(label)
            assert region is not None
            assert (mask == scene.class_mask(label)).all()
            assert not (mask & ~region).any()
    assert hard > 0


def test_only_difficult_objects_are_no_label() -> None:
    data = SceneSamples(n=200, size=48)
    left_out = [s for s in data if set(s.box_labels.tolist()) != set(s.labels)]
    assert left_out
    assert all(
        s.difficult[s.box_labels == c].all() for s in left_out for c in set(s.box_labels) - set(s.labels)
    )


def test_refusals() -> None:
    with pytest.raises(InputError, match="one picture"):
        SceneSamples(n=0)
    with pytest.raises(InputError, match=r"size .*32"):
        SceneSamples(size=8)
    with pytest.raises(UnknownNameError, match=r"split but got 'dev'.*Valid: test, train, val"):
        SceneSamples(split="dev")


def test_fingerprint_names_what_makes_the_scenes() -> None:
    same = SceneSamples(n=5)
    texts = {
        SceneSamples(**options).fingerprint()
        for options in (
            {"n": 5},
            {"n": 6},
            {"n": 5, "size": 64},
            {"n": 5, "seed": 1},
            {"n": 5, "split": "val"},
        )
    }
    assert len(texts) == 5
    assert pickle.loads(pickle.dumps(same)).fingerprint() == same.fingerprint()
    assert (pickle.loads(pickle.dumps(same))[2].boxes == same[2].boxes).all()
