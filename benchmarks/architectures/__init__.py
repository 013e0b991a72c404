"""Public architectures, library by library, each with random weights and the smallest input that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.architectures import (
    of_3d,
    of_onnx,
    of_segmentation,
    of_timm,
    of_torchvision,
    of_transformers,
    wrapped,
)
from benchmarks.architectures.case import BOUND, Case, Entry, NotBuiltError

__all__ = ["BOUND", "FAMILIES", "Case", "Entry", "NotBuiltError", "entries"]

FAMILIES: dict[str, Callable[[bool], Iterator[Entry]]] = {
    "timm": of_timm.entries,
    "transformers": of_transformers.entries,
    "torchvision": of_torchvision.entries,
    "segmentation-models-pytorch": of_segmentation.entries,
    "monai, pytorchvideo": of_3d.entries,
    "onnx": of_onnx.entries,
    "wrapped": wrapped.entries,
}
"""Entries by family; told whether to list those too that are left out of a default run."""


def entries(every: bool = False) -> list[Entry]:
    """All architectures; those of a library that isn't installed say so when they are built."""
    return [entry for family in FAMILIES.values() for entry in family(every)]
