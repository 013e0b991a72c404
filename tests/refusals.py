"""Tables of calls that are refused, each with the words of the error that matter."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest


def assert_refused(kind: type[Exception], *cases: tuple[Callable[[], object], str]) -> None:
    """Each call raises an error of this kind whose text fits its pattern; every line that doesn't is told."""
    wrong = []
    for number, (call, pattern) in enumerate(cases, 1):
        try:
            call()
        except kind as error:
            if not re.search(pattern, str(error)):
                wrong.append(f"case {number}: {pattern!r} is not in {str(error)!r}")
        else:
            wrong.append(f"case {number}: nothing was raised where {pattern!r} was expected")
    if wrong:
        pytest.fail("\n".join(wrong))
