"""Untouched: what a forward pass leaves in the user's things is taken out again.

A model is called on symbolic tensors while it is captured, and once more to compare outputs. Hooks that keep
features and modules that remember their last value would be left with what these calls brought.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import _lru_cache_wrapper, partial
from types import CellType, FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as _hooks

from relprop.graph.code_reads import origin, reads
from relprop.graph.contents import elements, own_kind, pairs
from relprop.graph.fingerprint import origin_of_class

__all__ = ["untouched"]


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back, afterwards and also when the call fails, what a call of the model may write to.

    These are the attributes of modules, and whatever their classes' code and their hooks can get hold of: lists,
    dictionaries, sets and queues, objects' and classes' attributes, globals, closures, caches of functions. A
    container gets its own elements back; the elements themselves are not copied.
    """
    kept = _Kept()
    kept.model(model)
    try:
        yield
    finally:
        kept.put_back()


_MISSING: Any = object()
_MOST = 200_000  # things looked at
_LONGEST = 20_000  # elements of a container whose elements are looked at
_SIMPLE = (bool, int, float, complex, str, bytes, type(None), Tensor)
# Objects of Python's own classes that hold much and that no forward pass writes to.
_LEFT_ALONE = ("torch", "numpy", "logging", "threading", "importlib", "inspect", "ast", "typing")


class _Kept:
    """Everything that can be reached, with what it held; each thing once."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = {}  # holds the things, so that their ids stay theirs
        self._stack: list[Any] = []

    def model(self, model: nn.Module) -> None:
        """Look at a model and at all that can be reached from it."""
        self._stack += [
            hooks
            for name, hooks in vars(_hooks).items()
            if name.startswith("_global_") and isinstance(hooks, dict)
        ]
        self._stack.append(model)
        while self._stack and len(self._seen) < _MOST:
            value = self._stack.pop()
            if not isinstance(value, _SIMPLE) and id(value) not in self._seen:
                self._seen[id(value)] = value
                self._look(value)

    def put_back(self) -> None:
        """Give everything what it held."""
        for undo in self._undo:
            undo()

    def _look(self, value: Any) -> None:
        if isinstance(value, dict):
            held = pairs(value)
            self._undo.append(partial(_refill_dict, value, held))
            self._within([v for _, v in held])
            self._within([k for k, _ in held])
        elif isinstance(value, (list, set, deque)):
            self._undo.append(partial(_refill, value, elements(value)))
            self._within(elements(value))
        elif isinstance(value, (tuple, frozenset)):
            self._within(elements(value))
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, CellType):
            self._cell(value)
        elif isinstance(value, MethodType):
            self._stack += [value.__func__, value.__self__]
        elif isinstance(value, (staticmethod, classmethod)):
            self._stack.append(value.__func__)
        elif isinstance(value, property):
            self._stack += [value.fget, value.fset]
        elif isinstance(value, partial):
            self._stack += [value.func, value.args, value.keywords]
        elif isinstance(value, _lru_cache_wrapper):
            self._undo.append(partial(_clear_if_used, value, value.cache_info().misses))
            self._stack.append(value.__wrapped__)
        elif isinstance(value, type):
            self._class(value)
            return
        elif isinstance(value, (ModuleType, MappingProxyType)):
            return  # modules: by the names that code looks up
        self._attributes(value)

    def _within(self, values: Any) -> None:
        if len(values) <= _LONGEST:
            self._stack.extend(v for v in values if not isinstance(v, _SIMPLE))

    def _attributes(self, value: Any) -> None:
        """An object's own attributes, in its dictionary or in slots, and its class."""
        kind = type(value)
        if kind.__module__ == "builtins":
            return
        whose = origin_of_class(kind)
        if (
            whose == "trusted"
            and not isinstance(value, nn.Module)
            and kind.__module__.startswith(_LEFT_ALONE)
        ):
            return
        own = getattr(value, "__dict__", None)
        if isinstance(own, dict):
            self._stack.append(own)
        for base in kind.__mro__:
            for name, member in vars(base).items() if "__slots__" in vars(base) else ():
                if isinstance(member, MemberDescriptorType):
                    held = getattr(value, name, _MISSING)
                    self._undo.append(partial(_set_attribute, value, name, held))
                    self._stack.append(held)
        if whose != "trusted" or isinstance(value, nn.Module):
            self._stack.append(kind)

    def _class(self, kind: type) -> None:
        for base in kind.__mro__:
            if origin_of_class(base) == "trusted":
                continue
            self._seen[id(base)] = base
            held = dict(vars(base))
            self._undo.append(partial(_restore_class, base, held))
            self._within(held.values())

    def _function(self, function: FunctionType) -> None:
        self._stack += [*(function.__closure__ or ()), function.__defaults__, function.__kwdefaults__]
        if origin(function.__code__.co_filename) == "trusted":
            return
        found = reads(function.__code__)
        names = (*found.variables, *found.attributes)
        self._names(function.__globals__, names, names)

    def _names(self, space: dict[str, Any], names: Any, deeper: tuple[str, ...]) -> None:
        """Globals that code names; of Python modules among them again what is named."""
        held = {name: space.get(name, _MISSING) for name in names}
        self._undo.append(partial(_restore_names, space, held))
        for value in held.values():
            if not isinstance(value, ModuleType):
                self._stack.append(value)
            elif (
                id(value) not in self._seen
                and origin(getattr(value, "__file__", None) or "<frozen") != "trusted"
            ):
                self._seen[id(value)] = value
                self._names(vars(value), deeper, deeper)

    def _cell(self, cell: CellType) -> None:
        try:
            held = cell.cell_contents
        except ValueError:  # nothing in it yet
            held = _MISSING
        self._undo.append(partial(_refill_cell, cell, held))
        self._stack.append(held)


