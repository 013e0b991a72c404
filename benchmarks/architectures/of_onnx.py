"""ONNX files, written here from torch and read back by onnx2torch."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.architectures.case import Case, Entry, case, library
from benchmarks.common import randomise

__all__ = ["entries"]


class _Hardswish(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, 2), nn.Hardswish(), nn.Conv2d(8, 8, 3, 2), nn.Hardsigmoid(), nn.Flatten(),
            nn.Linear(8 * 7 * 7, 3),
        )  # fmt: skip


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(x)).split(16, -1)
        x = x + F.softmax(q @ k.transpose(1, 2) / 4, -1) @ v
        scores: Tensor = self.head(F.gelu(x).mean(1))
        return scores


def _of_torchvision(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        model: nn.Module = library("torchvision").models.get_model(name, weights=None)
        return model

    return make


NETS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": _of_torchvision("resnet18"),
    "mobilenet_v2": _of_torchvision("mobilenet_v2"),
    "mobilenet_v3_small": _of_torchvision("mobilenet_v3_small"),
    "squeezenet1_1": _of_torchvision("squeezenet1_1"),
    "efficientnet_b0": _of_torchvision("efficientnet_b0"),
    "hardswish": _Hardswish,
    "attention and GELU": _Attention,
}


def entries(every: bool) -> Iterator[Entry]:
    """An entry a file."""
    for name, make in NETS.items():
        yield Entry("onnx2torch", name, _builder(make))


def _builder(make: Callable[[], nn.Module]) -> Callable[[], Case]:
    def build() -> Case:
        onnx, onnx2torch = library("onnx"), library("onnx2torch")
        torch.manual_seed(0)
        model = make()
        randomise(model, (3, 32, 32), batches=1, batch=2)
        file = io.BytesIO()
        torch.onnx.export(model.eval(), (torch.zeros(1, 3, 32, 32),), file, dynamo=False, opset_version=13)
        file.seek(0)
        converted: nn.Module = onnx2torch.convert(onnx.load(file))
        return case(converted, (3, 32, 32))

    return build
