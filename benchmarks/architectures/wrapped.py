"""Wrapped: one small network in the wrappers and formats in which people hold theirs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from benchmarks.architectures.case import Case, Entry, case

__all__ = ["entries"]


class Small(nn.Module):
    """A small residual network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, 5)."""
        x = self.pool(self.stem(x))
        scores: Tensor = self.head(torch.relu(x + self.block(x)).mean((2, 3)))
        return scores


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def _parametrised(model: nn.Module) -> nn.Module:
    parametrizations.weight_norm(model.block[0])  # type: ignore[index]
    parametrizations.spectral_norm(model.block[3])  # type: ignore[index]
    return model.eval()


def _pruned(model: nn.Module) -> nn.Module:
    prune.l1_unstructured(model.block[0], "weight", 0.5)  # type: ignore[index]
    return model


def _traced(model: nn.Module) -> nn.Module:
    return torch.fx.symbolic_trace(model)


def _exported(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (torch.zeros(1, 3, 16, 16),)).module()


def _scripted(model: nn.Module) -> nn.Module:
    return torch.jit.script(model)  # type: ignore[no-any-return]


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "as it is": lambda model: model,
    "torch.compile": _compiled,
    "DataParallel": nn.DataParallel,
    "weight and spectral norm": _parametrised,
    "pruned": _pruned,
    "torch.fx": _traced,
    "torch.export": _exported,
    "TorchScript": _scripted,
    "channels_last": lambda model: model.to(memory_format=torch.channels_last),
    "half": nn.Module.half,
    "bfloat16": nn.Module.bfloat16,
}


def entries(every: bool) -> Iterator[Entry]:
    """An entry a wrapper."""
    for name, wrap in WRAPPERS.items():
        yield Entry("wrapped", name, _builder(name, wrap))


def _builder(name: str, wrap: Callable[[nn.Module], nn.Module]) -> Callable[[], Case]:
    def build() -> Case:
        torch.manual_seed(0)
        plain = case(Small(), (3, 16, 16))
        assert isinstance(plain.x, Tensor)
        model = wrap(copy.deepcopy(plain.model))
        if name in ("half", "bfloat16"):  # computed in float32 of the rounded weights
            dtype = next(model.parameters()).dtype
            x = plain.x.to(dtype)
            return replace(plain, model=model, x=x, reference=copy.deepcopy(model).float())
        if name == "channels_last":
            return replace(plain, model=model, x=plain.x.contiguous(memory_format=torch.channels_last))
        return replace(plain, model=model)

    return build
