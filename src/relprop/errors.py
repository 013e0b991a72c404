"""Errors raised by relprop: one base class, one message form (what, where, what to do)."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "CaptureError",
    "InputError",
    "OutOfMemoryError",
    "OutputError",
    "RelpropError",
    "RelpropWarning",
    "UnknownNameError",
    "UnsupportedOperatorError",
    "unknown_name",
]


class RelpropError(Exception):
    """Base class of every error that relprop raises on purpose."""


class RelpropWarning(UserWarning):
    """Something was computed, but a reader should know how (see the text)."""


class InputError(RelpropError, ValueError):
    """An argument can't be used: the text says which, what was expected and what came."""


class OutputError(InputError):
    """Results can't go where they were sent: the text says where, what is in the way and what to do."""


class UnknownNameError(InputError):
    """A method, model, layer or rule of that name does not exist; the text lists the valid ones."""


class OutOfMemoryError(RelpropError, MemoryError):
    """There isn't the memory to go on; the text says for what, and what takes less."""


class CaptureError(RelpropError):
    """The model can't be captured as a graph of tensor operators."""


class UnsupportedOperatorError(RelpropError):
    """Relevance reached an operator that has no rule; the text names it and where it was called."""


def unknown_name(what: str, name: object, valid: Iterable[str], meant: str = "") -> UnknownNameError:
    """Build the error for an unknown name.

    Args:
        what: the kind of thing.
        name: as it came.
        valid: the names that are known.
        meant: a sentence on what the name stands for, told in place of the name of the nearest spelling.

    >>> print(unknown_name("method", "lrp-epsilom", ["lrp-epsilon", "gradient"]))
    Expected a known method but got 'lrp-epsilom'. Did you mean 'lrp-epsilon'? Valid: gradient, lrp-epsilon.
    """
    names = sorted(valid)
    close = get_close_matches(str(name), names, n=1)
    hint = f" {meant}" if meant else f" Did you mean {close[0]!r}?" if close else ""
    return UnknownNameError(
        f"Expected a known {what} but got {str(name)!r}.{hint} Valid: {', '.join(names) or 'none'}."
    )
