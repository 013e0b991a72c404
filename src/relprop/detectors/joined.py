"""Joined: the classes of a detector and of a truth that have the same name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SYNONYMS", "Joined", "join_classes"]

#: Names of one thing in PASCAL VOC and in COCO, without spaces.
SYNONYMS = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "sofa": "couch",
    "tvmonitor": "tv",
}


@dataclass(frozen=True)
class Joined:
    """Which class of the detector each class of the truth is.

    Attributes:
        labels: for each class of the truth, the detector's index, or None where the detector has no such class.
        renamed: (truth's name, detector's name) of those that are spelled otherwise.
        only_truth: classes that the detector can't find.
        only_detector: classes that the truth says nothing about, the background left out.
    """

    labels: tuple[int | None, ...]
    renamed: tuple[tuple[str, str], ...]
    only_truth: tuple[str, ...]
    only_detector: tuple[str, ...]


def join_classes(detector: Sequence[str], truth: Sequence[str], background: int | None = None) -> Joined:
    """Join the classes of a detector and a truth by name.

    Names are equal as they stand, or without case, spaces, "_" and "-" ("dining table", "diningtable"), or by
    `SYNONYMS` (VOC's "tvmonitor" is COCO's "tv"). Numbers play no part: COCO's ids run to 90, its classes to 80.
    Where two classes of a side would be the same thing, only the names as they stand count.

    Args:
        detector: its class names.
        truth: the truth's class names.
        background: the detector's class that isn't one.

    >>> joined = join_classes(["background", "tv", "dining table", "dog"], ["dog", "tvmonitor", "cow"], 0)
    >>> joined.labels, joined.renamed, joined.only_truth, joined.only_detector
    ((3, 1, None), (('tvmonitor', 'tv'),), ('cow',), ('dining table',))
    """
    own = {k: name for k, name in enumerate(detector) if k != background}
    exact = {name: k for k, name in own.items()}
    counted = Counter(map(_plain, own.values()))
    others = Counter(map(_plain, truth))
    loose = {_plain(name): k for k, name in own.items() if counted[_plain(name)] == 1}
    labels: list[int | None] = []
    for name in truth:
        found = exact.get(name)
        if found is None and others[_plain(name)] == 1:
            found = loose.get(_plain(name))
        labels.append(found)
    pairs = list(zip(truth, labels, strict=True))
    return Joined(
        tuple(labels),
        tuple((name, own[k]) for name, k in pairs if k is not None and own[k] != name),
        tuple(name for name, k in pairs if k is None),
        tuple(name for k, name in own.items() if k not in labels),
    )


def _plain(name: str) -> str:
    bare = "".join(c for c in name.casefold() if c not in " _-")
    return SYNONYMS.get(bare, bare)
