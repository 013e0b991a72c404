"""Labels: names of classes and short numbers, in pictures and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from relprop.errors import InputError

__all__ = ["Labels", "class_name", "number"]

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


def number(value: float) -> str:
    """Two significant digits, short.

    >>> number(0.01234), number(123.4), number(-1.3e-9), number(0), number(20000)
    ('0.012', '123', '-1.3e-9', '0', '2e4')
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.0f}" if abs(value) >= 99.5 else f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
