"""Public: the names of a package, imported when they are first used.

They stand once, in the stub beside the package's `__init__.py`, where type checkers look for them too.
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from relprop.collector import collector_waits

__all__ = ["public"]


def public(package: str) -> list[str]:
    """Make a package give the names of its stub on first use, and return them for its `__all__`.

    Args:
        package: `__name__`, from the package's own `__init__.py`.
    """
    module = sys.modules[package]
    stub = Path(str(module.__file__)).with_suffix(".pyi")
    found = {
        alias.name: str(node.module)
        for node in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    module.__class__ = _Package
    vars(module)["_homes"] = found
    return list(found)


class _Package(ModuleType):
    """A package whose names are imported when they are asked for."""

    _homes: dict[
        str, str
    ]  # name -> the module that holds it; the package itself where the name is a module in it

    def __getattr__(self, name: str) -> Any:
        homes = vars(self).get("_homes", {})
        if name not in homes:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        home = homes[name]
        with collector_waits():  # modules stay
            module = import_module(f"{home}.{name}" if home == self.__name__ else home)
        found = vars(self)[name] = module if home == self.__name__ else getattr(module, name)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        # Python hangs a module into its package once it is imported, also over a function of the same name.
        home = self._homes.get(name, self.__name__)
        if not (isinstance(value, ModuleType) and home != self.__name__):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted(self.__all__)
