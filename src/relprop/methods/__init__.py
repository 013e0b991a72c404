"""Methods: published recipes, one family a file. The registry has their names.

The package can be called: `relprop.methods()` lists the names with a line about each.
"""

import sys
from types import ModuleType

from relprop.methods.facts import Facts
from relprop.methods.method import Method, Request, Result
from relprop.methods.registry import METHODS, methods, resolve

__all__ = ["METHODS", "Facts", "Method", "Request", "Result", "methods", "resolve"]


class _Callable(ModuleType):
    # `relprop.methods` names this package once it is imported; as a function it lists its contents.
    def __call__(self) -> dict[str, str]:
        return methods()


sys.modules[__name__].__class__ = _Callable
