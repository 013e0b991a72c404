"""Rules for convolutions and matrix products against their formulas in matrix form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.rules import closed_forms as form
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop import Composite, trace
from relprop.rules import (
    AlphaBeta,
    Epsilon,
    Excitation,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
    ZPlus,
)
from relprop.tracing.linear_map import LinearMap

TOLERANCE = 1e-12  # of the largest element, in float64

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(7, 5), (7,)),
    "linear, no bias": (lambda: nn.Linear(7, 5, bias=False), (7,)),
    "linear over tokens": (lambda: nn.Linear(4, 3), (6, 4)),
    "conv1d": (lambda: nn.Conv1d(2, 3, 3), (2, 8)),
    "conv1d, strided, dilated": (
        lambda: nn.Conv1d(4, 6, 3, stride=2, dilation=2, padding=3, groups=2),
        (4, 11),
    ),
    "conv1d, same, even kernel": (lambda: nn.Conv1d(2, 3, 4, padding="same"), (2, 7)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 5, 4)),
    "conv2d, no bias": (lambda: nn.Conv2d(3, 4, 3, padding=1, bias=False), (3, 5, 4)),
    "conv2d, 1x1": (lambda: nn.Conv2d(5, 4, 1), (5, 3, 3)),
    "conv2d, strided past the end": (lambda: nn.Conv2d(2, 3, 2, stride=3), (2, 7, 6)),
    "conv2d, depthwise": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4), (4, 4, 4)),
    "conv2d, grouped, uneven": (
        lambda: nn.Conv2d(4, 6, (3, 1), stride=(2, 1), padding=(2, 0), groups=2),
        (4, 5, 3),
    ),
    "conv2d, same": (lambda: nn.Conv2d(2, 3, 3, padding="same", dilation=2), (2, 6, 5)),
    "conv2d, same, even kernel": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same", groups=1), (2, 5, 6)),
    "conv2d, valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid"), (2, 5, 5)),
    "conv2d, wide fan-in": (lambda: nn.Conv2d(9, 3, 3), (9, 4, 4)),
    "conv3d": (lambda: nn.Conv3d(2, 3, (3, 2, 2), stride=(1, 2, 1), padding=(1, 0, 1)), (2, 4, 4, 3)),
    "conv3d, grouped, dilated": (lambda: nn.Conv3d(4, 4, 2, dilation=(1, 2, 1), groups=2), (4, 2, 4, 3)),
    "conv3d, same, even kernel": (lambda: nn.Conv3d(1, 2, (2, 3, 2), padding="same"), (1, 3, 3, 4)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(3, 2, 3, stride=2, padding=1, output_padding=1), (3, 5)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, dilation=(1, 2)), (4, 3, 3)),
    "transposed 2d, no bias": (lambda: nn.ConvTranspose2d(2, 3, 2, stride=3, bias=False), (2, 2, 3)),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2, stride=(1, 2, 1), padding=(1, 0, 0)), (2, 3, 2, 3)),
    "conv1d + BN": (lambda: nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)), (2, 6)),
    "conv2d + BN": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)), (3, 4, 4)),
    "conv2d, no bias + BN": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d(6)),
        (4, 4, 4),
    ),
    "conv2d + BN without affine": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False, eps=0.1)),
        (3, 3, 3),
    ),
    "conv3d + BN": (lambda: nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3)), (2, 3, 3, 3)),
    "transposed 2d + BN": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6)),
        (4, 3, 3),
    ),
}


def build(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    torch.manual_seed(sum(map(ord, name)))
    maker, shape = LAYERS[name]
    layer = maker().double().eval()
    for module in layer.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.3, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return layer, shape


def rules(x: Tensor) -> dict[str, tuple[Rule, form.Form]]:
    """Every rule with its formula; bounds are made to hold for x, (N, C, ...)."""
    flat = x.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    if x.ndim == 2:
        per_low, per_high = x.amin(0) - 0.1, x.amax(0) + 0.2
        spread_low, spread_high = per_low, per_high
    else:
        dims = (0, *range(2, x.ndim))
        per_low, per_high = x.amin(dims) - 0.1, x.amax(dims) + 0.2
        spread_low, spread_high = (
            v.reshape(-1, *[1] * (x.ndim - 2)).expand(x.shape[1:]).flatten() for v in (per_low, per_high)
        )
    whole_low, whole_high = x.amin(0) - 0.1, x.amax(0) + 0.3
    table: dict[str, tuple[Rule, form.Form]] = {
        "lrp-0": (Epsilon(0.0), form.epsilon(0.0, relative=True)),
        "epsilon, relative": (Epsilon(0.1), form.epsilon(0.1, relative=True)),
        "epsilon, absolute": (Epsilon(0.1, relative=False), form.epsilon(0.1, relative=False)),
        "gamma": (Gamma(0.25), form.gamma(0.25)),
        "gamma 10": (Gamma(10.0), form.gamma(10.0)),
        "z+": (ZPlus(), form.z_plus),
        "excitation": (Excitation(), form.excitation),
        "excitation, released": (Excitation(released=True), form.excitation_released),
        "excitation, clamped": (Excitation(clamp_input=True), form.excitation_clamped),
        "z-box, numbers": (
            ZBox(-5.0, 5.1),
            form.z_box(torch.tensor(-5.0, dtype=torch.float64), torch.tensor(5.1, dtype=torch.float64)),
        ),
        "z-box, channels": (ZBox(per_low, per_high), form.z_box(spread_low, spread_high)),
        "z-box, elements": (
            ZBox(whole_low, whole_high),
            form.z_box(whole_low.flatten(), whole_high.flatten()),
        ),
        "z-box, sample": (ZBox(bounds="sample"), form.z_box(low, high)),
        "w²": (WSquare(), form.w_square),
        "flat": (Flat(), form.flat),
    }
    for bias in ("paper", "none", "full"):
        for alpha, beta in ((1.0, 0.0), (2.0, 1.0)):
            rule = AlphaBeta(alpha, beta, bias)  # type: ignore[arg-type]
            table[f"αβ {alpha:g} {beta:g} {bias}"] = (rule, form.alpha_beta(alpha, beta, bias))
    return table


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch's own, once a process
@pytest.mark.parametrize("sign", ["signed", "non-negative"])
@pytest.mark.parametrize("name", LAYERS)
def test_rule_is_its_formula(name: str, sign: str) -> None:
    layer, shape = build(name)
    w, b = form.as_matrix(layer, shape)
    # Behind a ReLU the graph proves the input to be >= 0, and rules take their shorter way.
    model = layer if sign == "signed" else nn.Sequential(nn.ReLU(), layer)
    seen = torch.randn(2, *shape, dtype=torch.float64)
    run = trace(model, seen)
    x = seen if sign == "signed" else seen.clamp(min=0)
    stop = None if sign == "signed" else "0"
    z = run.output
    assert torch.allclose(z.flatten(1), x.flatten(1) @ w.T + b, rtol=1e-12, atol=1e-12)
    seed = torch.randn(2, *z.shape, dtype=torch.float64)
    for what, (rule, formula) in rules(x).items():
        composite = Composite([("linear", rule)])
        found = run.run(seed, composite, stop=stop)
        shared = [formula(w, b, x.flatten(1), r.flatten(1)) for r in seed]
        expected = torch.stack([s.relevance.reshape(x.shape) for s in shared])
        close(found.relevance, expected, f"{what}, relevance")
        assert found.ledger is not None
        assert found.ledger.closes, f"{what}: {found.ledger}"
        # A denominator near zero makes large terms of both signs: rounding is relative to those.
        size = seed.abs().sum() + expected.abs().sum() + sum(s.bias.abs().sum() for s in shared)
        close(found.ledger.bias, sum(s.bias.sum() for s in shared), f"{what}, bias", size)
        stabiliser = sum(s.stabiliser.sum() for s in shared)
        close(found.ledger.stabiliser, stabiliser, f"{what}, stabiliser", size)
        close(found.ledger.end, sum(s.relevance.sum() for s in shared), f"{what}, end", size)
        # Multipliers: R_out = c z, and where x is not 0, R_in = c_in x.
        # Outputs that no input reaches are 0 and have no multiplier.
        c = torch.where(z == 0, 0, seed / torch.where(z == 0, 1, z))
        expected = (
            expected
            if bool((z != 0).all())
            else torch.stack(
                [
                    formula(w, b, x.flatten(1), (r * (z != 0)).flatten(1)).relevance.reshape(x.shape)
                    for r in seed
                ]
            )
        )
        through = run.run(c, composite, stop=stop, multiplier=True)
        close(through.relevance * x, expected * (x != 0), f"{what}, multiplier")


@pytest.mark.parametrize(
    "name", ["linear", "conv2d", "conv2d, wide fan-in", "conv2d + BN", "transposed 2d + BN"]
)
@pytest.mark.parametrize("sign", ["signed", "non-negative"])
def test_rule_in_front_of_a_relu(name: str, sign: str) -> None:
    """The trace keeps only the ReLU's output there; the map must be the formula's all the same."""
    layer, shape = build(name)
    w, b = form.as_matrix(layer, shape)
    first = nn.ReLU() if sign == "non-negative" else nn.Identity()
    model = nn.Sequential(first, layer, nn.ReLU())
    seen = torch.randn(2, *shape, dtype=torch.float64)
    run = trace(model, seen)
    x = first(seen)
    z = (x.flatten(1) @ w.T + b).reshape(run.output.shape)
    seed = torch.randn(3, *z.shape, dtype=torch.float64)
    stop = "0" if sign == "non-negative" else None
    for what, (rule, formula) in rules(x).items():
        if what == "epsilon, relative":
            continue  # relative to the ReLU's output: below
        if what == "excitation":
            formula = form.z_plus  # what reads the unit never sees it below 0
        composite = Composite([("linear", rule)])
        expected = torch.stack(
            [formula(w, b, x.flatten(1), r.flatten(1)).relevance.reshape(x.shape) for r in seed]
        )
        found = run.run(seed, composite, stop=stop)
        close(found.relevance, expected, f"{what}, relevance on dead units too")
        assert found.ledger is not None
        assert found.ledger.closes, f"{what}: {found.ledger}"
        alive = [formula(w, b, x.flatten(1), (r * (z > 0)).flatten(1)) for r in seed]
        expected = torch.stack([s.relevance.reshape(x.shape) for s in alive])
        through = run.run(seed / z, composite, stop=stop, multiplier=True)
        close(through.relevance * x, expected * (x != 0), f"{what}, multiplier")
        assert through.ledger is not None
        assert through.ledger.closes, f"{what}: {through.ledger}"


BOUNDS: dict[str, Callable[[Tensor], tuple[Any, Any]]] = {
    "numbers": lambda x: (-5.0, 5.1),
    "one number as a tensor": lambda x: (torch.tensor(-5.0), torch.tensor(5.1)),
    "a number and channels": lambda x: (-5.0, x.amax((0, *range(2, x.ndim))) + 0.2),
    "channels": lambda x: (
        x.amin((0, *range(2, x.ndim))) - 0.1,
        x.amax((0, *range(2, x.ndim))) + 0.2,
    ),
    "elements": lambda x: (x.amin(0) - 0.1, x.amax(0) + 0.3),
    "elements, with an axis for samples": lambda x: (
        x.amin(0, keepdim=True) - 0.1,
        x.amax(0, keepdim=True) + 0.3,
    ),
    "elements of each sample": lambda x: (x - x.abs() - 0.1, x + 0.3 * x.abs() + 0.1),
    "sample": lambda x: (None, None),
}


def z_box_by_hand(layer: nn.Module, x: Tensor, r: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Montavon et al. 2017, eq. 17, for one sample: three gradients, of w, w+ and w-, and no engine."""

    def ways(keep: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        kept = {
            name: keep(p.detach()) if name.endswith("weight") else torch.zeros_like(p)
            for name, p in layer.named_parameters()
        }
        return lambda t: torch.func.functional_call(layer, kept, (t[None],))[0]

    terms = [
        (x, ways(lambda w: w)),
        (-low, ways(lambda w: w.clamp(min=0))),
        (-high, ways(lambda w: w.clamp(max=0))),
    ]
    z = sum(way(t) for t, way in terms)
    relevance = torch.zeros_like(x)
    for t, way in terms:
        leaf = t.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad((way(leaf) * (r / z).detach()).sum(), leaf)
        relevance += t * gradient
    return relevance


@pytest.mark.parametrize("given", BOUNDS)
@pytest.mark.parametrize("name", ["linear", "conv2d", "conv2d, depthwise", "conv3d"])
def test_z_box_is_the_published_formula(name: str, given: str) -> None:
    """Bounds that all samples share are looked at once, others for each sample: three samples, two targets."""
    layer, shape = build(name)
    x = torch.randn(3, *shape, dtype=torch.float64)
    low, high = BOUNDS[given](x)
    rule = ZBox(bounds="sample") if given == "sample" else ZBox(low, high)
    run = trace(layer, x)
    seed = torch.randn(2, *run.output.shape, dtype=torch.float64)
    found = run.run(seed, Composite([("linear", rule)]))
    dims = tuple(range(1, x.ndim))
    if given == "sample":
        low, high = x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)
    box = [torch.as_tensor(bound, dtype=torch.float64) for bound in (low, high)]
    box = [bound.reshape(-1, *[1] * (x.ndim - 2)) if bound.ndim == 1 else bound for bound in box]
    least, most = (bound.expand_as(x) for bound in box)
    expected = torch.stack(
        [
            torch.stack([z_box_by_hand(layer, x[n], r[n], least[n], most[n]) for n in range(len(x))])
            for r in seed
        ]
    )
    close(found.relevance, expected, given)
    assert found.ledger is not None
    assert found.ledger.closes, str(found.ledger)
    close(found.relevance.flatten(2).sum(2), seed.flatten(2).sum(2), "what is conserved", seed.abs().sum())
    if given != "elements of each sample":
        for n in range(len(x)):
            alone = trace(layer, x[n : n + 1]).propagate(seed[:, n : n + 1], Composite([("linear", rule)]))
            close(alone, expected[:, n : n + 1], "a sample alone")


