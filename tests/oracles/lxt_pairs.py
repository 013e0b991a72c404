"""lxt, the authors' own AttnLRP, beside ours: rule by rule, and whole transformers.

Its explicit functions carry relevance through autograd and add a stabiliser, without regard to sign, to what they
divide by. Its efficient mode patches classes of torch for the whole process, so that gradient x input is
relevance. Both are Achtibat et al. 2024 (arXiv 2402.05602).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from tests.rules.build import Fn
from torch import Tensor, nn

from relprop import Composite, trace
from relprop.methods.attention import Attention, attention_rules
from relprop.rules import Epsilon

__all__ = [
    "PAIRS",
    "Pair",
    "Vit",
    "by_explicit",
    "efficient",
    "gamma_by_zennit",
    "gradient_times_input",
    "vit_of_transformers",
]


@dataclass(frozen=True)
class Pair:
    """One rule of both.

    Attributes:
        operator: what is computed, in torch, from one input x.
        theirs: the same by a function of `lxt.explicit` with the stabiliser ε; its "gradient" is relevance.
        kept: (y, ε) -> the share of the relevance that their stabiliser leaves.
        stabiliser: their default.
    """

    operator: Callable[[Tensor], Tensor]
    theirs: Callable[[Tensor, float], Tensor]
    kept: Callable[[Tensor, float], Tensor] = lambda y, _: torch.ones_like(y)
    stabiliser: float = 0.0

    def by_ours(self, x: Tensor, relevance: Tensor) -> Tensor:
        """Relevance at x by our rules."""
        composite = Composite([*attention_rules("shared"), ("linear", Epsilon(0.0))], "value")
        run = trace(Fn(lambda _, x: self.operator(x)), x).run(relevance, composite)
        assert run.ledger is not None
        assert run.ledger.closes, str(run.ledger)
        return run.relevance

    def by_theirs(self, x: Tensor, relevance: Tensor, epsilon: float) -> Tensor:
        """Relevance at x by theirs."""
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(self.theirs(leaf, epsilon), leaf, relevance)[0]


def _stabilised(y: Tensor, epsilon: float) -> Tensor:
    return y / (y + epsilon)


def _explicit() -> Any:
    import lxt.explicit.functional as functions

    return functions


def _drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Shapes: x is (N, 2, tokens, features); operators of one signal read its first half.
_WEIGHT, _BIAS, _SCALE = _drawn(5, 6, seed=1), _drawn(5, seed=2), _drawn(6, seed=3)
_SHIFT = _drawn(6, seed=4)


def _softmax_by_lxt(x: Tensor, _: float) -> Tensor:
    return _explicit().softmax(x[:, 0], -1).flatten(1)  # type: ignore[no-any-return]


def _linear_by_lxt(x: Tensor, epsilon: float) -> Tensor:
    return _explicit().linear_epsilon(x[:, 0], _WEIGHT, _BIAS, epsilon)  # type: ignore[no-any-return]


def _layer_norm_by_lxt(x: Tensor, epsilon: float) -> Tensor:
    # The function of this name has no argument for the stabiliser, what it calls has.
    found: Tensor = _explicit().layer_norm_grad_fn.apply(x[:, 0], _SCALE, _SHIFT, 1e-5, epsilon)
    return found


PAIRS: dict[str, Pair] = {
    "softmax": Pair(lambda x: x[:, 0].softmax(-1).flatten(1), _softmax_by_lxt),
    "product of two matrices": Pair(
        lambda x: x[:, 0] @ x[:, 1].mT,
        lambda x, epsilon: _explicit().matmul(x[:, 0], x[:, 1].mT, False, epsilon),
        lambda y, epsilon: _stabilised(2 * y, epsilon),
        1e-8,
    ),
    "product by element": Pair(
        lambda x: x[:, 0] * x[:, 1], lambda x, _: _explicit().mul2(x[:, 0], x[:, 1], False)
    ),
    "linear, ε": Pair(lambda x: F.linear(x[:, 0], _WEIGHT, _BIAS), _linear_by_lxt, _stabilised, 1e-6),
    "layer norm": Pair(
        lambda x: F.layer_norm(x[:, 0], (6,), _SCALE, _SHIFT, 1e-5), _layer_norm_by_lxt, _stabilised, 1e-6
    ),
    "RMS norm": Pair(
        lambda x: F.rms_norm(x[:, 0], (6,), _SCALE, 1e-6),
        lambda x, _: _explicit().rms_norm_identity(x[:, 0], _SCALE, 1e-6),
    ),
    "normalised vectors": Pair(
        lambda x: F.normalize(x[:, 0], dim=-1).flatten(1),
        lambda x, _: _explicit().normalize(x[:, 0], dim=-1).flatten(1),
    ),
    "sum of two": Pair(
        lambda x: x[:, 0] + x[:, 1],
        lambda x, epsilon: _explicit().add2(x[:, 0], x[:, 1], False, epsilon),
        _stabilised,
        1e-8,
    ),
    "mean": Pair(
        lambda x: x[:, 0].mean(1),
        lambda x, epsilon: _explicit().mean(x[:, 0], 1, False, epsilon),
        lambda y, epsilon: _stabilised(3 * y, epsilon),
        1e-6,
    ),
}
"""Every rule that both have; 3 tokens of 6 features."""


class Vit(nn.Module):
    """A vision transformer whose operators can be exchanged: torch's, or those of `lxt.explicit`."""

    def __init__(self, depth: int = 2, width: int = 8, heads: int = 2, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.heads = heads
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, 5, width))
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width), "norm2": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width), "out": nn.Linear(width, width),
                    "up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width),
                }
            )
            for _ in range(depth)
        )  # fmt: skip
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)
        for norm in (m for m in self.modules() if isinstance(m, nn.LayerNorm)):
            nn.init.normal_(norm.weight, mean=1.0, std=0.3)
            nn.init.normal_(norm.bias, std=0.3)
        self.ops = _TORCH
        self.double().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) for pictures (N, 3, 8, 8)."""
        ops = self.ops
        z = ops.convolution(self.patch, x).flatten(2).transpose(1, 2)
        z = ops.add(torch.cat([self.token.expand(z.shape[0], -1, -1), z], 1), self.place)
        for block in self.blocks:
            y = ops.linear(block["qkv"], ops.norm(block["norm1"], z))
            q, k, v = y.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            y = ops.attention(q, k, v).transpose(1, 2).flatten(2)
            z = ops.add(z, ops.linear(block["out"], y))
            y = ops.gelu(ops.linear(block["up"], ops.norm(block["norm2"], z)))
            z = ops.add(z, ops.linear(block["down"], y))
        return ops.linear(self.head, ops.norm(self.norm, z)[:, 0])  # type: ignore[no-any-return]


_TORCH = SimpleNamespace(
    convolution=lambda module, x: module(x),
    linear=lambda module, x: module(x),
    norm=lambda module, x: module(x),
    add=lambda a, b: a + b,
    gelu=F.gelu,
    attention=F.scaled_dot_product_attention,
)


def _lxt_operators(attention: Attention, epsilon: float | None) -> SimpleNamespace:
    """Operators of `lxt.explicit`; ε None: with the stabilisers that they have by default."""
    import lxt.explicit.rules as rules

    lf = _explicit()
    given = () if epsilon is None else (epsilon,)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Any:
        if attention == "constant":
            weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1).detach()
            return rules.epsilon_lrp(torch.matmul, 1e-6 if epsilon is None else epsilon, weights, v)
        weights = lf.softmax(lf.matmul(q, k.mT, False, *given), -1, temperature=math.sqrt(q.shape[-1]))
        return lf.matmul(weights, v, False, *given)

    return SimpleNamespace(
        convolution=lambda m, x: rules.epsilon_lrp(m, 1e-6 if epsilon is None else epsilon, x),
        linear=lambda m, x: lf.linear_epsilon(x, m.weight, m.bias, *given),
        norm=lambda m, x: lf.layer_norm_grad_fn.apply(x, m.weight, m.bias, m.eps, *given),
        add=lambda a, b: lf.add2(a, b, False, *given),
        gelu=partial(rules.identity, F.gelu),
        attention=attend,
    )


def by_explicit(
    model: Vit, x: Tensor, target: int, attention: Attention, epsilon: float | None = 0.0
) -> Tensor:
    """Relevance at x by lxt's explicit functions, from the logit."""
    model.ops = _lxt_operators(attention, epsilon)
    try:
        leaf = x.clone().requires_grad_()
        score = model(leaf)[:, target]
        return torch.autograd.grad(score, leaf, score.detach())[0]
    finally:
        model.ops = _TORCH


