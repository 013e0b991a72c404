"""`scenes` is what it says: same everywhere, exact truth, and colour alone never decides."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from relprop.datasets import CLASSES, Scene, Scenes
from relprop.datasets._render import CLASS_PARTS
from relprop.datasets._surface import SHAPES, TEXTURES
from relprop.errors import InputError, UnknownNameError


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(Scenes(n=300, seed=5, split="val"))


def _digest(scenes: Scenes) -> str:
    digest = hashlib.sha256()
    for scene in scenes:
        digest.update(scene.image.tobytes())
        digest.update(scene.masks.tobytes())
    return digest.hexdigest()


# Equal on NumPy 1.26 and 2.4, with and without AVX2 and AVX-512, when these were written.
@pytest.mark.parametrize(
    ("split", "digest"),
    [
        ("train", "a1e70b45409f77ecf190833ca8479e6e590d863f46245bc7ab15e49364a8a470"),
        ("val", "17614de4009ba3352c3b81fbf1f7c65a4ccd2c0cd357c8dc9ca0fdbf485f2fe2"),
        ("test", "a3a64ce341452bb911d798ad5220ebe8bc4ce7c75667005eedeecf13c53a941a"),
    ],
)
def test_pixels_are_the_same_everywhere(split: str, digest: str) -> None:
    assert _digest(Scenes(n=8, seed=7, split=split)) == digest


def test_a_scene_depends_on_its_identity_alone() -> None:
    many = Scenes(n=20, seed=3)
    late = many[11]
    again = Scenes(n=12, seed=3)[-1]
    part = many[10:13][1]
    for other in (again, part):
        assert np.array_equal(late.image, other.image)
        assert np.array_equal(late.masks, other.masks)
        assert other.index == 11
    assert not np.array_equal(late.image, Scenes(n=20, seed=4)[11].image)
    assert not np.array_equal(late.image, Scenes(n=20, seed=3, split="test")[11].image)


def test_another_size_shows_the_same_scene() -> None:
    for small, large in zip(Scenes(n=10, size=112), Scenes(n=10, size=224), strict=True):
        assert np.array_equal(small.labels, large.labels)
        assert np.abs(small.boxes - large.boxes / 2).max() <= 1.0
        halved = large.image.reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))
        assert np.corrcoef(halved.ravel(), small.image.ravel())[0, 1] > 0.9


def test_shapes_and_types(scenes: list[Scene]) -> None:
    scene = scenes[0]
    n = len(scene)
    assert scene.image.shape == (112, 112, 3)
    assert scene.image.dtype == np.uint8
    assert scene.boxes.shape == (n, 4)
    assert scene.labels.shape == scene.difficult.shape == (n,)
    assert scene.masks.shape == scene.silhouettes.shape == (n, 112, 112)
    assert scene.masks.dtype == scene.difficult.dtype == np.bool_
    with pytest.raises(FrozenInstanceError):
        scene.index = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        scene.image[0] = 0
    tensor = Scenes(n=1, seed=5, split="val").tensor(0)
    assert tensor.shape == (3, 112, 112)
    assert torch.equal((tensor * 255).round().byte().permute(1, 2, 0), torch.tensor(scene.image))


def test_boxes_are_tight_and_masks_exact(scenes: list[Scene]) -> None:
    for scene in scenes:
        covered = np.zeros((112, 112), dtype=int)
        for box, visible, mask, whole in zip(
            scene.boxes, scene.visible_boxes, scene.masks, scene.silhouettes, strict=True
        ):
            for (x0, y0, x1, y1), pixels in ((box.astype(int), whole), (visible.astype(int), mask)):
                inside = pixels[y0:y1, x0:x1]
                assert inside.sum() == pixels.sum() > 0
                edges = (inside[0], inside[-1], inside[:, 0], inside[:, -1])
                assert all(edge.any() for edge in edges)
            # No object is cut by the picture's border.
            x0, y0, x1, y1 = box
            assert min(x0, y0) > 0
            assert max(x1, y1) < 112
            assert not (mask & ~whole).any()
            covered += mask
        assert covered.max() == 1
        # What is hidden of an object is covered by a later one.
        for k in range(len(scene)):
            hidden = scene.silhouettes[k] & ~scene.masks[k]
            assert not (hidden & ~scene.silhouettes[k + 1 :].any(axis=0)).any()


def test_background_is_untouched_outside_objects_and_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Painted without objects, the picture differs only near silhouettes; every visible object does differ."""
    import relprop.datasets.scenes as module

    view = Scenes(n=12, seed=9)
    full = list(view)
    monkeypatch.setattr(module, "layout", lambda seed, split, index: ())
    for scene, empty in zip(full, view, strict=True):
        assert len(empty) == 0
        assert empty.boxes.shape == empty.visible_boxes.shape == (0, 4)
        changed = (scene.image != empty.image).any(axis=2)
        assert changed[scene.masks.any(axis=0)].mean() > 0.98
        near = np.zeros_like(changed)
        for x0, y0, x1, y1 in scene.boxes:
            pad = 0.6 * max(x1 - x0, y1 - y0)
            near[max(0, int(y0 - pad)) : int(y1 + pad), max(0, int(x0 - pad)) : int(x1 + pad)] = True
        assert not (changed & ~near).any()


