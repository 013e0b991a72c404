"""Methods by name, and everything else that can stand for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from relprop import catalogue
from relprop.errors import InputError
from relprop.methods.function import FunctionMethod
from relprop.methods.method import Method
from relprop.registry import Registry, split_settings

__all__ = ["METHODS", "MethodLike", "methods", "resolve"]

METHODS: Registry[type[Method]] = catalogue.METHODS
"""Every method that `explain` knows by name."""

MethodLike: TypeAlias = "str | Method | type[Method] | Callable[..., Any]"
"""What can be given as a method: see `resolve`."""


def methods() -> dict[str, str]:
    """Name -> one-line description of every method.

    >>> methods()["lrp-0"]
    'LRP-0: contributions in proportion to value; gradient x input on ReLU networks'
    """
    return METHODS.summaries()


def resolve(method: MethodLike) -> Method:
    """The configured method that was meant.

    Args:
        method: a name, `name:key=value,key=value` (values are Python literals, or else text); `file.py:Name` of
            your own, with settings behind it or without; a configured method, or its class; a function
            `(model, x, targets) -> relevance` (`FunctionMethod`). What a file calls `Name` may be a class, a
            configured method or a function.

    Raises:
        UnknownNameError: no method, or no setting, of that name; lists the valid ones.
        InputError: neither of these, or a value that the method refuses.
        RelpropError: the file's own code raised.

    >>> resolve("lrp-epsilon:epsilon=0.01")
    LRPEpsilon(epsilon=0.01, attention='constant', seed='score')
    """
    if isinstance(method, str):
        name, settings = split_settings(method)
        found = METHODS.find(name)
        if isinstance(found, Method) and settings:
            raise InputError(
                f"Expected no settings behind {name}, which is a configured method, but got {method!r}."
            )
        return _made(found, name, settings)
    return _made(method, "", {})


def _made(found: Any, name: str, settings: dict[str, Any]) -> Method:
    if isinstance(found, Method):
        return found
    if isinstance(found, type) and issubclass(found, Method):
        made: Method = METHODS.make(name or found.name, settings, found)
        return made
    if callable(found) and not isinstance(found, type):
        return FunctionMethod(found, **settings)
    what = f"{name} to be" if name else "method to be a name,"
    raise InputError(
        f"Expected {what} a subclass of relprop.methods.Method, a configured method or a function "
        f"(model, x, targets) -> relevance but got {type(found).__name__}."
    )
