"""Scene samples: the built-in `scenes` as a data set to judge explanations by; needs no files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from relprop.datasets._files import digest, unique
from relprop.datasets.data_set import DataSet
from relprop.datasets.sample import Sample
from relprop.datasets.scenes import CLASSES, Scenes
from relprop.datasets.world import SceneWorld

__all__ = ["SceneSamples"]


class SceneSamples(DataSet):
    """Scenes of one split with boxes, difficult flags and masks.

    Boxes are those of the whole silhouettes, hidden parts included; masks hold visible pixels. A class is
    present where it has at least one object that isn't difficult.

    Args:
        n: number of scenes, at least 1.
        size: side of the picture in pixels.
        seed: seed of the data set.
        split: "train", "val" or "test"; the bundled models were trained on "train".

    Raises:
        InputError: an argument is out of range.

    >>> samples = SceneSamples(n=3)
    >>> samples.names[1], samples[1].size, samples[1].labels
    ('test-0-000001', (112, 112), (6,))
    """

    name = "scenes"
    summary = "built in: drawn scenes of eight classes with boxes and masks"

    def __init__(self, *, n: int = 200, size: int = 112, seed: int = 0, split: str = "test") -> None:
        self.scenes = Scenes(size=size, n=n, seed=seed, split=split)
        self.classes: Sequence[str] = tuple(CLASSES)
        self.names: Sequence[str] = unique(
            (f"{split}-{seed}-{i:06d}" for i in self.scenes.indices), repr(self.scenes)
        )

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Draw one scene."""
        scene = self.scenes[index]
        return Sample(
            name=self.names[index],
            image=Image.fromarray(scene.image),
            boxes=scene.boxes,
            box_labels=scene.labels,
            difficult=scene.difficult,
            labels=tuple(sorted(set(scene.labels[~scene.difficult].tolist()))),
            masks={int(label): scene.class_mask(int(label)) for label in np.unique(scene.labels)},
            world=SceneWorld(scene),
        )

    def fingerprint(self) -> str:
        """Changes with the size, the seed, the split and the number."""
        return digest(self.name, [repr(self.scenes)])
