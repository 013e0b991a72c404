"""Lines: what a reader copies to get the same in a terminal and in Python."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

__all__ = ["lines"]


def lines(words: Sequence[str], call: str, picture: str = "") -> str:
    """The shell line and the Python lines that give the same report.

    Args:
        words: of the command.
        call: Python that gives the report; it names the picture ``image`` where `picture` gives it.
        picture: Python that gives the picture, where its file goes when the app ends.

    >>> print(lines(["relprop", "explain", "a b.png"], "relprop.reports.picture('m', 'a b.png')"))
    relprop explain 'a b.png'
    # Python:
    import relprop
    report = relprop.reports.picture('m', 'a b.png')
    """
    found = [shlex.join(words), "# Python:", "import relprop"]
    if picture:
        found = [
            "# This file goes when the app ends.", *found, "from PIL import Image",
            f"image = Image.fromarray({picture})",
        ]  # fmt: skip
    return "\n".join([*found, f"report = {call}"])
