"""Max-sensitivity: by hand on maps that are known, the same noise for all methods, and as Quantus has it."""

from __future__ import annotations

import zlib
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from tests.metrics import make
from tests.refusals import assert_refused
from torch import Tensor

from relprop.benchmark.recipe import recipe_from
from relprop.benchmark.worker import Worker
from relprop.errors import InputError
from relprop.methods.facts import Facts, remember
from relprop.metrics import MaxSensitivity

pytestmark = pytest.mark.skipif(find_spec("quantus") is None, reason="needs quantus")


def noise(name: str, shape: tuple[int, ...], radius: float, samples: int, seed: int = 0) -> np.ndarray:
    random = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return random.uniform(-radius, radius, (samples, int(np.prod(shape)))).reshape(samples, *shape)


def test_by_hand() -> None:
    # The map is the picture's first channel: it changes by the noise there.
    whole = make.model_case(1)
    assert whole.x is not None
    first = whole.x[0, 0]
    case = replace(whole, map=first, explain_at=lambda x: x[:, 0])
    drawn = noise("p1", (3, 16, 16), 0.1, 5)
    expected = max(np.linalg.norm(n[0]) for n in drawn) / np.linalg.norm(first.numpy())
    assert MaxSensitivity(radius=0.1, samples=5).measure(case) == {"largest": pytest.approx(expected)}
    other = MaxSensitivity(radius=0.1, samples=5, seed=3).measure(case)["largest"]
    assert other != pytest.approx(expected)
    assert MaxSensitivity(radius=0).measure(case) == {"largest": 0.0}


def test_noise_leaves_a_picture_a_picture() -> None:
    whole = make.model_case(1)
    assert whole.x is not None
    seen: list[Tensor] = []

    def explained(x: Tensor) -> Tensor:
        seen.append(x)
        return x[:, 0]

    model = make.net()
    remember(model, Facts(box=(torch.tensor([-1.0, -2.0, -9.0]), torch.tensor([1.0, 2.0, 9.0]))))
    case = replace(whole, model=model, x=whole.x.clamp(-1, 1), map=whole.x[0, 0], explain_at=explained)
    MaxSensitivity(radius=1.5, samples=3).measure(case)
    (x,) = seen
    assert [float(x[:, c].abs().max()) for c in (0, 1)] == [1.0, 2.0]
    assert 2 < float(x[:, 2].abs().max()) <= 2.5


def test_a_map_of_one_kind_never_moves_and_an_empty_one_is_left_out() -> None:
    whole = make.model_case()
    assert whole.map is not None
    heat = whole.map
    still = replace(whole, explain_at=lambda x: heat.expand(len(x), -1, -1))
    assert MaxSensitivity(samples=2).measure(still) == {"largest": 0.0}
    negative = replace(
        whole, map=-heat.abs() - 1, explain_at=lambda x: -heat.abs().expand(len(x), -1, -1) - 1
    )
    assert MaxSensitivity(samples=2).measure(negative) == {"largest": 0.0}
    assert MaxSensitivity(samples=2).measure(replace(whole, map=0 * heat)) == {}


def test_pictures_are_explained_together_with_the_methods_own_settings() -> None:
    table = {
        "name": "r",
        "batch": 2,
        "data": {"name": "scenes", "n": 1},
        "model": {"spec": "scenes-resnet", "geometry": "squash"},
        "methods": ["gradient-x-input", "lrp-composite", "center", "edges"],
        "metrics": [{"name": "max-sensitivity", "samples": 3, "radius": 0.05}],
    }
    worker = Worker(recipe_from(table))
    found = worker.process(0)
    assert found.problems == ()
    values = {(r.method, r.label): r.values["largest"] for r in found.records}
    label = found.records[0].label
    assert values["center", label] == 0.0  # knows nothing of the picture
    assert 0 < values["edges", label] < values["gradient-x-input", label]
    # As relprop explains the same noisy pictures one by one.
    import relprop

    _, _, case = worker.maps(found.records[0].image, label, "gradient-x-input")
    assert case.x is not None
    assert case.map is not None
    moved: list[Tensor] = []
    for n in noise(found.records[0].image, (3, 112, 112), 0.05, 3):
        low, high = (bound[:, None, None] for bound in relprop.models.load("scenes-resnet").facts.box)
        x = (case.x.double() + torch.from_numpy(n)).clamp(low, high).float()
        moved.append(relprop.explain(worker.model.module, x, case.target, "gradient-x-input").heatmap()[0])
    expected = max(float((m - case.map).norm() / case.map.norm()) for m in moved)
    assert values["gradient-x-input", label] == pytest.approx(expected, rel=1e-3)


def test_refusals() -> None:
    whole = make.model_case()
    assert_refused(
        InputError,
        (lambda: MaxSensitivity(radius=-1), "radius to be >= 0 but got -1"),
        (lambda: MaxSensitivity(samples=0), r"samples .*got 0"),
        (lambda: MaxSensitivity(seed=-1), r"seed .*got -1"),
        (lambda: MaxSensitivity().measure(replace(whole, explain_at=None)), "got explain_at=None"),
    )
