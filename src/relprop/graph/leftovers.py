"""Leftovers: what PyTorch would keep of a capture for as long as the process lives."""

from __future__ import annotations

import linecache
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram
from torch.fx import graph_module

__all__ = ["no_leftovers", "release"]

_MOST = 2000  # results of operators on symbolic tensors


@contextmanager
def no_leftovers() -> Iterator[None]:
    """Give back what an export inside leaves in PyTorch's own caches; with the capture lock held.

    Those are the source texts of graphs that were compiled on the way, and caches on `ShapeEnv`'s methods that
    hold every environment, with all its symbols and symbolic tensors. The caches only save time: another
    thread that exports meanwhile fills them anew.
    """
    sources = getattr(getattr(graph_module, "_loader", None), "eval_cache", {})
    before = set(sources)
    try:
        yield
    finally:
        for name in set(sources) - before:
            sources.pop(name, None)
            linecache.cache.pop(name, None)
        # Imported by the export itself; it brings a warning filter along, which `quiet` takes away there.
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        for method in vars(ShapeEnv).values():
            clear = getattr(method, "cache_clear", None)
            if clear is not None:
                clear()
        if len(getattr(FakeTensorMode, "cache", ())) > _MOST:
            FakeTensorMode.cache_clear()


def release(source: ExportedProgram | BaseException) -> None:
    """Let go of the symbolic tensors of an exported program that was used up, or of an export that failed.

    An environment holds the tensors it was made for, whose sizes hold the environment by references of C++, which
    Python's collector doesn't see: nothing of it would ever be freed.
    """
    found = _of_program(source) if isinstance(source, ExportedProgram) else _of_error(source)
    for mode in {id(m): m for m in found}.values():
        environment = mode.shape_env
        if environment is not None:
            environment.tracked_fakes = None
            environment.fake_tensor_cache.clear()


def _of_program(program: ExportedProgram) -> Iterable[FakeTensorMode]:
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor):
            yield value.fake_mode


def _of_error(error: BaseException | None) -> Iterable[FakeTensorMode]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            values: list[Any] = list(trace.tb_frame.f_locals.values())
            yield from (v for v in values if type(v) is FakeTensorMode)
            yield from (v.fake_mode for v in values if type(v) is FakeTensor)
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
