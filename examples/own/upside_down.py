"""A data set of one's own: the drawn scenes, standing on their heads."""

from dataclasses import replace

from PIL.Image import Transpose

from relprop.datasets import DataSet, Sample, SceneSamples


class UpsideDown(DataSet):
    """Scenes with their boxes and masks, turned over."""

    name = "upside-down"

    def __init__(self, *, n: int = 20, seed: int = 0) -> None:
        self.scenes = SceneSamples(n=n, seed=seed)
        self.classes, self.names = self.scenes.classes, self.scenes.names

    def __getitem__(self, index: int) -> Sample:
        """Draw one scene and turn it."""
        s = self.scenes[index]
        height = s.size[0]
        return replace(
            s,
            image=s.image.transpose(Transpose.FLIP_TOP_BOTTOM),
            boxes=s.boxes[:, [0, 3, 2, 1]] * (1, -1, 1, -1) + (0, height, 0, height),
            masks={label: mask[::-1] for label, mask in (s.masks or {}).items()},
        )