def gradient_times_input(model: Callable[[Tensor], Tensor], x: Tensor, target: int) -> Tensor:
    """What is relevance while a model's classes are patched."""
    leaf = x.clone().requires_grad_()
    return x * torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


@contextmanager
def efficient(module: ModuleType, attention: Attention, *, exact: bool = True) -> Iterator[None]:
    """Patch the classes that a module of torchvision or transformers uses, and mend them again at the end.

    torchvision's vision transformer has only the map of the package, with attention as constants. The package has
    none for those of transformers: this one is put together like its map for other models of theirs.

    Args:
        module: with the model's classes.
        attention: how relevance crosses attention.
        exact: without the package's stabiliser of 1e-10 in activations.
    """
    from lxt.efficient import monkey_patch, patches
    from lxt.efficient.models import vit_torch
    from lxt.efficient.rules import identity_rule_implicit_fn

    if module is vit_torch.vision_transformer:
        assert attention == "constant"
        changes = dict(vit_torch.cp_LRP)
    else:
        attend = patches.patch_attention if attention == "shared" else patches.patch_cp_attention
        changes = {
            nn.LayerNorm: partial(patches.patch_method, patches.layer_norm_forward),
            module: attend,
            _gelu_of(module): partial(patches.patch_method, patches.non_linear_forward, keep_original=True),
        }
    if exact:

        def without(self: Any, x: Tensor) -> Any:
            return identity_rule_implicit_fn.apply(self.original_forward, x, 0.0)

        kind = next(k for k in changes if isinstance(k, type) and "GELU" in k.__name__)
        changes[kind] = partial(patches.patch_method, without, keep_original=True)
    with ExitStack() as stack:
        for place in changes:
            stack.callback(_restore, place, dict(vars(place)))
        if hasattr(module, "ALL_ATTENTION_FUNCTIONS"):  # one table for all models, and it is written to
            module.ALL_ATTENTION_FUNCTIONS = dict(module.ALL_ATTENTION_FUNCTIONS.items())  # type: ignore[attr-defined]
        monkey_patch(module, changes)
        yield


