"""Captum's habits: attribution objects that existing code takes in place of captum's.

Swap the import, and keep the rest of the code. captum itself is not imported.
"""

from __future__ import annotations

from relprop.captum.attribution import Attribution
from relprop.captum.gradients import (
    Deconvolution,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Saliency,
)
from relprop.captum.layers import GuidedGradCam, LayerAttribution, LayerGradCam
from relprop.captum.lrp import LRP

__all__ = [
    "LRP",
    "Attribution",
    "Deconvolution",
    "GuidedBackprop",
    "GuidedGradCam",
    "InputXGradient",
    "IntegratedGradients",
    "LayerAttribution",
    "LayerGradCam",
    "Saliency",
]
