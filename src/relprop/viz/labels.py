"""Labels: names of classes in pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relprop.errors import InputError

__all__ = ["Labels", "class_name"]

Labels = Sequence[str] | Mapping[int, str]


def class_name(index: int, labels: Labels | None) -> str:
    """The name of a class: from ``labels``, else ``class 17``.

    Raises:
        InputError: if labels is a list with fewer names than the index needs.
    """
    if labels is None:
        return f"class {index}"
    if isinstance(labels, Mapping):
        return str(labels.get(index, f"class {index}"))
    if isinstance(labels, str) or not 0 <= index < len(labels):
        got = f"the string {labels!r}" if isinstance(labels, str) else f"{len(labels)} names"
        raise InputError(f"Expected labels to name class {index} but got {got}. Pass one name per class.")
    return str(labels[index])
