"""The detector that comes with the package: load it by name, ready to detect and to be explained."""

from __future__ import annotations

from relprop.catalogue import DETECTORS
from relprop.detectors.boxes import BoxCode
from relprop.detectors.detector import Detector
from relprop.detectors.prepare import Squash
from relprop.detectors.scene_ssd import anchors
from relprop.errors import unknown_name
from relprop.models.bundled import read_bundled, scenes_likeness

__all__ = ["load", "models"]


def models() -> dict[str, str]:
    """Names of the bundled detectors with one line about each.

    >>> sorted(models())
    ['scenes-ssd']
    """
    return DETECTORS.summaries()


def load(name: str = "scenes-ssd") -> Detector:
    """Load a bundled detector; the weights are checked against the SHA-256 on its card first.

    A picture of any size is squashed to the network's 112 x 112 pixels, as SSD does.

    Raises:
        UnknownNameError: there is no bundled detector of that name; the text lists them.
        RelpropError: the weights or the card are missing or damaged.

    >>> from relprop.datasets import Scenes
    >>> scene = Scenes(n=1, seed=4, split="test")[0]
    >>> sorted(detection.name for detection in load()(scene.image)) == sorted(scene.names)
    True
    """
    if name not in DETECTORS:
        raise unknown_name("bundled detector", name, DETECTORS)
    card, tensors = read_bundled(name)
    raw = DETECTORS[name](len(card["classes"]))
    raw.load_state_dict(tensors)
    mean, std = tuple(card["mean"]), tuple(card["std"])
    size = int(card["input_size"])
    return Detector(
        raw=raw.eval(),
        anchors=anchors(),
        decode=BoxCode(tuple(card["box_scales"])).decode,
        background=0,
        classes=list(card["classes"]),
        prepare=Squash((size, size), mean, std),
        mean=mean,
        std=std,
        name=name,
        unlike=scenes_likeness(name, size, mean, std, instead="torchvision:ssd300_vgg16"),
    )
