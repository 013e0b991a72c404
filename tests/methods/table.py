"""One line a method: its name, its settings, and what it is compared with.

`file` lines name a key of tinyvgg.safetensors (class 1). `live` lines name a function of
(model, x, target) that computes the same from formulas, autograd, captum or zennit, on `nets.vgg()`.
Every registered method has a live line, so that there is a check where the files are absent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tests.methods import reference as ref
from tests.methods import sectional
from torch import Tensor, nn

import relprop
from relprop.compat import load_torchvision
from relprop.methods.method import Method
from relprop.methods.recommended import Recommended


def one_hot(model: nn.Module, x: Tensor, target: int, *, score: bool = False) -> Tensor:
    y = model(x).detach()
    seed = torch.zeros_like(y)
    seed[:, target] = y[:, target] if score else 1.0
    return seed


def gradient(model: nn.Module, x: Tensor, target: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(leaf)[:, target].sum(), leaf)
    return g


def gradient_x_input(model: nn.Module, x: Tensor, target: int) -> Tensor:
    return gradient(model, x, target) * x


def affine(at: int = 0, *, positive: bool = False) -> Callable[..., Tensor]:
    """The value behind `at` modules of `nets.vgg()` times the score's derivative by it."""

    def run(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
        value = model[:at](x).detach()
        r = gradient_x_input(model[at:], value, target)
        return r.clamp(min=0) if positive else r

    return run


def smoothgrad(model: nn.Module, x: Tensor, target: int) -> Tensor:
    """Seed 5, six draws, a tenth of each sample's range."""
    g = torch.Generator().manual_seed(5)
    sigma = 0.1 * torch.stack([s.max() - s.min() for s in x]).reshape(-1, 1, 1, 1)
    noise = [torch.randn(x.shape[1:], generator=g).to(x) for _ in range(6)]
    return torch.stack([gradient(model, x + sigma * n, target) for n in noise]).mean(0)


def integrated(points: list[float], weights: list[float]) -> Callable[..., Tensor]:
    def run(model: nn.Module, x: Tensor, target: int) -> Tensor:
        line = [
            w * gradient(model, 0.3 + t * (x - 0.3), target) for t, w in zip(points, weights, strict=True)
        ]
        return (x - 0.3) * torch.stack(line).sum(0)

    return run


def captum_integrated(method: str) -> Callable[..., Tensor]:
    def run(model: nn.Module, x: Tensor, target: int) -> Tensor:
        load_torchvision()  # which it imports
        from captum.attr import IntegratedGradients

        return IntegratedGradients(model).attribute(
            x, torch.full_like(x, 0.3), target, n_steps=7, method=method
        )

    return run


def captum_hooks(name: str) -> Callable[..., Tensor]:
    def run(model: nn.Module, x: Tensor, target: int) -> Tensor:
        load_torchvision()  # which it imports
        import warnings

        import captum.attr

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # says that it sets hooks on ReLU modules
            return getattr(captum.attr, name)(model).attribute(x.clone(), target=target)

    return run


def captum_grad_cam(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
    load_torchvision()  # which it imports
    from captum.attr import LayerGradCam

    return LayerGradCam(model, model[4]).attribute(x, target=target, relu_attributions=True).detach()


def activation_times_gradient(*, softmax: bool = False) -> Callable[..., Tensor]:
    def run(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
        a = model[:5](x).detach().requires_grad_()
        scores = model[5:](a)
        p = torch.logit(scores.softmax(1)) if softmax else scores
        (g,) = torch.autograd.grad(p[:, target].sum(), a)
        return (g * a.detach()).sum(1, keepdim=True).clamp(min=0)

    return run


def walked(
    *rules: ref.Rule, score: bool = True, start_clamped: bool = False, stop: int = 0
) -> Callable[..., Tensor]:
    """The reference with one rule a layer (four layers)."""

    def run(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
        seed = one_hot(model, x, target, score=score)
        if start_clamped:
            seed = seed.clamp(min=0)
        return ref.propagate(model, x, seed, rules, stop=stop)

    return run


def contrastive_excitation(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
    seed, eb = one_hot(model, x, target), ref.excitation
    p = ref.propagate(model, x, seed, [eb] * 4, stop=9)
    q = ref.propagate(model, x, seed, [eb, eb, eb, ref.inhibition], stop=9)
    return ref.propagate(model, x, p - q, [eb] * 4, start=8, stop=5)


def clrp(variant: int, scores: bool = False) -> Callable[..., Tensor]:
    def run(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
        seed = one_hot(model, x, target)
        rules = [ref.sample_box, ref.z_plus, ref.z_plus, ref.z_plus]
        ours = ref.propagate(model, x, seed, rules)
        if variant == 1:
            weights = model(x).detach().abs() if scores else 1 / (seed.shape[1] - 1)
            theirs = ref.propagate(model, x, (1 - seed) * weights, rules)
        else:
            theirs = ref.propagate(model, x, seed, [*rules[:3], ref.z_minus])
        totals = [t.flatten(1).sum(1).reshape(-1, 1, 1, 1) for t in (ours, theirs)]
        return ours - theirs * totals[0] / totals[1]

    return run


def crp(first: ref.Rule, start: str = "one") -> Callable[..., Tensor]:
    """One map a class, the others' mean taken off at the end."""

    def run(model: nn.Sequential, x: Tensor, target: int) -> Tensor:
        y = model(x).detach()
        values = {"one": torch.ones_like(y), "logit": y, "softmax": y.softmax(1)}[start]
        rules = [first, ref.z_plus, ref.z_plus, ref.z_plus]
        maps = [ref.propagate(model, x, one_hot(model, x, k) * values, rules) for k in range(y.shape[1])]
        others = [m for k, m in enumerate(maps) if k != target]
        return maps[target] - torch.stack(others).mean(0)

    return run


def zennit_alpha_beta(model: nn.Module, x: Tensor, target: int) -> Tensor:
    load_torchvision()  # which it imports
    from zennit.composites import LayerMapComposite
    from zennit.rules import AlphaBeta, Pass
    from zennit.types import Activation, Convolution
    from zennit.types import Linear as Product

    tiny = 1e-30  # its stabiliser
    rules = [(Activation, Pass()), (Convolution, AlphaBeta(2, 1, tiny)), (Product, AlphaBeta(2, 1, tiny))]
    leaf = x.clone().requires_grad_()
    with LayerMapComposite(rules).context(model) as hooked:
        y = hooked(leaf)
        (r,) = torch.autograd.grad(y, leaf, one_hot(model, x, target, score=True))
    return r


@dataclass(frozen=True)
class Line:
    """A method as configured, and its oracle."""

    method: Method
    file: str = ""
    live: Callable[..., Tensor] | None = None
    view: Callable[[Tensor], Tensor] | None = None  # what the file holds, made of our relevance
    tolerance: float = 1e-12

    def __str__(self) -> str:
        what = self.file or getattr(self.live, "__name__", "")
        return f"{self.method!r} {what}"


def strongest(r: Tensor) -> Tensor:
    return r.abs().amax(1, keepdim=True)


def summed(r: Tensor) -> Tensor:
    return r.sum(1, keepdim=True)


def positive(r: Tensor) -> Tensor:
    return summed(r).clamp(min=0)


def _ab(alpha: float, beta: float, **settings: Any) -> Method:
    return relprop.LRP(rule="alpha-beta", alpha=alpha, beta=beta, **settings)


EB, CEB, IG = relprop.ExcitationBackprop, relprop.ContrastiveExcitationBackprop, relprop.IntegratedGradients
eps, eb, zp = ref.epsilon(1e-3), ref.excitation, ref.z_plus

LIVE = [
    Line(relprop.Gradient(), live=gradient),
    Line(relprop.GradientXInput(), live=gradient_x_input),
    Line(relprop.SmoothGrad(samples=6, noise=0.1, seed=5, chunk=4), live=smoothgrad),
    Line(IG(baseline=0.3, steps=2), live=integrated([0.5 - 12**-0.5, 0.5 + 12**-0.5], [0.5, 0.5])),
    Line(IG(baseline=0.3, steps=2, quadrature="midpoint"), live=integrated([0.25, 0.75], [0.5, 0.5])),
    # captum rounds its weights to float32
    Line(IG(baseline=0.3, steps=7), live=captum_integrated("gausslegendre"), tolerance=2e-7),
    Line(
        IG(baseline=0.3, steps=7, quadrature="midpoint"),
        live=captum_integrated("riemann_middle"),
        tolerance=2e-7,
    ),
    Line(relprop.DeconvNet(), live=captum_hooks("Deconvolution")),
    Line(relprop.GuidedBackprop(), live=captum_hooks("GuidedBackprop")),
    Line(relprop.GradCAM(), live=captum_grad_cam),
    Line(relprop.ODAM(), live=activation_times_gradient()),
    Line(relprop.ODAM(seed="softmax"), live=activation_times_gradient(softmax=True)),
    Line(relprop.Affine(), live=affine()),
    Line(relprop.Affine(at="4"), live=affine(5)),
    Line(relprop.Affine(at="5", positive=True), live=affine(6, positive=True)),
    Line(relprop.LRP(rule="z-plus"), live=walked(zp, zp, zp, zp)),
    Line(relprop.LRP0(), live=gradient_x_input),
    Line(relprop.LRPEpsilon(), live=walked(eps, eps, eps, eps)),
    Line(relprop.LRPGamma(), live=walked(*[ref.gamma(0.25)] * 4)),
    Line(relprop.LRPAlphaBeta(), live=walked(*[ref.alpha_beta(2, 1)] * 4)),
    Line(relprop.LRPAlphaBeta(), live=zennit_alpha_beta),
    Line(relprop.LRPComposite(lower="gamma"), live=walked(ref.sample_box, ref.gamma(0.25), eps, eps)),
    Line(relprop.LRPComposite(), live=walked(ref.sample_box, zp, eps, eps)),
    Line(relprop.LRPComposite(lower="z-plus"), live=walked(ref.sample_box, zp, eps, eps)),
    Line(relprop.AttnLRP(gamma=0.1), live=walked(*[ref.gamma(0.25)] * 2, *[ref.gamma(0.1)] * 2)),
    Line(relprop.DeepTaylor(), live=walked(ref.sample_box, zp, zp, zp, start_clamped=True)),
    Line(EB(), live=walked(*[eb] * 4, score=False, stop=2)),
    Line(EB(at="input", released=True), live=walked(*[eb] * 4, score=False)),
    Line(EB(at="input"), live=walked(*[zp] * 4, score=False)),
    Line(CEB(at="4"), live=contrastive_excitation),
    Line(relprop.CLRP(variant=1), live=clrp(1)),
    Line(relprop.CLRP(variant=1, others="scores"), live=clrp(1, scores=True)),
    Line(relprop.CLRP(variant=2), live=clrp(2)),
    Line(relprop.RSP(), live=sectional.rsp()),
    Line(relprop.RSP(hostile="predicted"), live=sectional.rsp("predicted")),
    Line(relprop.RSP(hostile="top-2"), live=sectional.rsp("top-2")),
    Line(relprop.RSP(hostile="all"), live=sectional.rsp("all")),
    Line(relprop.RSP(hostile=[4, 2, 2]), live=sectional.rsp([2, 4])),
    Line(relprop.RSP(at="1", hostile=[0]), live=sectional.rsp([0], at=1)),
    Line(relprop.RSP(mode="released"), live=sectional.rsp(mode="released")),
    Line(relprop.RSP(mode="released", hostile=[0, 3]), live=sectional.rsp([0, 3], "released")),
    Line(relprop.ContrastiveRSP(), live=sectional.contrastive_rsp),
    Line(relprop.MarginRSP(), live=sectional.margin_rsp),
    Line(relprop.Agreement(), live=sectional.agreement(16 / 56)),
    Line(Recommended(), live=sectional.agreement(16 / 56)),
    Line(relprop.Agreement(sigma=0.1), live=sectional.agreement(1.6)),
    Line(relprop.RAP(), live=sectional.rap()),
    Line(relprop.RAP(released=True), live=sectional.rap(released=True)),
    Line(relprop.CRP(), live=crp(zp)),
    Line(relprop.CRP(bounds="sample"), live=crp(ref.sample_box)),
    Line(relprop.CRP(seed="logit"), live=crp(zp, "logit")),
    Line(relprop.CRP(seed="softmax"), live=crp(zp, "softmax")),
]

FILE = [
    Line(relprop.Gradient(), "torchray.gradient.input.1.raw"),
    Line(relprop.Gradient(), "torchray.gradient.input.1.map", view=strongest),
    Line(relprop.DeconvNet(), "torchray.deconvnet.input.1.raw"),
    Line(relprop.DeconvNet(), "torchray.deconvnet.input.1.map", view=strongest),
    Line(relprop.GuidedBackprop(), "torchray.guided.input.1.raw"),
    Line(relprop.GuidedBackprop(), "torchray.guided.input.1.map", view=strongest),
    Line(relprop.GradCAM(), "torchray.grad_cam.features.13.1.map"),
    Line(EB(at="features.4"), "torchray.eb.features.4.1.raw"),
    Line(EB(at="features.4"), "torchray.eb.features.4.1.map", view=summed),
    Line(EB(at="features.9"), "torchray.eb.features.9.1.raw"),
    Line(EB(at="features.9"), "torchray.eb.features.9.1.map", view=summed),
    Line(CEB(at="features.9"), "torchray.ceb.features.9.1.raw"),
    Line(CEB(at="features.9", contrast_at="classifier.4"), "torchray.ceb.features.9.1.map", view=positive),
    Line(relprop.DeepTaylor(bounds=None), "innvestigate.deep_taylor.1.input"),
    Line(relprop.DeepTaylor(bounds=(-5, 5)), "innvestigate.deep_taylor.bounded.1.input"),
    Line(_ab(1, 0, bias="full"), "innvestigate.lrp.alpha_1_beta_0.1.input"),
    Line(_ab(1, 0, bias="none"), "innvestigate.lrp.alpha_1_beta_0_IB.1.input"),
    Line(_ab(2, 1, bias="full"), "innvestigate.lrp.alpha_2_beta_1.1.input"),
    Line(_ab(1, 0, bias="none", first="z-box"), "lrp.nobias.alpha1.samplebox.1.input"),
    Line(_ab(2, 1, bias="none", first="z-box"), "lrp.nobias.alpha2.samplebox.1.input"),
    Line(_ab(1, 0, seed="one"), "zennit.ab10.1.input"),
    Line(_ab(1, 0, bias="none", seed="one"), "zennit.ab10_nobias.1.input"),
    Line(_ab(2, 1, seed="one"), "zennit.ab21.1.input"),
    Line(_ab(2, 1, bias="none", seed="one"), "zennit.ab21_nobias.1.input"),
    Line(relprop.LRP(rule="z-plus", seed="one"), "zennit.zplus.1.input"),
    Line(relprop.RAP(released=True), "rap.1.input"),
]
