"""View: a model that takes one tensor and returns one, where the user's takes or returns others.

A view shares all that the model holds, the dictionary of its attributes included, and is of a subclass of the
model's class, so that places keep their names. The model itself is left alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import new_class
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from relprop.errors import InputError, RelpropError

__all__ = ["Inputs", "Key", "NoPartError", "Packing", "member", "natural", "packed", "parts_named", "view_of"]

Key = str | int | Callable[[Any], Tensor] | None
Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
"""What a model takes: a tensor; positional arguments; one argument that is a list; keywords."""

_VIEWS: WeakKeyDictionary[nn.Module, dict[Hashable, nn.Module]] = WeakKeyDictionary()


class NoPartError(InputError):
    """The output has no such part."""


class Packing:
    """How several inputs lie side by side in one tensor (N, values).

    Args:
        x: tensors (N, ...): a tuple as positional arguments, a list as one argument that is a list, a mapping
            as keywords.

    Raises:
        InputError: no tensors, or such of several dtypes, devices or batch sizes.

    >>> packing = Packing((torch.ones(2, 3), torch.zeros(2, 1)))
    >>> packing.packed.shape, [tuple(t.shape) for t in packing.apart(packing.packed)]
    (torch.Size([2, 4]), [(2, 3), (2, 1)])
    """

    def __init__(self, x: Sequence[Tensor] | Mapping[str, Tensor]) -> None:
        named = isinstance(x, Mapping)
        parts = list(x.values()) if isinstance(x, Mapping) else list(x)
        if not parts or not all(isinstance(p, Tensor) and p.ndim > 0 for p in parts):
            raise InputError(
                "Expected the inputs to be tensors (N, ...) but got "
                f"{', '.join(type(p).__name__ for p in parts) or 'none'}. Hold everything else in a buffer of the "
                "model."
            )
        if not all(p.is_floating_point() for p in parts):
            got = next(p.dtype for p in parts if not p.is_floating_point())
            raise InputError(
                f"Expected floating-point inputs but one is {got}, which no relevance goes to. Wrap the model in "
                "a module that holds it in a buffer."
            )
        kinds = {(p.dtype, p.device, len(p)) for p in parts}
        if len(kinds) > 1:
            raise InputError(
                "Expected inputs of one dtype, device and batch size but got "
                f"{', '.join(f'{p.dtype} {tuple(p.shape)} on {p.device}' for p in parts)}. Convert them."
            )
        self.names: tuple[str, ...] = tuple(map(str, x)) if named else ()
        self.together = isinstance(x, list)
        self.shapes = tuple(tuple(p.shape[1:]) for p in parts)
        self.packed = torch.cat([p.detach().reshape(len(p), -1) for p in parts], 1)

    @property
    def key(self) -> Hashable:
        """Equal for inputs that are packed alike."""
        return self.names, self.together, self.shapes

    def apart(self, whole: Tensor, lead: int = 1) -> list[Tensor]:
        """The parts of a tensor (..., values) with so many axes in front."""
        sizes = [torch.Size(shape).numel() for shape in self.shapes]
        parts = whole.split(sizes, lead)
        front = whole.shape[:lead] if lead > 1 else (-1,)
        return [part.reshape(*front, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def like_inputs(
        self, whole: Tensor, lead: int = 1
    ) -> tuple[Tensor, ...] | list[Tensor] | dict[str, Tensor]:
        """`apart`, as the inputs came: a tuple, a list or a dict."""
        parts = self.apart(whole, lead)
        if self.names:
            return dict(zip(self.names, parts, strict=True))
        return parts if self.together else tuple(parts)

    def arguments(self, whole: Tensor) -> tuple[tuple[Any, ...], dict[str, Tensor]]:
        """What the model is called with."""
        parts = self.apart(whole)
        if self.names:
            return (), dict(zip(self.names, parts, strict=True))
        return ((parts,) if self.together else tuple(parts)), {}


def packed(x: Any) -> tuple[Any, Packing | None]:
    """Inputs as one tensor, and how they are packed; x itself and None where it is one.

    Raises:
        InputError: as for `Packing`.
    """
    packing = Packing(x) if isinstance(x, (tuple, list, Mapping)) else None
    return (x, None) if packing is None else (packing.packed, packing)


@contextmanager
def parts_named() -> Iterator[None]:
    """Say that an output has no such part in its own words, and not as a model that fails.

    Raises:
        InputError: there is no such part.
    """
    try:
        yield
    except RelpropError as error:
        if isinstance(error.__cause__, NoPartError):
            raise error.__cause__ from None
        raise


def view_of(model: nn.Module, key: Key, packing: Packing | None = None) -> nn.Module:
    """The model as one of one output tensor, (N, scores), and of one input; the same object for the same question.

    Args:
        model: the user's.
        key: which of its outputs; see `member`.
        packing: how inputs are packed; None: it takes one tensor.
    """
    if callable(key):  # not kept: it may hold the model, and is most often a new one in every call
        return _view(model, key, packing)
    views = _VIEWS.setdefault(model, {})
    name = (type(model), key, None if packing is None else packing.key)
    if name not in views or vars(views[name]) is not vars(model):
        views[name] = _view(model, key, packing)
    return views[name]


def _view(model: nn.Module, key: Key, packing: Packing | None) -> nn.Module:
    base: Any = type(model)
    unpack = None if packing is None else Packing.arguments
    like = None
    if packing is not None:
        like = object.__new__(Packing)  # without the tensors
        like.names, like.together, like.shapes = packing.names, packing.together, packing.shapes

    def call(self: nn.Module, x: Tensor) -> Any:
        args, keywords = ((x,), {}) if unpack is None or like is None else unpack(like, x)
        return _column(member(base.__call__(self, *args, **keywords), key), x)

    members: dict[str, Any] = {"__call__": call, "__module__": base.__module__}
    if packing is not None:

        def forward(self: nn.Module, *args: Any, **keywords: Any) -> Any:
            return base.forward(self, *args, **keywords)

        one = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("self", "x")]
        forward.__signature__ = inspect.Signature(one)  # type: ignore[attr-defined]  # what torch.export goes by
        members["forward"] = forward
    # Made beside the model's class and put below it then: classes that count their subclasses shall not see it.
    kind = new_class(
        base.__name__, (nn.Module,), {"metaclass": type(base)}, lambda space: space.update(members)
    )
    kind.__bases__ = (base,)
    view: nn.Module = object.__new__(kind)
    object.__setattr__(view, "__dict__", vars(model))
    return view


def _column(output: Any, x: Tensor) -> Any:
    """One number a sample as (N, 1)."""
    if isinstance(output, Tensor) and output.ndim < 2 and output.numel() == x.shape[0]:
        return output.reshape(-1, 1)
    return output


def member(output: Any, key: Key) -> Any:
    """A part of what a model returns.

    Args:
        output: what it returns.
        key: a name (of a mapping, a dataclass or the like), an index, a function of the output, or None for the
            whole.

    Raises:
        InputError: there is no such part.
    """
    if key is None:
        return output
    if callable(key):
        return key(output)
    if isinstance(key, int):
        if isinstance(output, (tuple, list)) and -len(output) <= key < len(output):
            return output[key]
        found = list(_members(output).values())
        if not isinstance(output, (Tensor, tuple, list)) and -len(found) <= key < len(found):
            return found[key]
    elif key in _members(output):
        return _members(output)[key]
    names = _listed(output)
    raise NoPartError(
        f"Expected output= to say which part of {type(output).__name__} is explained but there is no {key!r}. "
        f"{f'Take one of {names}' if names else 'Leave output out'}."
    )


def _members(output: Any) -> dict[str, Any]:
    """The named parts of an output."""
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output, strict=True))
    if isinstance(output, (Tensor, tuple, list)):
        return {}
    return dict(getattr(output, "__dict__", {}))


def _scores(parts: Iterable[tuple[Any, Any]]) -> list[Any]:
    return [name for name, value in parts if isinstance(value, Tensor) and value.is_floating_point()]


def _listed(output: Any) -> str:
    named = _members(output)
    parts = named.items() if named else enumerate(output) if isinstance(output, (tuple, list)) else ()
    return ", ".join(repr(name) for name, value in parts if isinstance(value, Tensor))


def natural(output: Any) -> tuple[Key, str]:
    """Which part of an output is explained where none is named, and what is to be said about that.

    A tensor itself; of several parts the one called logits, else the only tensor of floating-point numbers, else
    the first of a tuple or list.

    Raises:
        InputError: several named tensors, none called logits.
    """
    if isinstance(output, Tensor):
        return None, ""
    named = _members(output)
    if isinstance(named.get("logits"), Tensor):
        return "logits", ""
    found = _scores(
        named.items() if named else enumerate(output) if isinstance(output, (tuple, list)) else ()
    )
    if len(found) == 1:
        return found[0], ""
    if not found:
        raise InputError(
            f"Expected a model that returns one tensor of scores but it returns {type(output).__name__} without "
            "one at its top. Say which: output=lambda outputs: ..."
        )
    if named:
        raise InputError(
            f"Expected output= to say which of several tensors is explained but it is left out. The model returns "
            f"{', '.join(map(repr, found))}: pass output={found[0]!r} or another."
        )
    return found[0], (
        f"Explained is output {found[0]}, the first of {len(found)} tensors that the model returns; output= takes "
        "another."
    )
