"""relprop: what in the input made a vision network say this?

Relevance propagation that accounts for everything it hands out, or refuses by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Name -> module. Imported on first use, so that `import relprop` (and the command's --help) is quick.
_PUBLIC = {
    "Composite": "relprop.engine.composite",
    "DeepTaylor": "relprop.methods.deep_taylor",
    "Depth": "relprop.engine.composite",
    "Explanation": "relprop.explanation",
    "LRP": "relprop.methods.lrp",
    "Trace": "relprop.engine.trace",
    "clear_cache": "relprop.graph",
    "explain": "relprop.api",
    "inspect": "relprop.api",
    "pixel_bounds": "relprop.api",
    "trace": "relprop.engine.trace",
}

# Subpackages that `import relprop` alone makes reachable. `relprop.methods` can also be called.
_PARTS = ("datasets", "methods", "models", "rules", "viz")

if TYPE_CHECKING:
    from relprop import datasets, methods, models, rules, viz
    from relprop.api import explain, inspect, pixel_bounds
    from relprop.engine.composite import Composite, Depth
    from relprop.engine.trace import Trace, trace
    from relprop.explanation import Explanation
    from relprop.graph import clear_cache
    from relprop.methods.deep_taylor import DeepTaylor
    from relprop.methods.lrp import LRP

__all__ = [
    "LRP",
    "Composite",
    "DeepTaylor",
    "Depth",
    "Explanation",
    "Trace",
    "__version__",
    "clear_cache",
    "datasets",
    "explain",
    "inspect",
    "methods",
    "models",
    "pixel_bounds",
    "rules",
    "trace",
    "viz",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _PARTS:
        return import_module(f"relprop.{name}")
    raise AttributeError(f"module 'relprop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
