"""Inputs: what can be explained at all, and one sentence on anything else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.nn.parameter import is_lazy

from relprop.errors import InputError
from relprop.graph.fingerprint import modules_of

__all__ = ["check_input", "unusable"]


def check_input(model: Any, x: Any, *, values: bool = True) -> None:
    """Refuse what is no model, and what no model is explained on.

    Args:
        model: as it came.
        x: as it came.
        values: whether its values are looked at too, beside type and shape.

    Raises:
        InputError: the model is no module or holds no values; x isn't a dense floating-point tensor (N, C,
            *spatial) with something in it, in the model's dtype and on its device, and finite.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"Expected the model to be a torch.nn.Module but got {type(model).__name__}.")
    if not isinstance(x, Tensor):
        raise InputError(
            f"Expected x to be a tensor (N, C, *spatial) but got {type(x).__name__}.{_remedy(x)}"
        )
    _check_kind(x)
    if x.ndim < 2 or x.shape[0] == 0:
        raise InputError(f"Expected x to be (N, C, *spatial) with N >= 1 but got shape {tuple(x.shape)}.")
    if 0 in x.shape:
        raise InputError(f"Expected x to have something along every axis but got shape {tuple(x.shape)}.")
    _check_fit(model, x)
    # NaN comes through
    if values and not all(map(math.isfinite, (float(v) for v in torch.aminmax(x.detach())))):
        bad = int((~torch.isfinite(x)).sum())
        raise InputError(f"Expected a finite input but {bad} of {x.numel()} values of x are NaN or infinite.")


def _remedy(x: object) -> str:
    if isinstance(x, np.ndarray):
        return " Make it one: torch.from_numpy(x)."
    if isinstance(x, (list, tuple)) and any(isinstance(part, Tensor) for part in x):
        return " Join its tensors: torch.stack(x) or torch.cat(x)."
    return " Make it one with torch.tensor(x)." if isinstance(x, (list, tuple)) else ""


def unusable(value: Tensor) -> str | None:
    """Why nothing can be computed with a tensor, as words that follow "it is", with what to do; None: nothing.

    Its values aren't there, or don't lie one beside the other.

    >>> unusable(torch.ones(2)), unusable(torch.ones(2).to_sparse())
    (None, 'sparse coo. Pass its to_dense()')
    """
    if value.is_meta or isinstance(value, FakeTensor):
        return "a meta or fake tensor, a shape without values. Pass a real one"
    if value.is_quantized:
        return "quantised. Pass its dequantize()"
    if value.is_nested:
        return "nested. Pass one sample at a time, or torch.stack(its unbind())"
    if value.layout is not torch.strided:
        return f"{str(value.layout).removeprefix('torch.').replace('_', ' ').strip()}. Pass its to_dense()"
    return None


def _check_kind(x: Tensor) -> None:
    why = unusable(x)
    if why is not None:
        raise InputError(f"Expected x to be a dense tensor with values but it is {why}.")
    if not x.is_floating_point():
        raise InputError(
            f"Expected x to be floating point but got {x.dtype}. Convert and normalise the image first."
        )
    if x.dtype.itemsize < 2:
        raise InputError(f"Expected x to have at least 16 bits a value but got {x.dtype}. Pass x.float().")


def _check_fit(model: nn.Module, x: Tensor) -> None:
    """Refuse an input of another dtype, or on another device, than the model's."""
    name = type(model).__name__
    modules = modules_of(model)
    parameters = [p for m in modules for p in m._parameters.values() if p is not None]
    buffers = [b for m in modules for b in m._buffers.values() if b is not None]
    if any(map(is_lazy, (*parameters, *buffers))):
        raise InputError(
            f"Expected a model with weights but {name} has lazy modules that were never called. Call it once: "
            "model(x)."
        )
    own = [p for p in parameters if p.dtype.is_floating_point]
    dtypes = {p.dtype for p in own}
    if dtypes and x.dtype not in dtypes:
        has = sorted(map(str, dtypes))[0]
        raise InputError(
            f"Expected model and input of one dtype but {name} has {has} and x is {x.dtype}. Convert one of them "
            f"(x.to({has}) or model.to({x.dtype}))."
        )
    devices = {p.device for p in own}
    if any(device.type == "meta" for device in devices):
        raise InputError(
            f"Expected a model with weights but some of {name} are on the meta device, shapes without values. "
            "Load them first."
        )
    if devices and x.device not in devices:
        has = sorted(map(str, devices))[0]
        raise InputError(
            f"Expected model and input on one device but {name} is on {has} and x on {x.device}. Move one of them "
            f"(x.to({has!r}))."
        )
