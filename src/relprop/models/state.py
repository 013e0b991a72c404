"""State dicts from files, and how they get into a model."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.files import WEIGHTS, regular_file
from relprop.quiet import no_warnings

__all__ = ["load_state", "read_state", "weights_digest"]


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors``, or from a torch file with ``weights_only=True``.

    A dict that holds the state dict as its ``state_dict``, ``model_state_dict`` or ``model`` entry is
    unwrapped, and a ``module.`` that every name starts with (data parallel training) dropped.

    Raises:
        InputError: no such file, not such a file, or a file that wants to run code.
    """
    path = regular_file(path, WEIGHTS)
    try:
        if path.suffix == ".safetensors":
            loaded: object = load_file(path)
        else:
            with no_warnings():  # torch's own, on old forms of files
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"Expected plain tensors but '{path}' holds other objects, which loading would have to run code for, "
            "or is damaged. Save model.state_dict(), best as safetensors."
        ) from error
    except (
        Exception
    ) as error:  # damaged files raise whatever the parsers of zip, pickle and tensors meet first
        text = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"Expected a .safetensors or .pth file but '{path}' can't be read: {text}. Is it whole? Download or "
            "save it again."
        ) from error
    return _state_dict(loaded, path)


def _state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise InputError(
            f"Expected a state dict (name → tensor) in '{path}' but got something else. Save model.state_dict()."
        )
    state = {str(name): tensor for name, tensor in loaded.items()}
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def load_state(
    module: nn.Module,
    state: dict[str, Tensor],
    origin: str,
    rebuild: Callable[[int], nn.Module] | None = None,
) -> nn.Module:
    """Load a state dict, strictly; returns the module that took it.

    Args:
        module: takes the tensors in place.
        state: from `read_state`.
        origin: what to call the file in errors.
        rebuild: makes the model for another number of classes; used where the tensors that don't fit differ
            in their first size alone and all in the same way.

    Raises:
        InputError: names, shapes or kinds of number don't fit (torch would cast int8 or complex numbers to the
            model's without a word); the text gives the first few.
    """
    own = module.state_dict()
    wrong = {name: t for name, t in state.items() if name in own and t.shape != own[name].shape}
    if wrong and rebuild is not None:
        heads = {(tuple(t.shape[:1]), tuple(own[name].shape[:1])) for name, t in wrong.items()}
        tails_fit = all(t.shape[1:] == own[name].shape[1:] for name, t in wrong.items())
        if len(heads) == 1 and tails_fit:
            module = rebuild(next(iter(wrong.values())).shape[0])
            own = module.state_dict()
            wrong = {name: t for name, t in state.items() if name in own and t.shape != own[name].shape}
    # Batch norm's counter of training steps is missing in old files and changes nothing.
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    surplus = [n for n in state if n not in own]
    problems = [
        *(f"{n} has shape {tuple(t.shape)} instead of {tuple(own[n].shape)}" for n, t in wrong.items()),
        *(f"{n} is missing" for n in missing),
        *(f"{n} is not in the model" for n in surplus),
    ]
    problems += [f"{n} is {why}" for n, t in state.items() if n in own and (why := _unfit(t, own[n]))]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise InputError(f"Expected weights that fit the model but in '{origin}' {shown}.")
    module.load_state_dict(state, strict=False)
    return module


def _unfit(found: Tensor, own: Tensor) -> str | None:
    """Why a tensor's numbers can't stand in the model; None: they can, cast to another width at most."""
    if found.layout != torch.strided or found.is_quantized or found.is_meta:
        kind = (
            "of quantised numbers"
            if found.is_quantized
            else "without data"
            if found.is_meta
            else "of a sparse layout"
        )
        return f"a tensor {kind} instead of a plain one"
    narrow = found.is_floating_point() and found.element_size() < 2  # 8 bits have a scale of their own
    if _kind(found) != _kind(own) or (narrow and found.dtype != own.dtype):
        here, there = (str(t.dtype).removeprefix("torch.") for t in (found, own))
        return f"{here} where the model has {there}"
    return None


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    if tensor.is_floating_point():
        return "real"
    return "truth" if tensor.dtype == torch.bool else "whole"


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all parameters and buffers with their names: what is kept of a model's numbers depends on it."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
