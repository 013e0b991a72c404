"""DataSet: pictures with truth that a benchmark can read one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from relprop.datasets._files import digest
from relprop.datasets.sample import Sample

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["DataSet", "Viewer"]


@dataclass(frozen=True)
class Viewer:
    """What a data set may learn of the network that its pictures are for; see `DataSet.for_viewer`.

    Attributes:
        cut: a picture -> what the network's own preprocessing leaves of it, at the size of the network's input.
        confidence: (a cut picture, a class of the data set) -> the probability that the network gives the class,
            0 to 1, where it classifies the picture rightly; else 0.
    """

    cut: Callable[[Image.Image], Image.Image]
    confidence: Callable[[Image.Image, int], float]


class DataSet:
    """Annotated pictures. Subclasses set `classes` and `names` and write `__getitem__`.

    Options are constructor arguments.

    Attributes:
        name: the name in the registry.
        summary: one line for lists.
        places: options that say where files lie. They aren't part of what a benchmark's results depend on (what
            is in the files is: `fingerprint`); the first is what the command line's `--data` gives. None of
            them: the pictures are made, not read.
        synsets: the map in `relprop.datasets.synsets` by which an ImageNet classifier can be asked about the
            classes; "" without one.
        native: the pictures have a size that is meant for the network and mustn't be resized.
        classes: names of the classes; a sample's labels are indices into them.
        names: of the pictures, each once.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    places: ClassVar[tuple[str, ...]] = ()
    synsets: ClassVar[str] = ""
    native: ClassVar[bool] = False

    classes: Sequence[str]
    names: Sequence[str]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one picture and its truth.

        Raises:
            InputError: this picture or its annotation is missing or damaged; others may be whole.
        """
        raise NotImplementedError

    def for_viewer(self, viewer: Viewer) -> DataSet:
        """The data set that a network is judged on: itself, unless the pictures depend on the network."""
        return self

    def fingerprint(self) -> str:
        """A short text that changes when other pictures or annotations are read; cheap, reads no picture.

        Unless a subclass knows more: of the classes and the pictures' names.
        """
        return digest(self.name or type(self).__name__, [*self.classes, "", *self.names])
