"""Case: a model of a library with random weights, an input, and how its scores are read without relprop."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import noise, randomise

__all__ = ["BOUND", "Case", "Entry", "NotBuiltError", "case", "library"]

BOUND = 3.0  # inputs are noise clamped to ±BOUND


class NotBuiltError(Exception):
    """An architecture isn't there to be measured; the text says why."""


@dataclass(frozen=True, eq=False)
class Case:
    """A model that is measured.

    Attributes:
        model: in evaluation mode.
        x: its input, (N, ...), or several: a tuple of positional ones.
        output: what `relprop.explain` is told about its outputs.
        read: takes what the model returns, and gives its scores (N, classes, ...).
        reference: has the model's outputs and gradients too; where the model itself computes in half precision,
            for instance.
    """

    model: nn.Module
    x: Tensor | tuple[Tensor, ...]
    output: Any = None
    read: Callable[[Any], Tensor] = lambda out: out
    reference: nn.Module | None = None

    def to(self, dtype: torch.dtype, device: str) -> Case:
        """In another precision (half precision only for float64), on another device."""
        half = any(p.dtype in (torch.half, torch.bfloat16) for p in self.model.parameters())
        kept = half and dtype != torch.float64
        how: Any = {"device": device} if kept else {"device": device, "dtype": dtype}
        x = tuple(t.to(**how) for t in self.inputs)
        reference = None if self.reference is None else self.reference.to(device, dtype)
        model = self.model if kept or half else self.model.to(**how)
        return Case(model, x if isinstance(self.x, tuple) else x[0], self.output, self.read, reference)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All inputs."""
        return self.x if isinstance(self.x, tuple) else (self.x,)

    @property
    def shapes(self) -> str:
        """The input's axes behind the batch, as text."""
        return ", ".join("×".join(map(str, x.shape[1:])) for x in self.inputs)

    def scores(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The scores (N, classes, ...) by torch alone, and the inputs that they have a gradient to."""
        model = self.reference or self.model
        dtype = next((p.dtype for p in model.parameters()), torch.float32)
        leaves = tuple(x.detach().clone().to(dtype).requires_grad_() for x in self.inputs)
        return self.read_from(leaves), leaves

    def read_from(self, inputs: Sequence[Tensor]) -> Tensor:
        """The scores (N, classes, ...) at other inputs."""
        found = self.read((self.reference or self.model)(*inputs))
        return found.reshape(-1, 1) if found.ndim < 2 else found


@dataclass(frozen=True, eq=False)
class Entry:
    """An architecture of a library.

    Attributes:
        family: the library.
        name: within it.
        build: makes the case, as if anew.
        group: what several entries belong to, such as a module of timm.
    """

    family: str
    name: str
    build: Callable[[], Case] = field(repr=False)
    group: str = ""

    @property
    def key(self) -> str:
        """Family and name."""
        return f"{self.family}/{self.name}"

    def names(self) -> dict[str, Any]:
        """What every record of it begins with."""
        return {"model": self.key, "family": self.family, "name": self.name, "group": self.group or self.name}


def library(name: str) -> ModuleType:
    """Import a library, torchvision's missing binary operators notwithstanding.

    Raises:
        NotBuiltError: it can't be imported.
    """
    from relprop.compat import load_torchvision

    try:
        if importlib.util.find_spec("torchvision") is not None:
            load_torchvision()
        return importlib.import_module(name)
    except Exception as error:  # whatever a foreign package does while it is imported
        text = str(error).strip().splitlines()
        raise NotBuiltError(
            f"{name} can't be imported: {type(error).__name__}: {text[0] if text else ''}"
        ) from error


def case(
    model: nn.Module,
    *sizes: Sequence[int],
    batch: int = 1,
    output: Any = None,
    read: Callable[[Any], Tensor] = lambda out: out,
) -> Case:
    """Shake a model's parameters and norm statistics, and make its inputs.

    Args:
        model: as its constructor gives it.
        sizes: of each input, without the batch: (C, *spatial).
        batch: samples that are explained.
        output, read: see `Case`.
    """
    torch.manual_seed(0)
    randomise(model, sizes[0], batches=1, batch=2, others=sizes[1:])
    model.eval().requires_grad_(False)
    x = tuple(noise((batch, *size), seed=7 + i).clamp(-BOUND, BOUND) for i, size in enumerate(sizes))
    return Case(model, x[0] if len(x) == 1 else x, output, read)
