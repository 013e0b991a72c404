"""Exporting: `torch.export`, quietly and without a trace in the model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, ExportedProgram, export

from relprop.graph.leftovers import release
from relprop.graph.recurrent import RECURRENT
from relprop.graph.untouched import untouched
from relprop.quiet import no_log, no_prints, no_warnings

__all__ = ["exported", "layout_of", "quiet_export"]


def exported(model: nn.Module, x: Tensor, *, any_batch: bool = True) -> tuple[ExportedProgram, int | None]:
    """The model as `torch.export` sees it on inputs like `x`, and the batch size that it is bound to, if any.

    Autograd is on, so that what the model does without it can be told; a model that only runs without it is
    exported without.
    """
    with torch.inference_mode(False), quiet_export(), _shapes_alone(), _results_kept_once(), untouched(model):
        try:
            with torch.enable_grad():
                return _exported(model, x, any_batch)
        except Exception as error:
            if not re.search("grad|nference|in-?place", str(error)):  # what autograd alone objects to
                raise
            release(error)
            # Parameters made in inference mode can be read there alone.
            born = any(t.is_inference() for t in (*model.parameters(), *model.buffers()))
            with torch.inference_mode(born), torch.no_grad():
                try:
                    return _exported(model, x, any_batch)
                except Exception:
                    raise error from None


def layout_of(x: Tensor) -> torch.memory_format:
    """How the axes of a batch lie in memory: whether a reshape copies depends on it."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    if last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=last):
        return last
    return torch.contiguous_format


