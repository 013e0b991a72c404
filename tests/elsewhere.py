"""A pretended accelerator: tensors on it compute as ever, but refuse the company of those that aren't.

No such device is needed. Whatever Python's code of torch and relprop calls goes by this mode: it says that a
tensor is on `xpu:0`, follows what is made of it, and raises where an accelerator would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from relprop.graph import exporting

THERE, HERE = torch.device("xpu:0"), torch.device("cpu")

# What waits for the device, for a number of it comes back.
WAITS = set(
    "item tolist __bool__ __int__ __float__ __index__ __contains__ nonzero argwhere unique unique_consecutive "
    "masked_select equal allclose is_nonzero _local_scalar_dense isclose_all".split()
)
_INDEXES = {"__getitem__", "__setitem__", "index", "index_put", "index_put_", "_unsafe_index"}
_CROSSES = {"copy_", "__set__", "_has_compatible_shallow_copy_type"}  # from one device to the other


class WrongDeviceError(RuntimeError):
    """Tensors of two devices in one operator, or one of another than its consumer takes."""


class Elsewhere(TorchFunctionMode):
    """Pretends that some tensors are on an accelerator.

    Attributes:
        waits: how often what was waited for.
        scalars: operators in which a number on the CPU met a tensor on the device, which is allowed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.scalars: Counter[str] = Counter()
        self._paused = False
        self._there: dict[int, Any] = {}  # storages by address, held so that no address is used twice
        self._here: dict[int, Any] = {}

    @property
    def entered(self) -> bool:
        """Whether it is at work."""
        return self in torch.overrides._get_current_function_mode_stack() and not self._paused

    def take(self, what: Any) -> Any:
        """Put a module, or tensors, there."""
        tensors = [*what.parameters(), *what.buffers()] if isinstance(what, nn.Module) else _tensors(what)
        for tensor in tensors:
            self._here.pop(_place(tensor), None)  # type: ignore[arg-type]
            self._mark(tensor, True)
        return what

    def is_there(self, tensor: Tensor) -> bool:
        """Whether a tensor is on the device."""
        return _place(tensor) in self._there

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Everything is where it is."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def _mark(self, tensor: Tensor, there: bool) -> None:
        place = _place(tensor)
        if place is None or place in self._there or place in self._here:
            return
        (self._there if there else self._here)[place] = tensor.untyped_storage()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self._paused:
            return func(*args, **kwargs)
        if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:  # shapes alone
            args, kwargs = pytree.tree_map_only(torch.device, _real, (args, kwargs))
            return func(*args, **kwargs)
        name = _name(func)
        if name == "__get__":
            return self._attribute(func, args)
        if name == "_parse_to":  # what `Module.to` was asked for, and hands on to its tensors
            return func(*args, **kwargs)
        given = _tensors((args, kwargs))
        there = [t for t in given if self.is_there(t)]
        asked = self._asked(name, args, kwargs)
        args, kwargs = pytree.tree_map_only(torch.device, _real, (args, kwargs))
        args, kwargs = pytree.tree_map_only(str, lambda s: "cpu" if s == str(THERE) else s, (args, kwargs))
        if there and name in ("numpy", "__array__"):
            raise WrongDeviceError(f"{name} of a tensor on {THERE}.")
        masked = name in _INDEXES and _masks(args, kwargs)
        brought = asked == HERE and bool(given) and self.is_there(given[0])
        if there and (name in WAITS or masked or brought):
            self.waits[name] += 1
        if asked is not None and given and name in ("to", "cpu", "_to_copy", "type", "as_tensor", "asarray"):
            result = func(*args, **kwargs)
            if (asked == THERE) != self.is_there(given[0]):  # a copy, though both lie in the same memory
                result = result.clone()
            self._mark(result, asked == THERE)
            return result
        generator = kwargs.get("generator")
        on_device = asked == THERE if asked is not None else bool(there)
        if on_device and generator is not None:
            raise WrongDeviceError(f"{name} on {THERE} with a generator of the CPU.")
        if there:
            self._check(name, args, kwargs, given)
        result = func(*args, **kwargs)
        for made in _tensors(result):
            self._mark(made, on_device)
        return result

    def _attribute(self, func: Any, args: Any) -> Any:
        """An attribute of a tensor."""
        which = getattr(getattr(func, "__self__", None), "__name__", "")
        tensor = args[0]
        there = isinstance(tensor, Tensor) and self.is_there(tensor)
        if there and which == "device":
            return THERE
        if there and which in ("is_cpu", "is_xpu"):
            return which == "is_xpu"
        result = func(*args)
        for made in _tensors(result):
            self._mark(made, there)
        return result

    def _asked(self, name: str, args: Any, kwargs: Any) -> torch.device | None:
        """The device that a call names, or that of a tensor that it names instead."""
        if name == "cpu":
            return HERE
        plain = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.device)]
        words = [a for a in (*args, *kwargs.values()) if isinstance(a, str) and a in ("cpu", str(THERE))]
        if plain or words:
            return plain[0] if plain else torch.device(words[0])
        other = kwargs.get("other", args[1] if len(args) > 1 else None)
        if name == "to" and isinstance(other, Tensor):
            return THERE if self.is_there(other) else HERE
        return None

    def _check(self, name: str, args: Any, kwargs: Any, given: list[Tensor]) -> None:
        if name in _CROSSES:
            return
        if name in _INDEXES:  # indices may come from the CPU
            given = [
                args[0],
                *_tensors(args[2:3] if len(args) > 2 else ()),
                *_tensors(kwargs.get("values", ())),
            ]
            if not self.is_there(args[0]):
                raise WrongDeviceError(f"{name} of a tensor on the CPU with indices on {THERE}.")
        strangers = [t for t in given if not self.is_there(t)]
        for stranger in strangers:
            if stranger.dim() > 0:
                raise WrongDeviceError(
                    f"{name} of tensors on {THERE} and one on the CPU, {tuple(stranger.shape)}."
                )
            self.scalars[name] += 1


def _name(func: Any) -> str:
    schema = getattr(func, "_schema", None)
    return schema.name.rpartition("::")[2] if schema is not None else getattr(func, "__name__", str(func))


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> int | None:
    try:
        with torch._C.DisableTorchFunction():
            return None if tensor.layout is not torch.strided else int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # symbolic ones
        return None


def _real(device: torch.device) -> torch.device:
    return HERE if device == THERE else device


def _masks(args: Any, kwargs: Any) -> bool:
    return any(t.dtype == torch.bool for t in _tensors((args[1:2], kwargs.get("indices", ()))))


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """A mode to enter (`with mode`) as often as is wanted; networks captured in it are as if traced there."""
    mode = Elsewhere()
    theirs = exporting._exported

    def exported(*given: Any) -> Any:
        if not mode.entered:
            return theirs(*given)
        with mode.paused():
            program, batch = theirs(*given)
            for module in program.graph_module.modules():
                for node in module.graph.nodes:
                    if isinstance(node.kwargs.get("device"), torch.device):
                        node.kwargs = {**node.kwargs, "device": THERE}
            return program, batch

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exporting, "_exported", exported)
        yield mode
