"""Notebook: whether this process runs one, and which of its cells is being run."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["cell", "in_notebook"]


def in_notebook() -> bool:
    """Whether this process is the kernel of a Jupyter notebook, or of what works like one.

    >>> in_notebook()
    False
    """
    return getattr(_shell(), "kernel", None) is not None


def cell() -> int | None:
    """The number of the cell that is being run; None where there are no cells."""
    return getattr(_shell(), "execution_count", None)


def _shell() -> Any:
    ipython = sys.modules.get("IPython")  # a kernel has imported it; nobody else has to
    return None if ipython is None else ipython.get_ipython()
