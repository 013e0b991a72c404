"""Live: one run of the user's own model, that leaves no trace."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from relprop.errors import CaptureError, InputError
from relprop.graph.untouched import untouched
from relprop.precision import no_autocast
from relprop.shortage import is_shortage

__all__ = ["live_output", "same_generators", "single_sample"]


def live_output(
    model: nn.Module, x: Tensor, *, grad: bool = False, behind: Callable[[], None] = lambda: None
) -> Any:
    """What `model(x)` returns. Call it with the capture lock held: a captured model lacks its parameters.

    The model's hooks run as in any call of it. Its attributes and buffers, x and the random generators (of
    torch, Python and NumPy) are afterwards as they were.

    Args:
        model: in evaluation mode.
        x: (N, C, *spatial); the model gets a copy.
        behind: called behind the run, before anything is put back.
        grad: record derivatives, x's included, so that the output's `grad_fn` tells how it came about.

    Raises:
        InputError: the model itself fails on x.
        CaptureError: it writes to its own parameters or buffers.
    """
    own = [*model.named_parameters(), *model.named_buffers()]
    before = [(name, t, _version(t)) for name, t in own]
    buffers = [(t, t.detach().clone()) for t in model.buffers()]
    with torch.inference_mode(False), torch.set_grad_enabled(grad), no_autocast(), same_generators(x):
        seen = x.detach().clone().requires_grad_(grad)
        try:
            with untouched(model):
                output = model(seen * 1 if grad else seen)  # a leaf can't be written to
                behind()
        except Exception as error:
            if is_shortage(error):
                raise
            raise InputError(
                f"Expected an x that {type(model).__name__} takes but model(x) itself fails for x of shape "
                f"{tuple(x.shape)} with {_first_line(error)}. {_advice(model, x, error)}"
            ) from error
    written = [name for name, t, version in before if _version(t) != version]
    if written:
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
        raise CaptureError(
            f"Can't capture {type(model).__name__}: its forward pass writes to its own {written[0]!r}. "
            "Explaining it would change it. Remove the write or pass the part of the model without it."
        )
    return output


def single_sample(model: nn.Module, x: Tensor) -> int | None:
    """Over how many axes the network's convolutions slide, where x is one picture without a batch axis."""
    kinds = {2: nn.Conv2d, 3: nn.Conv3d}
    axes = [n for n, kind in kinds.items() if any(isinstance(m, kind) for m in model.modules())]
    return min(axes) if axes and x.ndim == min(axes) + 1 else None


def _first_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "no text")
    return f"{type(error).__name__}: {text[:300]}".rstrip(".")


def _advice(model: nn.Module, x: Tensor, error: Exception) -> str:
    """What may help where the model itself fails."""
    if single_sample(model, x) is not None:
        return "A single picture or clip needs a batch axis in front of its channels: pass x[None]."
    if isinstance(error, TypeError) and "argument" in str(error):
        return (
            "Where it takes more than x, or x by name, pass explain a tuple or a dict of inputs, or wrap it in "
            "a module whose forward takes x alone."
        )
    return "Check the size and the channels of x, and what else the model needs."


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


@contextmanager
def same_generators(x: Tensor) -> Iterator[None]:
    """Leave the generators of torch, Python and NumPy where they stood."""
    devices = [x.device] if x.device.type == "cuda" else []
    python = random.getstate()
    numpy: Any = sys.modules.get("numpy.random")
    drawn = None if numpy is None else numpy.get_state()
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            if drawn is not None:
                numpy.set_state(drawn)