def _gelu_of(module: ModuleType) -> type[nn.Module]:
    return type(module.ACT2FN["gelu"])  # type: ignore[no-any-return]


_PATCHED = ("forward", "original_forward", "eager_attention_forward", "ALL_ATTENTION_FUNCTIONS")


def _restore(place: Any, before: dict[str, Any]) -> None:
    for name in _PATCHED:
        if name in before:
            setattr(place, name, before[name])
        elif name in vars(place):
            delattr(place, name)


@contextmanager
def gamma_by_zennit(
    model: nn.Module, gamma: float, gamma_conv: float, *, exact: bool = True
) -> Iterator[None]:
    """Put zennit's γ on linear layers and convolutions, in the form that lxt's efficient mode takes it in.

    Args:
        model: gets hooks until the end.
        gamma, gamma_conv: of linear layers, of convolutions.
        exact: without the stabilisers of both packages, 1e-6 and 1e-10.
    """
    from lxt.efficient import zennit_patches
    from zennit.composites import LayerMapComposite
    from zennit.core import BasicHook
    from zennit.rules import Gamma

    stabiliser = 1e-300 if exact else 1e-6
    composite = LayerMapComposite(
        [
            (nn.Linear, Gamma(gamma, stabilizer=stabiliser)),
            (nn.Conv2d, Gamma(gamma_conv, stabilizer=stabiliser)),
        ]
    )
    before = {name: vars(BasicHook)[name] for name in ("forward", "backward")}
    plain = zennit_patches.stabilize
    zennit_patches.monkey_patch_zennit()
    if exact:
        zennit_patches.stabilize = lambda x, epsilon: x
    composite.register(model)
    try:
        yield
    finally:
        composite.remove()
        zennit_patches.stabilize = plain
        for name, method in before.items():
            setattr(BasicHook, name, method)


class Logits(nn.Module):
    """A model of transformers that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes)."""
        return self.model(x).logits  # type: ignore[no-any-return]


def vit_of_transformers(**settings: int) -> nn.Module:
    """A vision transformer of that package with random weights, norms and biases."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    model = ViTForImageClassification(ViTConfig(**settings))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) / (2 * model.config.hidden_size**0.5))
    return Logits(model).eval().requires_grad_(False)
