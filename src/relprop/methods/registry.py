"""Registry: the methods by name. Adding one is a line here."""

from __future__ import annotations

from relprop.errors import InputError, unknown_name
from relprop.methods.affine import Affine
from relprop.methods.clrp import CLRP
from relprop.methods.crp import CRP
from relprop.methods.deep_taylor import DeepTaylor
from relprop.methods.excitation_backprop import ContrastiveExcitationBackprop, ExcitationBackprop
from relprop.methods.grad_cam import GradCAM
from relprop.methods.gradient import Gradient, GradientXInput, SmoothGrad
from relprop.methods.guided_backprop import DeconvNet, GuidedBackprop
from relprop.methods.integrated_gradients import IntegratedGradients
from relprop.methods.lrp import LRP0, LRPAlphaBeta, LRPComposite, LRPEpsilon, LRPGamma
from relprop.methods.method import Method
from relprop.methods.rap import RAP
from relprop.methods.rsp import RSP, ContrastiveRSP

__all__ = ["METHODS", "methods", "resolve"]

METHODS: dict[str, type[Method]] = {
    m.name: m
    for m in (
        Gradient,
        GradientXInput,
        IntegratedGradients,
        SmoothGrad,
        DeconvNet,
        GuidedBackprop,
        GradCAM,
        Affine,
        LRP0,
        LRPEpsilon,
        LRPGamma,
        LRPAlphaBeta,
        LRPComposite,
        DeepTaylor,
        ExcitationBackprop,
        ContrastiveExcitationBackprop,
        CLRP,
        RSP,
        ContrastiveRSP,
        RAP,
        CRP,
    )
}
"""Every method that `explain` knows by name."""


def methods() -> dict[str, str]:
    """Name -> one-line description of every method.

    >>> methods()["lrp-0"]
    'LRP-0: contributions in proportion to value; gradient x input on ReLU networks'
    """
    return {name: m.summary for name, m in METHODS.items()}


def resolve(method: str | Method) -> Method:
    """The method of a name with its default settings, or the configured method itself.

    Raises:
        UnknownNameError: no method of that name; lists the valid ones.
        InputError: neither a name nor a method.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, type) and issubclass(method, Method):
        return method()
    if not isinstance(method, str):
        raise InputError(
            f"Expected method to be a name or a configured method but got {type(method).__name__}."
        )
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    return METHODS[method]()
