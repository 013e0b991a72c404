"""The package `relprop.methods` as type checkers see it: a module that can be called."""

import sys
from types import ModuleType
from typing import cast

from relprop.methods import facts, method, registry

__all__ = ["CallableMethods", "methods"]


class CallableMethods(ModuleType):
    """`relprop.methods` names the package; as a function, `relprop.methods()`, it lists the methods.

    To a type checker a module is a plain `ModuleType`, which nobody can call: so the names stand here once more.
    """

    METHODS = registry.METHODS
    Facts = facts.Facts
    Method = method.Method
    Request = method.Request
    Result = method.Result
    methods = staticmethod(registry.methods)
    resolve = staticmethod(registry.resolve)

    def __call__(self) -> dict[str, str]:
        return registry.methods()


_module = sys.modules["relprop.methods"]
_module.__class__ = CallableMethods
methods = cast(CallableMethods, _module)
