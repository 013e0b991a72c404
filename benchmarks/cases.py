"""The timed cases of speed.py: ours and other people's, each prepared to be called again and again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import relprop
from relprop.methods.method import Method
from relprop.propagate.composite import Composite
from relprop.propagate.targets import one_hot

__all__ = ["CASES", "Case", "Work", "gradient"]


@dataclass
class Work:
    """What a case works on: a frozen model, an input, one target per sample."""

    name: str
    model: nn.Module
    x: Tensor
    target: Tensor
    stack: ExitStack


Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One line of the table.

    Attributes:
        label: what the table says.
        prepare: makes the call that is timed; everything that is done once is done here.
        targets: how many targets one call explains; its time is divided by this.
        aim: the most gradients it may cost (per target), or None.
        single: run at batch 1 only.
        models: the models it runs on; empty for all.
    """

    label: str
    prepare: Callable[[Work], Call]
    targets: int = 1
    aim: float | None = None
    single: bool = False
    models: tuple[str, ...] = ()

    def applies(self, model: str, batch: int) -> bool:
        """Whether the case is run for this model and batch size."""
        return (not self.models or model in self.models) and not (self.single and batch != 1)


def gradient(work: Work) -> Call:
    """The yardstick: one input-gradient by autograd, parameters frozen."""
    rows = torch.arange(work.x.shape[0], device=work.x.device)

    def call() -> Tensor:
        x = work.x.detach().requires_grad_()
        score = work.model(x)[rows, work.target].sum()
        return torch.autograd.grad(score, x)[0]

    return call


def _forward(work: Work) -> Call:
    def call() -> Tensor:
        with torch.no_grad():
            result: Tensor = work.model(work.x)
        return result

    return call


def _ours(method: Callable[[], Method]) -> Callable[[Work], Call]:
    def prepare(work: Work) -> Call:
        configured = method()
        return lambda: relprop.explain(work.model, work.x, work.target, configured)

    return prepare


def _our_gradient(work: Work) -> Call:
    composite = Composite([], "gradient")

    def call() -> Tensor:
        trace = relprop.trace(work.model, work.x)
        seed = one_hot(work.target[None], trace.output)[0]
        run = trace.run(seed, composite, multiplier=True, ledger=False, release=True)
        return run.relevance

    return call


def _without_ledger(work: Work) -> Call:
    composite = Composite([("linear", relprop.rules.ZPlus())], "positive")

    def call() -> Tensor:
        trace = relprop.trace(work.model, work.x)
        seed = one_hot(work.target[None], trace.output, trace.output)[0]
        return trace.run(seed, composite, ledger=False, release=True).relevance

    return call


def _many(count: int) -> Callable[[Work], Call]:
    def prepare(work: Work) -> Call:
        method = relprop.LRP(rule="z-plus")
        return lambda: relprop.explain(work.model, work.x, list(range(count)), method)

    return prepare


def _zennit(composite: str, repeat: int = 1) -> Callable[[Work], Call]:
    def prepare(work: Work) -> Call:
        from relprop.compat import load_torchvision

        load_torchvision()
        from zennit import composites
        from zennit.attribution import Gradient
        from zennit.torchvision import ResNetCanonizer

        model = deepcopy(work.model)  # it registers hooks and merges batch norms in place
        canonizers = [ResNetCanonizer()] if work.name.startswith("resnet") else []
        rules = getattr(composites, composite)(canonizers=canonizers, zero_params="bias")
        attributor = work.stack.enter_context(Gradient(model=model, composite=rules))
        x = work.x if repeat == 1 else work.x.repeat(repeat, *[1] * (work.x.ndim - 1))
        with torch.no_grad():
            output = work.model(x)
        target = work.target if repeat == 1 else torch.arange(repeat, device=x.device)
        seed = one_hot(target[None], output, output)[0]

        def call() -> Tensor:
            result: Tensor = attributor(x, seed)[1]
            return result

        return call

    return prepare