def test_labels_agree(scenes: list[Scene]) -> None:
    view = Scenes(n=300, seed=5, split="val")
    for i, scene in enumerate(scenes):
        assert np.array_equal(view.labels(i), scene.labels)
        assert set(np.flatnonzero(scene.labels_multi_hot)) == set(scene.labels)
        assert scene.names == [CLASSES[k] for k in scene.labels]
        for k in range(len(CLASSES)):
            assert scene.class_mask(k).sum() == scene.masks[scene.labels == k].sum()
    assert {len(scene) for scene in scenes} == {1, 2, 3, 4}


def test_difficult_is_as_defined(scenes: list[Scene]) -> None:
    flags = []
    for scene in scenes:
        seen, area = scene.masks.sum(axis=(1, 2)), scene.silhouettes.sum(axis=(1, 2))
        assert np.array_equal(scene.difficult, (seen / area < 0.6) | (seen / 112**2 < 0.015))
        assert (seen / area).min() > 0.4
        flags += scene.difficult.tolist()
    assert 0.01 < np.mean(flags) < 0.2


def test_classes_are_balanced() -> None:
    view = Scenes(n=4000, seed=1)
    count = np.bincount(np.concatenate([view.labels(i) for i in range(len(view))]), minlength=8)
    # Five standard deviations of a binomial count around an eighth.
    assert np.abs(count - count.sum() / 8).max() < 5 * np.sqrt(count.sum() * 7 / 64)


def test_neither_shape_nor_texture_decides() -> None:
    by_shape, by_texture = defaultdict(set), defaultdict(set)
    for texture, shape in CLASS_PARTS:
        by_shape[shape].add(texture)
        by_texture[texture].add(shape)
    assert len(set(CLASS_PARTS)) == len(CLASSES) == 8
    assert set(by_shape) == set(SHAPES)
    assert set(by_texture) == set(TEXTURES)
    assert all(len(found) == 2 for found in (*by_shape.values(), *by_texture.values()))


def _accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Held-out accuracy of multinomial logistic regression, trained on two thirds."""
    cut = len(labels) * 2 // 3
    x = torch.tensor(features, dtype=torch.float32)
    x = (x - x[:cut].mean(0)) / (x[:cut].std(0) + 1e-6)
    y = torch.tensor(labels)
    weight, bias = torch.zeros(x.shape[1], 8, requires_grad=True), torch.zeros(8, requires_grad=True)
    optimiser = torch.optim.Adam([weight, bias], lr=0.02, weight_decay=1e-3)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(x[:cut] @ weight + bias, y[:cut])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (x[cut:] @ weight + bias).argmax(1).eq(y[cut:]).float().mean().item()


def test_colour_alone_is_near_chance(scenes: list[Scene]) -> None:
    mean, histogram, shape, labels = [], [], [], []
    for scene in scenes:
        for mask, whole, label in zip(scene.masks, scene.silhouettes, scene.labels, strict=True):
            pixels = scene.image[mask]
            mean.append(np.concatenate([pixels.mean(axis=0), pixels.std(axis=0)]))
            counts, _ = np.histogramdd(pixels, bins=4, range=[(0, 256)] * 3)
            histogram.append(counts.ravel() / len(pixels))
            rows, columns = np.nonzero(whole)
            radius = np.hypot(rows - rows.mean(), columns - columns.mean()) / np.sqrt(whole.sum())
            shape.append(np.histogram(radius, bins=8, range=(0, 1))[0] / len(rows))
            labels.append(label)
    target = np.array(labels)
    # Chance is 1/8; on about 250 held-out objects its standard deviation is 0.021.
    assert _accuracy(np.array(mean), target) < 0.22
    assert _accuracy(np.array(histogram), target) < 0.22
    # The same classifier finds the shape from the outline, and stops near the one half that shape allows.
    assert 0.35 < _accuracy(np.array(shape), target) < 0.62


def test_filters_find_scenes() -> None:
    view = Scenes(n=600, seed=2)
    single = view.with_classes("mottled ring", only=True)
    assert len(single) >= 2
    assert {name for scene in single[:5] for name in scene.names} == {"mottled ring"}
    both = view.with_classes("mottled ring", 0)
    assert len(both) > 5
    for i in range(len(both)):
        assert {0, CLASSES.index("mottled ring")} <= set(both.labels(i).tolist())
    two = view.with_distinct(2)
    assert all(len(set(two.labels(i).tolist())) == 2 for i in range(len(two)))
    assert len(view.with_distinct(1, 4)) == 600
    assert len(view[10:20]) == 10
    assert both[0].index == both.indices[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 8}, "size"),
        ({"size": 112.0}, "size"),
        ({"n": -1}, "n to be"),
        ({"n": True}, "n to be"),
        ({"seed": -3}, "seed"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Scenes(**arguments)


def test_unknown_names_are_listed() -> None:
    with pytest.raises(UnknownNameError, match="train"):
        Scenes(split="trian")
    with pytest.raises(UnknownNameError, match="Did you mean 'striped ball'"):
        Scenes(n=3).with_classes("stripped ball")
    with pytest.raises(InputError, match="0 to 7"):
        Scenes(n=3).with_classes(8)
    with pytest.raises(InputError, match="at least one class"):
        Scenes(n=3).with_classes()
    with pytest.raises(IndexError, match="below 3"):
        Scenes(n=3)[3]
