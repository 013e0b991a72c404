"""Capture: from a live model to a graph, by `torch.export`, cached weakly per model and input shape."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from relprop.collector import collector_waits
from relprop.errors import CaptureError
from relprop.graph.alias import in_place, unsafe_writes, without_writes
from relprop.graph.build import build
from relprop.graph.contexts import make_flat
from relprop.graph.effects import check_effects
from relprop.graph.exporting import exported, layout_of, quiet_export
from relprop.graph.failures import capture_failure
from relprop.graph.fingerprint import fingerprint, owner_of
from relprop.graph.fx_call import module_of, op_name
from relprop.graph.leftovers import no_leftovers, release
from relprop.graph.live import same_generators
from relprop.graph.node import Graph
from relprop.precision import full_precision

__all__ = ["capture", "capture_lock", "clear_cache"]


#: Held while a model is captured. `torch.export` puts symbolic tensors in the place of the model's parameters
#: and patches `nn.Module` for the whole process meanwhile, so whatever reads a model or runs it waits.
capture_lock = threading.RLock()

_CACHE: WeakKeyDictionary[nn.Module, dict[Any, Graph]] = WeakKeyDictionary()

_VMAP = "torch._functorch.predispatch"

_MOST_GRAPHS = 64  # a model; what was used longest ago goes first


def clear_cache(model: nn.Module | None = None) -> None:
    """Forget captured graphs and derived weights, of one model (and of all that it is a part of) or of all.

    Never needed for right answers: changes are looked for at every call (docs/python-model.md). It gives memory
    back.
    """
    with capture_lock:
        if model is None:
            _CACHE.clear()
        else:
            for owner in [
                o for o in _CACHE if any(vars(m) is vars(model) for m in o.modules()) or o is owner_of(model)
            ]:
                del _CACHE[owner]


@full_precision
def capture(model: nn.Module, x: Tensor, *, anew: bool = False) -> Graph:
    """Capture `model` for inputs like `x`: (N, C, *spatial).

    The graph is cached per model, per (shape without N, dtype, device, layout) and per fingerprint of the
    model's structure, and forgotten with the model. Nothing in the model is changed. The model's own
    forward hooks are part of what it computes: they run once, on symbolic tensors.

    A module whose attribute `graphs_of` is another one shares the graphs of that: it differs from it by the
    values of its own buffers at most. Threads capture one after another (`capture_lock`).

    Args:
        model, x: see above.
        anew: forget what was captured of the model before.

    Raises:
        InputError: when the model is in training mode and that matters, or fails on x by itself.
        CaptureError: when the model can't be exported, or changes its own buffers.
    """
    with capture_lock:
        owner = owner_of(model)
        graphs = _CACHE.get(owner)
        if graphs is None or anew:
            graphs = _CACHE[owner] = {}
        now = fingerprint(model, owner)
        for stale in [k for k, g in graphs.items() if g.key != now.key and not g.volatile]:
            del graphs[stale]
        like = (tuple(x.shape[1:]), x.dtype, x.device, layout_of(x))
        for place in (like, (*like, x.shape[0])):
            if place in graphs and not (x.shape[0] == 1 and _drops_batch(graphs[place])):
                graph = graphs[place] = graphs.pop(place)  # last used, last dropped
                # What the forward pass changes by itself needs no new graph as long as the output is right.
                graph.watched = not now.unwatched and graph.key == now.key
                graph.key = now.key
                return graph
        with collector_waits(), no_leftovers():
            graph = _capture(model, x)
        # Other input sizes of the same model: what is derived from weights is checked against them and shared.
        graph.weights = next((g.weights for g in graphs.values()), graph.weights)
        after = fingerprint(model, owner)
        graph.key, graph.volatile = after.key, after.key != now.key
        graph.watched = not after.unwatched
        graphs[like if graph.static_batch is None else (*like, x.shape[0])] = graph
        while len(graphs) > _MOST_GRAPHS:  # a data set of many picture sizes
            del graphs[next(iter(graphs))]
        return graph


def _drops_batch(graph: Graph) -> bool:
    """Whether the graph, captured for any batch size, takes the samples' axis away from a single sample."""
    squeezes = torch.ops.aten.squeeze.default  # of every axis that is 1 long
    return graph.static_batch is None and any(node.target is squeezes for node in graph.nodes)


def _capture(model: nn.Module, x: Tensor) -> Graph:
    graph = _built(*_exported(model, x))
    if x.shape[0] == 1 and _drops_batch(graph):
        graph = _built(*_exported(model, x, any_batch=False))
    return graph


def _exported(model: nn.Module, x: Tensor, *, any_batch: bool = True) -> tuple[ExportedProgram, int | None]:
    try:
        with same_generators(x):
            return exported(model, x, any_batch=any_batch)
    except Exception as error:
        release(error)
        raise capture_failure(model, x, error) from error


def _built(program: ExportedProgram, static: int | None) -> Graph:
    try:
        pure = _pure(program)
        try:
            return build(pure, static)
        finally:
            release(pure)
    finally:
        release(program)


def _pure(program: ExportedProgram) -> ExportedProgram:
    """The program; where a write is read through another name of its tensor, the same without writes."""
    make_flat(program)
    if any(getattr(n.target, "__module__", "") == _VMAP for n in program.graph.nodes):
        with quiet_export():
            program = program.run_decompositions({})  # what `torch.vmap` does, as operators on whole batches
    check_effects(program)
    if any(in_place(n) for n in program.graph.nodes) and (writes := unsafe_writes(program.graph)):
        where = f"operator '{op_name(writes[0])}' in {module_of(writes[0])[0] or 'the model itself'}"
        try:
            with quiet_export():
                program = without_writes(program)
        except Exception as error:
            raise CaptureError(
                f"Can't capture the model: {where} writes to a tensor that is read through another name, and "
                f"PyTorch can't follow the write ({type(error).__name__}: {str(error).strip()[:200]}). Write "
                "y = f(y) in place of f_(y) there, or pass the part of the model without it."
            ) from error
        check_effects(program)
    return program
