"""Exporting: `torch.export`, quietly, without a trace in the model, and what to say when it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from relprop.errors import CaptureError
from relprop.quiet import no_log, no_prints, warnings_as

__all__ = ["exported", "layout_of", "quiet_export", "restoring"]


def exported(model: nn.Module, x: Tensor, *, any_batch: bool = True) -> tuple[ExportedProgram, int | None]:
    """The model as `torch.export` sees it on inputs like `x`, and the batch size that it is bound to, if any."""
    # A batch of 1 would be specialised to 1, so the example has two samples.
    pair = x.detach()[:1].expand(2, *x.shape[1:]).contiguous(memory_format=layout_of(x))
    try:
        with torch.no_grad(), quiet_export(), restoring(model):
            if not any_batch:
                return export(model, (x.detach(),)), x.shape[0]
            try:
                return export(model, (pair,), dynamic_shapes=({0: Dim("batch", min=1)},)), None
            except Exception as first:
                try:
                    # Some models fix their batch size, or compute with it. One size is better than none.
                    return export(model, (x.detach(),)), x.shape[0]
                except Exception:
                    raise first from None
    except Exception as error:
        raise CaptureError(_without_batch(model, x) or _export_failure(model, error)) from error


def layout_of(x: Tensor) -> torch.memory_format:
    """How the axes of a batch lie in memory: whether a reshape copies depends on it."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    if last is not None and not x.is_contiguous() and x.is_contiguous(memory_format=last):
        return last
    return torch.contiguous_format


@contextmanager
def restoring(model: nn.Module) -> Iterator[None]:
    """Undo what a forward pass leaves in the modules' attributes."""
    before = [(m, dict(vars(m))) for m in model.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            state = vars(module)
            for name in [n for n in state if n not in attributes]:
                del state[name]
            state.update(attributes)


def _without_batch(model: nn.Module, x: Tensor) -> str | None:
    """What to say of a single picture or clip where the network's convolutions want a batch of them."""
    kinds = {2: nn.Conv2d, 3: nn.Conv3d}
    axes = [n for n, kind in kinds.items() if any(isinstance(m, kind) for m in model.modules())]
    if not axes or x.ndim != min(axes) + 1:
        return None
    return (
        f"Can't capture {type(model).__name__} on x of shape {tuple(x.shape)}: its convolutions slide over "
        f"{min(axes)} axes, so that x needs a batch axis in front of its channels. Pass x[None]."
    )


def _export_failure(model: nn.Module, error: Exception) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    name = type(model).__name__
    data_dependent = "data-dependent" in text.lower() or "DataDependent" in type(error).__name__
    if data_dependent or "GuardOnDataDependentSymNode" in text:
        why = "its control flow depends on the values of the input (an `if` or a loop over a tensor's values)"
    else:
        why = "torch.export refused it"
    where = ""
    for match in re.finditer(r'File "([^"]+)", line (\d+)', text):
        if "/torch/" not in match[1]:
            where = f" at {match[1].rsplit('/', 1)[-1]}:{match[2]}"
    return (
        f"Can't capture {name}: {why}{where} ({type(error).__name__}: {first[:300]}). Pass the part of the model "
        "without it: for example the module that maps the image to raw scores, before thresholds, "
        "non-maximum suppression or other choices made on values."
    )


_LOGGERS = (
    "torch.export",
    "torch.export._trace",
    "torch.export.dynamic_shapes",
    "torch.fx.experimental.symbolic_shapes",
    "torch._subclasses.fake_tensor",
)


@contextmanager
def quiet_export() -> Iterator[None]:
    """Keep torch.export's notices to itself: they speak of its own internals.

    A failing export also prints the graph it has so far.
    """
    with warnings_as("ignore"), no_log(_LOGGERS), no_prints(("torch.export._trace", "torch.fx.graph_module")):
        yield