@pytest.mark.parametrize(
    "rule", [Epsilon(0.0), Epsilon(0.1), Gamma(), AlphaBeta(), ZPlus(), ZBox(-4, 4), WSquare()], ids=repr
)
def test_many_targets_equal_one_by_one(rule: Rule) -> None:
    """K runs in chunks: 13 targets cross two borders between chunks."""
    layer, shape = build("conv2d + BN")
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(64, 13).double())
    run = trace(model, torch.randn(2, *shape, dtype=torch.float64))
    seed = torch.randn(13, 2, 13, dtype=torch.float64)
    composite = Composite([("linear", rule)], "positive")
    together = run.run(seed, composite)
    alone = torch.stack([run.propagate(s, composite) for s in seed])
    close(together.relevance, alone, "K at once")
    assert together.ledger is not None
    assert together.ledger.closes


@pytest.mark.parametrize(
    "rule", [Epsilon(0.0), Epsilon(0.1), Gamma(), AlphaBeta(), ZPlus(), Excitation(), Flat()], ids=repr
)
def test_large_products_are_walked_in_blocks(rule: Rule) -> None:
    """Above 4 M weights a product is split by outputs: nothing else may change."""
    torch.manual_seed(0)
    big = nn.Linear(2050, 2050)
    assert big.weight.numel() > 1 << 22
    model = nn.Sequential(nn.ReLU(), big, nn.ReLU(), nn.Linear(2050, 3)).eval()
    x = torch.randn(2, 2050)
    run = trace(model, x)
    seed = torch.randn(7, 2, 3)
    found = run.run(seed, Composite([("linear", rule)], "positive"))
    assert found.ledger is not None
    assert found.ledger.closes, found.ledger

    class Halves(nn.Module):  # the same map as two layers below the limit, side by side
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2050, 1025), nn.Linear(2050, 1025)
            self.head = model[3]
            with torch.no_grad():
                for part, cut in ((self.a, slice(0, 1025)), (self.b, slice(1025, None))):
                    part.weight.copy_(big.weight[cut])
                    part.bias.copy_(big.bias[cut])

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(x)
            return self.head(torch.relu(torch.cat([self.a(x), self.b(x)], 1)))

    if isinstance(rule, Epsilon) and rule.epsilon:
        return  # relative to the layer's output, which is another one there
    other = trace(Halves().eval(), x).propagate(seed, Composite([("linear", rule)], "positive"))
    torch.testing.assert_close(found.relevance, other, rtol=1e-4, atol=2e-6 * float(other.abs().max()))


