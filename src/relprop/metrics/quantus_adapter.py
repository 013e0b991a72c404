"""Quantus adapter: relprop's methods as the `explain_func` of Quantus' metrics."""

from __future__ import annotations

from collections.abc import Callable
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
from relprop.graph import capture_lock
from relprop.methods.method import Method
from relprop.methods.registry import resolve
from relprop.quiet import no_warnings

__all__ = ["load_quantus", "quantus_explain"]


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


def quantus_explain(method: str | Method = "lrp-composite") -> Callable[..., NDArray[Any]]:
    """A function that Quantus calls for explanations: `metric(..., explain_func=quantus_explain("lrp-0"))`.

    It takes (model, inputs (N, C, H, W), targets (N,)) and returns the maps summed over channels, (N, 1, H, W),
    in the inputs' dtype (float32 for half precision). Inputs go to the model's device and dtype, unless
    `device` is passed; other keywords are left to Quantus. Only the adapter is ours: Quantus itself is
    not imported.

    Args:
        method: a name or a configured method, as for `relprop.explain`.

    Raises:
        UnknownNameError: no method of that name.
        InputError: when called, as `relprop.explain`.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    >>> net[1].weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> quantus_explain("gradient")(model=net, inputs=np.ones((1, 2, 1, 2)), targets=np.array([0])).tolist()
    [[[[4.0, 6.0]]]]
    """
    recipe = resolve(method)

    def explain_func(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> NDArray[Any]:
        from relprop.explanation.explain import explain

        with capture_lock:
            like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
            device = kwargs.get("device") or like.device
            x = torch.as_tensor(inputs).to(device=device, dtype=like.dtype)
        target = torch.as_tensor(targets).reshape(-1).long().to(device)
        heat = explain(model, x, target, recipe).heatmap()[:, None].cpu().numpy()
        wanted = np.asarray(inputs.cpu() if isinstance(inputs, torch.Tensor) else inputs).dtype
        return heat.astype(wanted) if wanted in (np.float32, np.float64) else heat

    return explain_func
