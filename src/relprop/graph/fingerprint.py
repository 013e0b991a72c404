"""Fingerprint: what a captured graph depends on besides the values of parameters, buffers and the input.

Read anew before every use of a graph: the modules' attributes, and, found by reading the code of the forward
pass, the globals, class attributes, closures, functions and objects that it looks up.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable
from enum import Enum
from functools import partial
from pathlib import PurePath
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.nn.modules import module as _hooks

from relprop.graph.code_reads import origin, reads
from relprop.graph.contents import elements, pairs
from relprop.graph.snapshot import EMPTIES, OWN, PLAIN, Snapshot

__all__ = ["Fingerprint", "fingerprint", "modules_of", "origin_of_class", "owner_of"]


class Fingerprint(NamedTuple):
    """What was found.

    Attributes:
        key: equal as long as nothing changes.
        unwatched: what may change without being seen, in words; "" if there is nothing.
    """

    key: int
    unwatched: str


def owner_of(model: nn.Module) -> nn.Module:
    """The module whose graphs `model` uses: itself, or the one it names as `graphs_of`."""
    owner: nn.Module = vars(model).get("graphs_of", model)
    return owner


def fingerprint(model: nn.Module, owner: nn.Module) -> Fingerprint:
    """What the graph depends on besides values: modules, modes, attributes, hooks, ties, and what code reads.

    A module that shares the graphs of an owner goes by the owner's identity and buffers. Runs before every
    explanation, hence without detours.
    """
    watch = _Watch(_SNAPSHOTS.get(owner) or {})
    watch.model(model, owner)
    _SNAPSHOTS[owner] = watch.snapshots
    return Fingerprint(hash(tuple(watch.facts)), watch.unwatched)


_FIXED = (
    complex, bytes, range, slice, re.Pattern, torch.dtype, torch.device, torch.layout, torch.memory_format, Enum,
    numpy.generic, numpy.dtype, PurePath, type(Ellipsis), type(NotImplemented), CodeType,
)  # fmt: skip
_SILENT = (
    logging.Logger, type(threading.Lock()), type(threading.RLock()), GenericAlias, MethodDescriptorType,
    WrapperDescriptorType, MemberDescriptorType, GetSetDescriptorType, torch._ops.OpOverload,
    torch._ops.OpOverloadPacket, torch.Generator,
)  # fmt: skip
_HOOKS = frozenset({"_forward_hooks", "_forward_pre_hooks"})
_CLASS_NOISE = frozenset(
    "__module__ __doc__ __dict__ __weakref__ __annotations__ __qualname__ __firstlineno__ __orig_bases__ "
    "__parameters__ __static_attributes__ __abstractmethods__ _abc_impl __dataclass_fields__ __dataclass_params__ "
    "__match_args__ __hash__ __slots__ __classcell__ __jit_unused_properties__ __constants__".split()
)
_NEVER_RUN = frozenset(
    "__init__ __new__ __init_subclass__ __repr__ __str__ __del__ __reduce__ __reduce_ex__ __getstate__ "
    "__setstate__ __eq__ __set_name__ __class_getitem__ __dir__".split()
)
# Every call of these may give something else, and nothing that could be looked at says so.
_BUILTINS = frozenset({"open", "input", "eval", "exec", "globals", "locals", "__import__"})
_MODULES = frozenset({"random", "time", "datetime", "secrets", "uuid", "socket", "subprocess"})
_ANY_NAME = frozenset({"getattr", "vars", "dir"})
_SNAPSHOTS: WeakKeyDictionary[nn.Module, dict[int, Snapshot]] = WeakKeyDictionary()
_MOST = 50_000  # facts
_DEEPEST = 16


class _Watch:
    """Collects facts. A name is followed once the code that was read so far has it behind a dot.

    Args:
        before: snapshots of modules, by their ids, as the last look left them.

    Attributes:
        snapshots: those of this look.
    """

    def __init__(self, before: dict[int, Snapshot]) -> None:
        self._before = before
        self.snapshots: dict[int, Snapshot] = {}
        self._strict: dict[type, bool] = {}
        self.facts: list[Any] = []
        self.unwatched = ""
        self._seen: set[int] = set()
        self._names: set[str] = set()
        self._waiting: dict[str, list[tuple[Any, bool]]] = {}
        self._ready: list[tuple[Any, bool]] = []
        self._every_name = False
        self._tree: set[int] = set()

    # Modules ----------------------------------------------------------------------------------------

    def model(self, model: nn.Module, owner: nn.Module) -> None:
        """Everything that `model` depends on."""
        tree = modules_of(model)
        self._tree = set(map(id, tree))
        self.facts.append(tuple(map(id, _hooks._global_forward_hooks.values())))
        self.facts.append(tuple(map(id, _hooks._global_forward_pre_hooks.values())))
        for module in tree:
            state = vars(module)
            if module is model and owner is not model:
                state = {k: v for k, v in state.items() if k != "graphs_of"}
                state |= {k: vars(owner)[k] for k in ("_buffers", "_non_persistent_buffers_set")}
                self.facts.append(id(owner))
            else:
                self.facts.append(id(module))
            if not self._unchanged(module, state):
                self._module(module, state)
        self._follow()

    def _unchanged(self, module: nn.Module, state: dict[str, Any]) -> bool:
        """Take what a module has besides what is registered from its snapshot; whether it could be."""
        known = self._before.get(id(module))
        if known is None or not known.holds(state):
            known = Snapshot.of(state)
            if known is None:
                return False
        self.snapshots[id(module)] = known
        self._class(type(module))
        self.facts.append(known.number)
        self._registered(state)
        return True

    def _registered(self, state: dict[str, Any], within: bool = True) -> None:
        """What is registered with a module; of one that isn't part of the model also where its tensors lie."""
        add = self.facts.append
        for name in OWN:
            parts = state.get(name)
            if parts:
                add(tuple(parts.keys()))  # a ScriptModule's tables can't be iterated over
                add(tuple(map(id, parts.values())))
                if name != "_modules":
                    tensors = [part for part in parts.values() if part is not None]
                    add(tuple([part.shape for part in tensors]))
                    if not within:
                        add(tuple([part.data_ptr() for part in tensors]))

    def _module(self, module: nn.Module, state: dict[str, Any], registered: bool = True) -> None:
        add = self.facts.append
        kind = type(module)
        strict = self._class(kind)
        self._registered(state, registered)
        for name, value in state.items():
            sort = type(value)
            if name in OWN:
                continue
            if sort in PLAIN:
                add((name, sort, value))
            elif sort in EMPTIES and not value:
                add((name, sort))
            elif name in _HOOKS:
                add(tuple(value))
                for hook in value.values():
                    self._value(hook, strict=True)
            elif sort is tuple and all(type(v) in PLAIN for v in value):
                add((name, value))
            else:
                self._attribute(name, value, strict)

    def _attribute(self, name: str, value: Any, strict: bool) -> None:
        """What lies behind a name, now or when code turns out to read it."""
        if type(value) in PLAIN:
            self.facts.append((name, type(value), value))
            return
        self.facts.append((name, id(value)))
        if name in self._names or self._every_name or (callable(value) and name == "forward"):
            self._value(value, strict)
        else:
            self._waiting.setdefault(name, []).append((value, strict))

    def _class(self, kind: type) -> bool:
        """The facts of a class and its bases; whether what its objects hold must all be watched."""
        if kind in self._strict:
            return self._strict[kind]
        strict = True
        if id(kind) not in self._seen:
            self._seen.add(id(kind))
            forward = getattr(kind, "forward", None)
            if isinstance(forward, FunctionType):
                self._function(forward, strict=True)
            for base in kind.__mro__:
                whose = origin_of_class(base)
                self.facts.append(id(base))
                if whose == "trusted":
                    continue
                for name, value in vars(base).items():
                    if name not in _CLASS_NOISE:
                        self._member(name, value, whose == "own")
        for base in kind.__mro__:
            whose = origin_of_class(base)
            if whose != "trusted":
                strict = whose == "own"
                break
        self._strict[kind] = strict
        return strict

    def _member(self, name: str, value: Any, strict: bool) -> None:
        special = name[:2] == "__" == name[-2:]
        if special and name in _NEVER_RUN:
            self.facts.append((name, id(value)))
        elif special or name in self._names or self._every_name:
            self.facts.append(name)
            self._value(value, strict)
        else:
            self._attribute(name, value, strict)

    # Names ------------------------------------------------------------------------------------------

    def _read_names(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._names:
                self._names.add(name)
                if name in self._waiting:
                    self._ready.extend(self._waiting.pop(name))

    def _follow(self) -> None:
        while self._ready:
            value, strict = self._ready.pop()
            self._value(value, strict)
            if self._every_name and self._waiting:
                for waiting in self._waiting.values():
                    self._ready.extend(waiting)
                self._waiting.clear()

    def _blind(self, what: str, strict: bool) -> None:
        if strict and not self.unwatched:
            self.unwatched = what

    # Code -------------------------------------------------------------------------------------------

    def _function(self, function: FunctionType, strict: bool) -> None:
        if id(function) in self._seen:
            self.facts.append(id(function))
            return
        self._seen.add(id(function))
        code = function.__code__
        whose = origin(code.co_filename)
        found = reads(code)
        self.facts.append((id(function), found.number))
        for cell in function.__closure__ or ():
            try:
                self._value(cell.cell_contents, strict)
            except ValueError:  # nothing in it yet
                self.facts.append(None)
        if whose == "trusted":
            return
        own = strict and whose == "own"
        for defaults in (function.__defaults__, function.__kwdefaults__):
            if defaults:
                self._value(defaults, own)
        if vars(function):
            self._value(vars(function), own)
        self._read_names(found.attributes)
        space = function.__globals__
        for name in found.variables:
            if name in space:
                self._variable(name, space[name], found.attributes, own)
            elif name in _BUILTINS:
                self._blind(f"what {name}() gives in {function.__qualname__}", own)
            elif name in _ANY_NAME and own:
                self._every_name = True
        for name in found.modules:
            try:
                absolute = importlib.util.resolve_name(name, space.get("__package__") or None)
            except ImportError:
                continue
            root = sys.modules.get(absolute.partition(".")[0])
            for module in (root, sys.modules.get(absolute)):
                if module is not None:
                    self._python_module(module, found.attributes, own)

    def _variable(self, name: str, value: Any, attributes: tuple[str, ...], own: bool) -> None:
        """A global that code reads. Installed code's own globals are known by what they are, not followed."""
        if type(value) in PLAIN:
            self.facts.append((name, type(value), value))
        elif isinstance(value, ModuleType):
            self._python_module(value, attributes, own)
        elif own or not isinstance(value, (FunctionType, type)):
            self._value(value, own)
        else:
            self.facts.append((name, id(value)))

    def _python_module(self, module: ModuleType, attributes: tuple[str, ...], own: bool) -> None:
        self.facts.append(id(module))
        name = module.__name__
        if name in _MODULES or (name == "os" and not {"environ", "getenv"}.isdisjoint(attributes)):
            self._blind(f"what module {name!r} gives", own)
        if name == "numpy" and "random" in attributes:
            self._blind("what numpy.random gives", own)
        whose = _origin_of_module(module)
        if whose == "trusted":
            return
        space = vars(module)
        for name in attributes:
            if name in space:
                value = space[name]
                if isinstance(value, ModuleType) and id(value) in self._seen:
                    continue
                if isinstance(value, ModuleType):
                    self._seen.add(id(value))
                self._variable(name, value, attributes, own and whose == "own")

    # Values -----------------------------------------------------------------------------------------

    def _value(self, value: Any, strict: bool, depth: int = 0) -> None:
        add = self.facts.append
        kind = type(value)
        if kind in PLAIN:
            add((kind, value))
            return
        if isinstance(value, _FIXED):
            add((kind, str(value) if isinstance(value, (slice, numpy.dtype, Enum)) else value))
            return
        if id(value) in self._seen and not isinstance(value, FunctionType):
            add(id(value))
            return
        if depth > _DEEPEST or len(self.facts) > _MOST:
            add(id(value))
            self._blind("more, or deeper, data than can be looked at before every call", strict)
            return
        if isinstance(value, FunctionType):
            self._function(value, strict)
            return
        self._seen.add(id(value))
        add((id(value), id(kind)))
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, nn.Module):
            if id(value) not in self._tree:
                self._module(value, vars(value), registered=False)
                for part in value._modules.values():
                    if part is not None:
                        self._value(part, strict, depth + 1)
        elif isinstance(value, (dict, MappingProxyType)):
            for key, part in pairs(value) if isinstance(value, dict) else value.items():
                self._value(key, strict, depth + 1)
                self._value(part, strict, depth + 1)
            self._rest(value, strict, depth)
        elif isinstance(value, (list, tuple, set, frozenset, deque)):
            parts = elements(value)
            if all(type(part) in PLAIN for part in parts):
                add(tuple(parts))
                if len(parts) > _MOST:
                    self._blind("a collection of more values than can be looked at before every call", strict)
            else:
                for part in parts:
                    self._value(part, strict, depth + 1)
            self._rest(value, strict, depth)
        elif isinstance(value, MethodType):
            self._value(value.__func__, strict, depth + 1)
            self._value(value.__self__, strict, depth + 1)
        elif isinstance(value, (staticmethod, classmethod)):
            self._value(value.__func__, strict, depth + 1)
        elif isinstance(value, property):
            self._value(value.fget, strict, depth + 1)
        elif isinstance(value, partial):
            for held in (value.func, value.args, value.keywords):
                self._value(held, strict, depth + 1)
        elif isinstance(value, type):
            if origin_of_class(value) == "own":
                self._class(value)
                made = vars(value).get("__init__")
                if isinstance(made, FunctionType):
                    self._function(made, strict)
        elif isinstance(value, ModuleType):
            self._python_module(value, tuple(self._names), strict)
        elif isinstance(value, weakref.ref):
            self._value(value(), strict, depth + 1)
        elif isinstance(value, BuiltinFunctionType):
            if not isinstance(value.__self__, (ModuleType, type(None), type)):
                self._value(value.__self__, strict, depth + 1)
        elif isinstance(value, numpy.ndarray):
            if value.nbytes <= 1 << 20 and not value.dtype.hasobject:
                add((value.shape, str(value.dtype), value.tobytes()))
            else:
                self._blind("a large array of NumPy", strict)
        elif not isinstance(value, _SILENT):
            self._object(value, strict, depth)

    def _tensor(self, value: Tensor) -> None:
        """A tensor that is no parameter of the model: in place of a number of Python's it counts by its values."""
        version = 0 if value.is_inference() else value._version
        if isinstance(value, FakeTensor):  # a hook has kept it
            return
        self.facts.append((tuple(value.shape), value.dtype, value.device, version))
        if value.layout is torch.strided:
            self.facts.append(value.data_ptr())
            if value.numel() <= 16 and value.device.type == "cpu" and not isinstance(value, nn.Parameter):
                self.facts.append(str(value.tolist()))

    def _object(self, value: Any, strict: bool, depth: int) -> None:
        kind = type(value)
        whose = origin_of_class(kind)
        if whose == "trusted" and kind.__module__.partition(".")[0] in ("torch", "relprop"):
            return
        if whose != "trusted":
            self._class(kind)
        if not _in_python(kind):
            self._blind(
                f"a {kind.__module__}.{kind.__qualname__}, which keeps what it does to itself", strict
            )
        self._rest(value, strict and whose != "installed", depth)

    def _rest(self, value: Any, strict: bool, depth: int) -> None:
        """An object's attributes, in its dictionary or in slots."""
        for name, part in (getattr(value, "__dict__", None) or {}).items():
            if type(part) in PLAIN:
                self.facts.append((name, type(part), part))
            elif name in self._names or self._every_name:
                self.facts.append(name)
                self._value(part, strict, depth + 1)
            else:
                self._attribute(name, part, strict)
        kind = type(value)
        if kind.__module__ == "builtins":
            return
        for base in kind.__mro__:
            for name, member in vars(base).items() if "__slots__" in vars(base) else ():
                if isinstance(member, MemberDescriptorType):
                    self._value(getattr(value, name, None), strict, depth + 1)


def modules_of(model: nn.Module) -> list[nn.Module]:
    """A model's modules, each once; `Module.modules` goes through a generator for every level of every one."""
    found = {id(model): model}
    stack = [model]
    while stack:
        for part in vars(stack.pop()).get("_modules", {}).values():
            if part is not None and id(part) not in found:
                found[id(part)] = part
                stack.append(part)
    return list(found.values())


def origin_of_class(kind: type) -> str:
    """Whose class it is; what a program or a console holds itself is its own."""
    module = sys.modules.get(kind.__module__)
    return "own" if module is None else _origin_of_module(module)


def _origin_of_module(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    if file is not None:
        return origin(file)
    return "trusted" if module.__name__ in sys.builtin_module_names else "own"


def _in_python(kind: type) -> bool:
    """Whether a class and its bases are written in Python, so that their objects hide nothing."""
    for base in kind.__mro__:
        if base in (object, SimpleNamespace) or base.__module__ not in sys.modules:
            continue
        file = getattr(sys.modules[base.__module__], "__file__", None)
        if base.__module__ in sys.builtin_module_names or (file and not file.endswith((".py", ".pyc"))):
            return False
    return True