def test_negative_part_small_beside_the_positive() -> None:
    """z- = z - z+ would be rounding noise here; the rule must not divide by it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 1)).eval()
    with torch.no_grad():
        model[1].weight.abs_()
        model[1].weight[:, ::7] *= -1e-3
        model[1].bias.zero_()
    x = torch.rand(1, 16, 8, 8)
    composite = Composite([("linear", AlphaBeta())], "positive")
    seed = torch.ones(1, 1)
    single = trace(model, x).run(seed, composite)
    double = trace(model.double(), x.double()).propagate(seed.double(), composite)
    assert single.ledger is not None
    assert single.ledger.closes, single.ledger
    assert float((single.relevance - double).abs().max() / double.abs().max()) < 1e-5


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_scale_of_the_numbers_does_not_matter(scale: float) -> None:
    """Relevance is homogeneous: a net with all activations scaled has the same map (float32)."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3, bias=False)
    )
    model.eval()
    x = torch.randn(2, 2, 6, 6)
    seed = torch.rand(2, 3)
    for rule in (Epsilon(0.0), Epsilon(0.1), Gamma(), AlphaBeta(), ZPlus(), ZBox(bounds="sample")):
        composite = Composite([("linear", rule)], "positive")
        plain = trace(model, x).propagate(seed, composite)
        scaled = trace(model, x * scale).propagate(seed, composite)
        torch.testing.assert_close(
            scaled, plain, rtol=1e-3, atol=1e-5 * float(plain.abs().max()), msg=repr(rule)
        )