def _captum(work: Work) -> Call:
    from captum.attr import LRP

    model = deepcopy(work.model)  # it leaves attributes on the modules
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    lrp = LRP(model)

    def call() -> Tensor:
        result: Tensor = lrp.attribute(work.x.detach().requires_grad_(), work.target)
        return result

    return call


def _lxt(gamma: float) -> Callable[[Work], Call]:
    def prepare(work: Work) -> Call:
        from relprop.compat import load_torchvision

        vision = load_torchvision().models.vision_transformer
        from tests.oracles.lxt_pairs import efficient, gamma_by_zennit, gradient_times_input

        def call() -> Tensor:
            # Classes are patched for the call alone: ours run on the same model in the same process.
            with ExitStack() as stack:
                stack.enter_context(efficient(vision, "constant", exact=False))
                if gamma:
                    stack.enter_context(gamma_by_zennit(work.model, gamma, 5 * gamma, exact=False))
                result: Tensor = gradient_times_input(work.model, work.x, int(work.target[0]))
            return result

        return call

    return prepare


_VIT = ("vit_b_16",)


CASES: dict[str, Case] = {
    "forward": Case("forward, no gradient", _forward),
    "our-gradient": Case("relprop gradient", _our_gradient),
    "epsilon": Case("relprop ε", _ours(lambda: relprop.LRP(rule="epsilon")), aim=1.15),
    "z-plus": Case("relprop z⁺ everywhere", _ours(lambda: relprop.LRP(rule="z-plus")), aim=1.55),
    "z-plus-no-ledger": Case("relprop z⁺ everywhere, no ledger", _without_ledger),
    "z-plus-box": Case(
        "relprop z⁺, z-box first", _ours(lambda: relprop.LRP(rule="z-plus", first="z-box")), aim=1.55
    ),
    "epsilon-plus": Case(
        "relprop ε in products, z⁺ in convolutions",
        _ours(lambda: relprop.LRP(composite="epsilon-plus")),
        aim=1.55,
    ),
    "zennit-epsilon-plus": Case("zennit EpsilonPlus", _zennit("EpsilonPlus")),
    "alpha-beta": Case("relprop αβ(2,1) everywhere", _ours(lambda: relprop.LRP(rule="alpha-beta")), aim=2.3),
    "epsilon-alpha-beta": Case(
        "relprop ε in products, αβ(2,1) in convolutions",
        _ours(lambda: relprop.LRP(composite="epsilon-alpha-beta")),
        aim=2.3,
    ),
    "zennit-alpha-beta": Case("zennit EpsilonAlpha2Beta1", _zennit("EpsilonAlpha2Beta1")),
    "captum": Case("captum LRP (ε)", _captum, models=("vgg16",)),
    "composite": Case("relprop lrp-composite", _ours(relprop.LRPComposite), models=_VIT),
    "lxt": Case("lxt efficient, CP-LRP", _lxt(0.0), models=_VIT, single=True),
    "attnlrp-epsilon": Case(
        "relprop ε, attention shared",
        _ours(lambda: relprop.LRP(rule="epsilon", attention="shared")),
        models=_VIT,
    ),
    "attnlrp": Case("relprop attnlrp (γ)", _ours(relprop.AttnLRP), models=_VIT),
    "attnlrp-constant": Case(
        "relprop attnlrp (γ), attention constant",
        _ours(lambda: relprop.AttnLRP(attention="constant")),
        models=_VIT,
    ),
    "lxt-gamma": Case("lxt efficient, CP-LRP, γ by zennit", _lxt(0.05), models=_VIT, single=True),
    "targets-20": Case("relprop z⁺, 20 targets, each", _many(20), targets=20, aim=0.55, single=True),
    "zennit-targets-8": Case(
        "zennit EpsilonPlus, 8 targets, each", _zennit("EpsilonPlus", 8), targets=8, single=True
    ),
}
"""Every case by the name that `--only` and `--profile` take."""
