"""Failures: why a model couldn't be captured, in one sentence, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from relprop.errors import CaptureError, RelpropError
from relprop.graph.live import live_output, single_sample

__all__ = ["UnknownOutputError", "capture_failure"]

_PLAIN = (Tensor, int, float, complex, bool, str, type(None))


class UnknownOutputError(CaptureError):
    """The model returns an object of a class that torch.export can't take apart: `output`."""

    def __init__(self, text: str, output: Any) -> None:
        super().__init__(text)
        self.output = output

    def __reduce__(self) -> tuple[Any, ...]:
        return CaptureError, self.args


def capture_failure(model: nn.Module, x: Tensor, error: Exception) -> RelpropError:
    """The error to raise where `torch.export` failed; call it with the capture lock held.

    The model is run once on x: what it can't do by itself is not to be blamed on the capture.

    Args:
        model, x: what was to be captured.
        error: what `torch.export` raised.
    """
    foreign = _foreign(model)
    if foreign is not None:
        return CaptureError(f"Can't capture {type(model).__name__}: {foreign}")
    try:
        output = live_output(model, x)
    except RelpropError as own:
        return own
    axes = single_sample(model, x)
    if axes is not None:
        return CaptureError(
            f"Can't capture {type(model).__name__} on x of shape {tuple(x.shape)}: its convolutions slide over "
            f"{axes} axes, so that x needs a batch axis in front of its channels. Pass x[None]."
        )
    unknown = _unknown_output(output)
    if unknown is not None:
        return UnknownOutputError(f"Can't capture {type(model).__name__}: {unknown}", output)
    return CaptureError(f"Can't capture {type(model).__name__}: {_refused(error)}")


def _foreign(model: nn.Module) -> str | None:
    """What to say of modules whose code torch.export can't read."""
    for path, module in model.named_modules():
        where = f"its part {path!r} is" if path else "it is"
        if isinstance(module, torch.jit.ScriptModule):
            return (
                f"{where} a TorchScript module, which holds no Python code to follow. Pass the nn.Module that it "
                "was made from."
            )
        if ".quantized" in type(module).__module__ and type(module).__module__.startswith("torch."):
            return (
                f"{where} quantised ({type(module).__name__}), and whole numbers hand on no relevance. Pass the "
                "floating-point model that it was made from."
            )
    return None


def _unknown_output(output: Any) -> str | None:
    """What to say of an output that is no tensor, tuple, list or dict."""
    strange = next((leaf for leaf in pytree.tree_leaves(output) if not isinstance(leaf, _PLAIN)), None)
    if strange is None:
        return None
    names = [name for name, value in _members(strange) if isinstance(value, Tensor)]
    return (
        f"it returns {type(strange).__name__}, which torch.export can't take apart. Wrap it in a module that "
        f"returns the tensor to be explained{f' (such as its .{names[0]})' if names else ''}."
    )


def _members(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(name, v) for name, v in value.items() if isinstance(name, str)]
    return getattr(value, "__dict__", {}).items()


def _refused(error: Exception) -> str:
    """What to say where model(x) runs and torch.export can't follow it."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    said = f"{type(error).__name__}: {first[:300]}".rstrip(".")
    where = ""
    for match in re.finditer(r'File "([^"]+)", line (\d+)', text):
        if "/torch/" not in match[1]:
            where = f" at {match[1].rsplit('/', 1)[-1]}:{match[2]}"
    data_dependent = "data-dependent" in text.lower() or "DataDependent" in type(error).__name__
    if data_dependent or "GuardOnDataDependentSymNode" in text:
        return (
            "its control flow depends on the values of the input (an `if` or a loop over a tensor's values, "
            f"a buffer's too){where} ({said}). Pass the part of the model without it: for example the module "
            "that maps the image to raw scores, before thresholds, non-maximum suppression or other choices "
            "made on values."
        )
    return (
        f"torch.export can't follow what it does{where}, though model(x) runs ({said}). Write that place with "
        "torch's own operators, or pass the part of the model without it."
    )
