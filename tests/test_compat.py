"""Torchvision's binary, whatever it is called."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path

import pytest
import torch

from relprop import compat


@pytest.mark.parametrize("name", ["_C", "_C_stable"])  # until torchvision 0.28, and from 0.29
@pytest.mark.parametrize("fits", [True, False])
def test_the_binary_is_found(name: str, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overlooked, it would declare operators that relprop has declared: PyTorch ends the process then."""
    binary = tmp_path / f"{name}{EXTENSION_SUFFIXES[-1]}"
    for path in (binary, tmp_path / f"{name}.txt", tmp_path / "_Cython.py"):
        path.write_bytes(b"")
    asked: list[Path] = []

    def load(path: Path) -> None:
        asked.append(path)
        if not fits:
            raise OSError("undefined symbol")

    monkeypatch.setattr(torch.ops, "load_library", load)
    spec = ModuleSpec("torchvision", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    assert compat._binary_loads(spec) is fits
    assert asked == [binary]
