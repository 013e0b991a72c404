"""DataSet: pictures with truth that a benchmark can read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from relprop.datasets._files import digest
from relprop.datasets.sample import Sample

__all__ = ["DataSet"]


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
        classes: names of the classes; a sample's labels are indices into them.
        names: of the pictures, each once.
    """

    name: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    places: ClassVar[tuple[str, ...]] = ()
    synsets: ClassVar[str] = ""

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

    def fingerprint(self) -> str:
        """A short text that changes when other pictures or annotations are read; cheap, reads no picture.

        Unless a subclass knows more: of the classes and the pictures' names.
        """
        return digest(self.name or type(self).__name__, [*self.classes, "", *self.names])
