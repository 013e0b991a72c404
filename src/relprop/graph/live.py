"""Live: one run of the user's own model, that leaves no trace."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from relprop.errors import CaptureError
from relprop.graph.exporting import restoring
from relprop.precision import no_autocast

__all__ = ["live_output"]


def live_output(model: nn.Module, x: Tensor, *, grad: bool = False) -> Any:
    """What `model(x)` returns. Call it with the capture lock held: a captured model lacks its parameters.

    The model's hooks run as in any call of it. Its attributes and buffers, x and the random generators (of
    torch, Python and NumPy) are afterwards as they were.

    Args:
        model: in evaluation mode.
        x: (N, C, *spatial); the model gets a copy.
        grad: record derivatives, x's included, so that the output's `grad_fn` tells how it came about.

    Raises:
        CaptureError: the model itself fails on x, or writes to its own parameters or buffers.
    """
    own = [*model.named_parameters(), *model.named_buffers()]
    before = [(name, t, _version(t)) for name, t in own]
    buffers = [(t, t.detach().clone()) for t in model.buffers()]
    with torch.inference_mode(False), torch.set_grad_enabled(grad), no_autocast(), _same_generators(x):
        seen = x.detach().clone().requires_grad_(grad)
        try:
            with restoring(model):
                output = model(seen * 1 if grad else seen)  # a leaf can't be written to
        except Exception as error:
            raise CaptureError(
                f"Can't capture {type(model).__name__}: model(x) itself fails on x of shape {tuple(x.shape)} "
                f"({type(error).__name__}: {str(error).strip()[:300]}). Pass an x that the model takes."
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


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


@contextmanager
def _same_generators(x: Tensor) -> Iterator[None]:
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
