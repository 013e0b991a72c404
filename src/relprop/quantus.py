"""Quantus' habits: relprop's methods as the `explain_func` of its metrics."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from relprop.compat import load_torchvision
from relprop.errors import InputError, RelpropError
from relprop.explanation.explain import explain
from relprop.graph import capture_lock
from relprop.methods.registry import MethodLike
from relprop.quiet import no_warnings

__all__ = ["explain_func", "load_quantus"]


def explain_func(
    model: nn.Module,
    inputs: Any,
    targets: Any,
    *,
    method: MethodLike = "lrp-composite",
    device: str | torch.device | None = None,
    **_: Any,
) -> NDArray[Any]:
    """What Quantus calls for explanations: `metric(..., explain_func=relprop.quantus.explain_func)`.

    The method goes where Quantus has its own: `explain_func_kwargs={"method": "lrp-gamma"}`. Only this function is
    ours: Quantus itself is not imported.

    Args:
        model: as for `relprop.explain`.
        inputs: (N, C, *spatial), array or tensor. They go to the model's device and dtype.
        targets: class indices (N,).
        method: as for `relprop.explain`. One that is no amount ("agreement", and what "recommended" takes for
            pictures) suits metrics of places; metrics that hold sums of relevance against scores need amounts.
        device: where inputs go in place of the model's device.

    Returns:
        Maps summed over channels, (N, 1, *spatial), in the inputs' dtype (float32 for half precision).

    Raises:
        InputError: as `relprop.explain`.
        UnknownNameError: no method of that name.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    >>> net[1].weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> explain_func(net, np.ones((1, 2, 1, 2)), np.array([0]), method="gradient").tolist()
    [[[[4.0, 6.0]]]]
    """
    with capture_lock:
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
        x = torch.as_tensor(inputs).to(device=device or like.device, dtype=like.dtype)
    target = torch.as_tensor(targets).reshape(-1).long().to(x.device)
    heat: NDArray[Any] = explain(model, x, target, method).heatmap()[:, None].cpu().numpy()
    wanted = np.asarray(inputs.cpu() if isinstance(inputs, torch.Tensor) else inputs).dtype
    return heat.astype(wanted) if wanted in (np.float32, np.float64) else heat


def load_quantus(metric: str) -> ModuleType:
    """Import Quantus, and torchvision before it (it imports zennit, which does).

    Args:
        metric: what needs it, for the error.

    Raises:
        InputError: it isn't installed.
        RelpropError: it fails to import.
    """
    if find_spec("quantus") is None:
        raise InputError(
            f"Expected Quantus to be installed for metric {metric!r} but it is not. Install it with: pip install "
            "'relprop[quantus]'."
        )
    if find_spec("torchvision") is not None:
        load_torchvision()
    try:
        with no_warnings():
            return import_module("quantus")
    except Exception as error:
        raise RelpropError(
            f"Expected Quantus to import for metric {metric!r} but it failed with {type(error).__name__}: {error}."
        ) from error