def _exported(model: nn.Module, x: Tensor, any_batch: bool) -> tuple[ExportedProgram, int | None]:
    # Not strict, the default of newer torch: the old default reads the model's byte code, and follows less of it.
    # Clones: a tensor made in inference mode would stay one of its kind.
    if not any_batch:
        return export(model, (x.detach().clone(),), strict=False), x.shape[0]
    # A batch of 1 would be specialised to 1, so the example has two samples.
    pair = x.detach()[:1].expand(2, *x.shape[1:]).clone(memory_format=layout_of(x))
    try:
        return export(model, (pair,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False), None
    except Exception as first:
        release(first)
        try:
            # Some models fix their batch size, or compute with it. One size is better than none.
            return export(model, (x.detach().clone(),), strict=False), x.shape[0]
        except Exception:
            raise first from None


_CACHE_FOLDER = "TORCHINDUCTOR_CACHE_DIR"
_SWITCH = "_ignore_backend_decomps"
_DETECTS = "_detect_is_causal_mask"
_KEEPS = "_cached_dispatch_impl"
_LOGGERS = (
    "torch.export",
    "torch.export._trace",
    "torch.export.dynamic_shapes",
    "torch.fx.experimental.recording",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
)


@contextmanager
def quiet_export() -> Iterator[None]:
    """Keep torch.export's notices to itself: they speak of its own internals.

    A failing export also prints the graph it has so far.
    """
    prints = no_prints(("torch.export._trace", "torch.fx.graph_module"))
    alone = _environment_left_alone(), _precisions_left_alone()
    with no_warnings(), no_log(_LOGGERS), prints, alone[0], alone[1], _masks_as_given():
        yield


@contextmanager
def _environment_left_alone() -> Iterator[None]:
    """Take a variable away again that torch sets when it first looks for its compiler's cache."""
    known = _CACHE_FOLDER in os.environ
    try:
        yield
    finally:
        if not known:
            os.environ.pop(_CACHE_FOLDER, None)


@contextmanager
def _precisions_left_alone() -> Iterator[None]:
    """Switch backends off while torch.export traces, as it does itself, and touch nothing else of them.

    Its own way also reads and sets their precisions: that raises where a user has given cuDNN's convolutions a
    precision of their own (`torch.backends.cudnn.conv.fp32_precision`). For one thread at a time.
    """
    space = vars(import_module("torch.export._trace"))
    theirs = space.get(_SWITCH)
    if theirs is None:
        yield
        return
    space[_SWITCH] = _backends_off
    try:
        yield
    finally:
        space[_SWITCH] = theirs


@contextmanager
def _shapes_alone() -> Iterator[None]:
    """Have recurrent layers and batch norms tell the shapes of their results alone while a model is exported.

    torch.export keeps such a layer as one operator, but computes it in smaller ones on symbolic tensors to learn
    these: three quarters of a capture of recurrent layers, a seventh of one of a ResNet. For one thread at a time.
    """
    aten = torch.ops.aten
    told: list[tuple[Any, Callable[..., Any]]] = [
        *((getattr(aten, name).input, _shapes_of_layers) for name in RECURRENT),
        (aten.native_batch_norm.default, _shape_of_norm),
    ]
    saved = []
    for operator, tells in told:
        kernels, cache = getattr(operator, "py_kernels", None), getattr(operator, "_dispatch_cache", None)
        if isinstance(kernels, dict) and isinstance(cache, dict):
            saved.append((kernels, cache, dict(kernels)))
            kernels.update({key: partial(tells, theirs) for key, theirs in kernels.items()})
            cache.clear()
    try:
        yield
    finally:
        for kernels, cache, theirs in saved:
            kernels.update(theirs)
            cache.clear()


def _shapes_of_layers(_: Any, x: Tensor, hx: Tensor | Sequence[Tensor], *rest: Any) -> tuple[Tensor, ...]:
    """What LSTM, GRU and plain recurrent layers return, (output, last states): shapes and dtypes only."""
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    directions = 2 if rest[-2] else 1
    output = x.new_empty((*x.shape[:-1], states[0].shape[-1] * directions))
    return (output, *(state.new_empty(state.shape) for state in states))


def _shape_of_norm(
    theirs: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    *rest: Any,
) -> tuple[Tensor, ...]:
    """What a batch norm returns, (output, saved mean, saved deviation): a copy, which needs autograd as x does."""
    given = [t for t in (weight, bias) if t is not None]
    plain = all(t is not None and t.shape == x.shape[1:2] for t in (mean, var, *given))
    learns = any(t.requires_grad for t in given) and not x.requires_grad
    if training or not plain or learns:
        return theirs(x, weight, bias, mean, var, training, *rest)
    return x.clone(), x.new_empty(0), x.new_empty(0)


@contextmanager
def _masks_as_given() -> Iterator[None]:
    """Have `nn.TransformerEncoder` and `TransformerDecoder` use their masks without looking at them first.

    They compare a mask with the causal one, to take a faster way to the same values where it is; torch.export
    knows no values to compare. For one thread at a time.
    """
    space = vars(import_module("torch.nn.modules.transformer"))
    theirs = space.get(_DETECTS)
    if theirs is None:
        yield
        return
    space[_DETECTS] = lambda mask, is_causal=None, size=None: is_causal is True
    try:
        yield
    finally:
        space[_DETECTS] = theirs


@contextmanager
def _backends_off() -> Iterator[None]:
    switched = torch.backends.mkldnn, torch.backends.cudnn
    before = [backend.enabled for backend in switched]
    (packed,) = torch.backends.nnpack.set_flags(False)
    try:
        for backend in switched:
            backend.enabled = False  # type: ignore[attr-defined]
        yield
    finally:
        for backend, enabled in zip(switched, before, strict=True):
            backend.enabled = enabled  # type: ignore[attr-defined]
        torch.backends.nnpack.set_flags(packed)


@contextmanager
def _results_kept_once() -> Iterator[None]:
    """Have symbolic tensors keep the results of what the model calls alone, not of the steps inside each operator.

    PyTorch keeps what it learns of an operator's result, and makes the result once more from it, to see whether
    that is of the same kind. Most operators are computed by several others; where the result of the whole is kept
    nobody asks for theirs. Keeping them takes a sixth of a capture of a network that repeats little. For one
    thread at a time.
    """
    theirs = getattr(FakeTensorMode, _KEEPS, None)
    if theirs is None:
        yield
        return

    def outermost(mode: Any, *given: Any, **named: Any) -> Any:
        keeps, mode.cache_enabled = mode.cache_enabled, False
        try:
            return theirs(mode, *given, **named)
        finally:
            mode.cache_enabled = keeps

    setattr(FakeTensorMode, _KEEPS, outermost)
    try:
        yield
    finally:
        setattr(FakeTensorMode, _KEEPS, theirs)
