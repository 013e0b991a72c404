"""Layout: what each unit of a model's output stands for."""

from __future__ import annotations

from dataclasses import dataclass

from relprop.errors import InputError, unknown_name

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """What the columns of an output (N, anchors * width, ...) are: class logits, offsets, objectness, per anchor.

    Attributes:
        classes: K, background included where there is one.
        background: index of the background among the classes, or None.
        offsets: names of the offset columns.
        objectness: whether an objectness logit follows the offsets.
        anchors: D, how many anchors are looked at.

    Raises:
        InputError: no class, a background that is no class, or no anchor.

    >>> layout = Layout(classes=3, background=0, anchors=2)
    >>> layout.width, layout.index("class", 2), layout.index("w", d=1)
    (7, 2, 12)
    """

    classes: int
    background: int | None = None
    offsets: tuple[str, ...] = ("cx", "cy", "w", "h")
    objectness: bool = False
    anchors: int = 1

    def __post_init__(self) -> None:
        if self.classes < 1 or self.anchors < 1:
            raise InputError(
                f"Expected a layout with a class and an anchor but got {self.classes} and {self.anchors}."
            )
        if self.background is not None and not 0 <= self.background < self.classes:
            raise InputError(
                f"Expected the background to be one of {self.classes} classes but got index {self.background}."
            )

    @property
    def width(self) -> int:
        """Number of columns of one anchor."""
        return self.classes + len(self.offsets) + self.objectness

    def index(self, of: str, target: int | None = None, d: int = 0) -> int:
        """The output index of a class logit, an offset or the objectness at anchor `d`.

        Args:
            of: "class", the name of an offset, or "objectness".
            target: the class, for "class".
            d: which of the anchors.

        Raises:
            UnknownNameError: no such part; lists the valid ones.
            InputError: a class or an anchor out of range.
        """
        if not 0 <= d < self.anchors:
            raise InputError(f"Expected an anchor from 0 to {self.anchors - 1} but got {d}.")
        if of == "class":
            if target is None or not 0 <= target < self.classes:
                raise InputError(f"Expected a class from 0 to {self.classes - 1} but got {target}.")
            column = target
        elif of in self.offsets:
            column = self.classes + self.offsets.index(of)
        elif of == "objectness" and self.objectness:
            column = self.width - 1
        else:
            valid = ["class", *self.offsets, *(["objectness"] if self.objectness else [])]
            raise unknown_name("part of a detection", of, valid)
        return d * self.width + column
