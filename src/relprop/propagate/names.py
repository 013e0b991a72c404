"""Names: the class that is meant by a name, among those that are known of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

from relprop.errors import InputError, UnknownNameError, unknown_name

__all__ = ["class_index", "class_named"]

_FEW = 30  # names that an error lists


def class_index(text: str, count: int, classes: Sequence[str] | None) -> int:
    """The index of a class that is given by index or by name.

    Args:
        text: an index in digits, or a name: case is ignored, `tench` finds `tench, Tinca tinca`.
        count: how many classes there are.
        classes: their names, or None.

    Raises:
        InputError: no such class, or a name that fits several.

    >>> class_index("Dog", 2, ["cat", "dog"]), class_index("0", 2, None)
    (1, 0)
    """
    if not re.fullmatch("-?[0-9]+", text):
        return class_named(text, classes)
    if len(text) > 18 or not 0 <= int(text) < count:
        raise InputError(f"Expected a class index from 0 to {count - 1} but got {text:.40}.")
    return int(text)


def class_named(text: str, classes: Sequence[str] | None) -> int:
    """The index of a class that is given by name; arguments and errors are those of `class_index`."""
    if classes is None:
        raise InputError(
            f"Expected a class index but got {text!r}, and the model has no class names. Pass --labels FILE (in "
            "Python: facts=Facts(classes=...))."
        )
    wanted = text.casefold().strip()
    names = [name.casefold() for name in classes]
    for part in (lambda name: name, lambda name: name.split(",")[0].strip()):
        hits = [i for i, name in enumerate(names) if part(name) == wanted]
        if len(hits) == 1:
            return hits[0]
        if hits:
            listed = ", ".join(f"{i} ({classes[i]})" for i in hits)
            raise InputError(f"Expected a name of one class but {text!r} fits {listed}. Pass the index.")
    near = [name for name in classes if wanted in name.casefold()][:8]
    if not near and len(classes) > _FEW:
        near = [classes[names.index(name)] for name in get_close_matches(wanted, names, n=3)]
    if near:
        raise UnknownNameError(f"Expected a class name but got {text!r}. Close ones: {'; '.join(near)}.")
    if len(classes) > _FEW:
        raise UnknownNameError(f"Expected one of the model's {len(classes)} class names but got {text!r}.")
    raise unknown_name("class", text, classes)
