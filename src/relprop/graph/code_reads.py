"""Code reads: which names a piece of Python code looks up, and whose code it is."""

from __future__ import annotations

import dis
import sysconfig
from functools import lru_cache
from itertools import count
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import numpy
import torch

__all__ = ["Reads", "origin", "reads"]

_serial = count()


class Reads(NamedTuple):
    """What a piece of code looks up, inner functions and comprehensions included.

    Attributes:
        number: another one for every piece of code, however equal.
        variables: global names, in order of appearance.
        attributes: names behind a dot, and texts that could be such (for `getattr`).
        modules: dotted names of modules that are imported inside, relative ones with a dot for every level.
    """

    number: int
    variables: tuple[str, ...]
    attributes: tuple[str, ...]
    modules: tuple[str, ...]


_KNOWN: dict[int, tuple[CodeType, Reads]] = {}  # holds the code, so that its id stays its own


def reads(code: CodeType) -> Reads:
    """What `code` looks up."""
    known = _KNOWN.get(id(code))
    if known is None:
        if len(_KNOWN) > 20_000:  # code that is made anew again and again
            _KNOWN.clear()
        known = _KNOWN[id(code)] = code, _read(code)
    return known[1]


def _read(code: CodeType) -> Reads:
    variables: dict[str, None] = {}
    attributes: dict[str, None] = {}
    modules: dict[str, None] = {}
    stack = [code]
    while stack:
        one = stack.pop()
        level = 0
        for step in dis.get_instructions(one):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                variables[step.argval] = None
            elif step.opname == "IMPORT_NAME":
                modules["." * level + step.argval] = None
            elif step.opcode in dis.hasname:
                attributes[step.argval] = None
            if step.opname == "LOAD_CONST":
                if isinstance(step.argval, int):
                    level = step.argval  # an import's level is loaded in front of it, before the names
                elif isinstance(step.argval, str) and step.argval.isidentifier():
                    attributes[step.argval] = None
                elif isinstance(step.argval, CodeType):
                    stack.append(step.argval)
    return Reads(next(_serial), tuple(variables), tuple(attributes), tuple(modules))


_paths = sysconfig.get_paths()
_INSTALLED = tuple({_paths["purelib"], _paths["platlib"]})
_STANDARD = tuple({_paths["stdlib"], _paths["platstdlib"]})
_TRUSTED = tuple(
    str(Path(str(module)).parent) + "/"
    for module in (torch.__file__, numpy.__file__, Path(__file__).resolve().parent)
)


@lru_cache(maxsize=4096)
def origin(file: str) -> str:
    """Whose code a file holds: "trusted" (Python's, torch's, NumPy's, relprop's), "installed" or "own"."""
    if file.startswith(_TRUSTED) or file.startswith("<frozen"):
        return "trusted"
    if file.startswith(_INSTALLED) or "/site-packages/" in file or "/dist-packages/" in file:
        return "installed"
    return "trusted" if file.startswith(_STANDARD) else "own"
