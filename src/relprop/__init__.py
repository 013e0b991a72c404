"""relprop: what in the input made a vision network say this?

Relevance propagation that accounts for everything it hands out, or refuses by name.
"""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def _public() -> dict[str, str]:
    """Public name -> the module that holds it, as the stub beside this file lists them."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


# Imported on first use, so that `import relprop` (and the command's --help) is quick.
_PUBLIC = _public()

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'relprop' has no attribute {name!r}")
    home = _PUBLIC[name]
    return import_module(f"relprop.{name}") if home == "relprop" else getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