def test_epsilon_is_exact_in_float64() -> None:
    """A Python number must not pass through float32 on its way."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 1, bias=False).double()
    x = torch.randn(2, 4, dtype=torch.float64)
    z = layer(x).detach()
    run = trace(layer, x)
    found = run.propagate(z, Composite([("linear", Epsilon(0.1, relative=False))]))
    expected = x * layer.weight.detach() * z / (z + 0.1 * z.sign())
    close(found, expected, "absolute epsilon")
    low, high = -2.1179, 2.6401
    x = x.clamp(low, high)
    run = trace(layer, x)
    found = run.propagate(z, Composite([("linear", ZBox(low, high))]))
    w, b = form.as_matrix(layer, (4,))
    box = form.z_box(torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64))
    close(found, box(w, b, x, z).relevance, "bounds")


def close(found: Any, expected: Any, what: str, size: Any = None) -> None:
    found, expected = (torch.as_tensor(v, dtype=torch.float64) for v in (found, expected))
    assert found.shape == expected.shape, what
    largest = float(expected.abs().max() if size is None else size)
    error = float((found - expected).abs().max())
    assert error <= TOLERANCE * max(largest, 1e-300), f"{what}: {error:.1e} beside {largest:.1e}"


@pytest.mark.parametrize("rule", [Epsilon(0.0), Epsilon(0.1, relative=False), Gamma(), ZPlus()], ids=repr)
@pytest.mark.parametrize("target", [0, [0, 1]])
def test_columns_without_relevance_are_left_out(
    rule: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries and keys of a product that makes all three, where attention's weights are constants."""
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(5, 12), Fn(lambda _, y: y[:, 4:8]), nn.Linear(4, 2)).double().eval()
    part = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)).double().eval()
    part[0].weight.data, part[0].bias.data = whole[0].weight.data[4:8], whole[0].bias.data[4:8]
    part[1].load_state_dict(whole[2].state_dict())
    x = torch.randn(3, 5, dtype=torch.float64)
    composite = Composite([("linear", rule)], "value")
    expected = relprop.explain(part, x, target, relprop.LRP(composite=composite))
    seen = []
    plain = LinearMap.backward

    def backward(self: LinearMap, message: Tensor, *args: Any) -> Tensor:
        seen.append(message.shape[-1])
        return plain(self, message, *args)

    monkeypatch.setattr(LinearMap, "backward", backward)
    found = relprop.explain(whole, x, target, relprop.LRP(composite=composite))
    assert max(seen) <= 4  # of 12; of the head what is asked for
    assert found.ledger is not None
    assert found.ledger.closes
    assert_close_to_rounding(found.relevance, expected.relevance, whole)
    assert found.ledger.bias == pytest.approx(expected.ledger.bias, rel=1e-12, abs=1e-12)
