"""relprop: what in the input made a vision network say this?

Relevance propagation that accounts for everything it hands out, or refuses by name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Name -> module. Imported on first use, so that `import relprop` (and the command's --help) is quick.
_PUBLIC = {
    "Affine": "relprop.methods.affine",
    "affine": "relprop.piecewise.decomposition",
    "AffineForm": "relprop.piecewise.form",
    "clear_cache": "relprop.graph",
    "CLRP": "relprop.methods.clrp",
    "CRP": "relprop.methods.crp",
    "Composite": "relprop.propagate.composite",
    "ContrastiveExcitationBackprop": "relprop.methods.excitation_backprop",
    "ContrastiveRSP": "relprop.methods.rsp",
    "DeconvNet": "relprop.methods.guided_backprop",
    "DeepTaylor": "relprop.methods.deep_taylor",
    "Depth": "relprop.propagate.composite",
    "ExcitationBackprop": "relprop.methods.excitation_backprop",
    "explain": "relprop.explanation.explain",
    "explain_detection": "relprop.detectors.explain",
    "Explanation": "relprop.explanation",
    "GradCAM": "relprop.methods.grad_cam",
    "Gradient": "relprop.methods.gradient",
    "GradientXInput": "relprop.methods.gradient",
    "GuidedBackprop": "relprop.methods.guided_backprop",
    "inspect": "relprop.explanation.coverage",
    "IntegratedGradients": "relprop.methods.integrated_gradients",
    "LRP": "relprop.methods.lrp",
    "LRP0": "relprop.methods.lrp",
    "LRPAlphaBeta": "relprop.methods.lrp",
    "LRPComposite": "relprop.methods.lrp",
    "LRPEpsilon": "relprop.methods.lrp",
    "LRPGamma": "relprop.methods.lrp",
    "pixel_bounds": "relprop.methods.bounds",
    "RAP": "relprop.methods.rap",
    "RSP": "relprop.methods.rsp",
    "separate_motion": "relprop.video.separate",
    "SmoothGrad": "relprop.methods.gradient",
    "Trace": "relprop.propagate.trace",
    "trace": "relprop.propagate.trace",
}

# Subpackages that `import relprop` alone makes reachable. `relprop.methods` can also be called.
_PARTS = (
    "benchmark", "datasets", "detectors", "methods", "metrics", "models", "piecewise", "reports", "rules", "video",
    "viz",
)  # fmt: skip

if TYPE_CHECKING:
    from relprop import (
        benchmark,
        datasets,
        detectors,
        methods,
        metrics,
        models,
        piecewise,
        reports,
        rules,
        video,
        viz,
    )
    from relprop.detectors.explain import explain_detection
    from relprop.explanation import Explanation
    from relprop.explanation.coverage import inspect
    from relprop.explanation.explain import explain
    from relprop.graph import clear_cache
    from relprop.methods.affine import Affine
    from relprop.methods.bounds import pixel_bounds
    from relprop.methods.clrp import CLRP
    from relprop.methods.crp import CRP
    from relprop.methods.deep_taylor import DeepTaylor
    from relprop.methods.excitation_backprop import ContrastiveExcitationBackprop, ExcitationBackprop
    from relprop.methods.grad_cam import GradCAM
    from relprop.methods.gradient import Gradient, GradientXInput, SmoothGrad
    from relprop.methods.guided_backprop import DeconvNet, GuidedBackprop
    from relprop.methods.integrated_gradients import IntegratedGradients
    from relprop.methods.lrp import LRP, LRP0, LRPAlphaBeta, LRPComposite, LRPEpsilon, LRPGamma
    from relprop.methods.rap import RAP
    from relprop.methods.rsp import RSP, ContrastiveRSP
    from relprop.piecewise.decomposition import affine
    from relprop.piecewise.form import AffineForm
    from relprop.propagate.composite import Composite, Depth
    from relprop.propagate.trace import Trace, trace
    from relprop.video.separate import separate_motion

__all__ = [
    "CLRP",
    "CRP",
    "LRP",
    "LRP0",
    "RAP",
    "RSP",
    "Affine",
    "AffineForm",
    "Composite",
    "ContrastiveExcitationBackprop",
    "ContrastiveRSP",
    "DeconvNet",
    "DeepTaylor",
    "Depth",
    "ExcitationBackprop",
    "Explanation",
    "GradCAM",
    "Gradient",
    "GradientXInput",
    "GuidedBackprop",
    "IntegratedGradients",
    "LRPAlphaBeta",
    "LRPComposite",
    "LRPEpsilon",
    "LRPGamma",
    "SmoothGrad",
    "Trace",
    "__version__",
    "affine",
    "benchmark",
    "clear_cache",
    "datasets",
    "detectors",
    "explain",
    "explain_detection",
    "inspect",
    "methods",
    "metrics",
    "models",
    "piecewise",
    "pixel_bounds",
    "reports",
    "rules",
    "separate_motion",
    "trace",
    "video",
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