def _same(now: list[Any], before: list[Any]) -> bool:
    return len(now) == len(before) and all(a is b for a, b in zip(now, before, strict=True))


def _refill(container: Any, before: list[Any]) -> None:
    now = elements(container)
    if isinstance(container, set):
        if set(map(id, now)) != set(map(id, before)):
            set.clear(container)
            set.update(container, before)
    elif not _same(now, before):
        if isinstance(container, list):
            list.__setitem__(container, slice(None), before)
        else:
            deque.clear(container)
            deque.extend(container, before)


def _refill_dict(container: dict[Any, Any], before: list[tuple[Any, Any]]) -> None:
    if not before and not pairs(container):
        return
    kind = own_kind(container)
    keys, values = [k for k, _ in before], [v for _, v in before]
    if not _same(elements(container), keys):
        known = set(map(id, keys))
        for key in [k for k in elements(container) if id(k) not in known]:
            kind.__delitem__(container, key)
    if not _same(elements(container), keys):  # one was taken out, and may have come back at the end
        kind.clear(container)
        for key, value in before:
            kind.__setitem__(container, key, value)
    elif not _same([v for _, v in pairs(container)], values):
        for key, value in before:
            kind.__setitem__(container, key, value)


def _refill_cell(cell: CellType, before: Any) -> None:
    try:
        if cell.cell_contents is before:
            return
    except ValueError:
        if before is _MISSING:
            return
    if before is _MISSING:
        del cell.cell_contents
    else:
        cell.cell_contents = before


def _set_attribute(owner: Any, name: str, before: Any) -> None:
    if getattr(owner, name, _MISSING) is before:
        return
    if before is _MISSING:
        delattr(owner, name)
    else:
        object.__setattr__(owner, name, before)


def _restore_class(kind: type, before: dict[str, Any]) -> None:
    for name in [n for n in vars(kind) if n not in before and not n.startswith("__")]:
        delattr(kind, name)
    for name, value in before.items():
        if not name.startswith("__") and vars(kind).get(name, _MISSING) is not value:
            setattr(kind, name, value)


def _restore_names(space: dict[str, Any], before: dict[str, Any]) -> None:
    for name, value in before.items():
        if space.get(name, _MISSING) is value:
            continue
        if value is _MISSING:
            del space[name]
        else:
            space[name] = value


def _clear_if_used(cached: Any, misses: int) -> None:
    """A function's cache can't be looked into: where it took something in, it forgets all."""
    if cached.cache_info().misses != misses:
        cached.cache_clear()
