"""Properties that hold on every network, checked on random ones (hypothesis shrinks what fails).

100 graphs here; at least 1,000 with `--nightly`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.randomgraphs import CLASSES, Spec, Twin, build, sample, specs
from torch import Tensor, nn

from relprop import Composite, Trace, trace
from relprop.rules import AlphaBeta, Epsilon, Gamma, Rule, ZBox, ZPlus

COMPOSITES: dict[str, Composite] = {
    "lrp-0": Composite(),
    "epsilon": Composite([("linear", Epsilon(0.01))]),
    "gamma": Composite([("linear", Gamma(0.25))], "positive"),
    "z+": Composite([("linear", ZPlus())], "positive"),
    "alpha-beta": Composite([("linear", AlphaBeta(2, 1))], "positive"),
    "z-box first": Composite([("first", ZBox(bounds="sample")), ("linear", ZPlus())], "positive"),
    "alpha-beta, by value": Composite([("linear", AlphaBeta(2, 1, "none"))]),
}

# Where a rule divides by what cancels, two orders of summation differ by more than one rounding.
IDENTITY, TWINS = 1e-11, 1e-10


def run_settings(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        # Shrinking a failure takes minutes of captures: add Phase.shrink to look for a smaller one.
        phases=[Phase.generate],
        print_blob=False,
    )


def relevance(run: Trace, composite: Composite, what: str, wide: bool = True) -> Tensor:
    """Relevance of every class, (K, N, ...), from books that balance."""
    seed = torch.zeros(CLASSES, *run.output.shape, dtype=run.output.dtype)
    for k in range(CLASSES):
        seed[k, :, k] = run.output[:, k]
    found = run.run(seed, composite)
    assert found.ledger is not None
    assert found.ledger.closes, f"{what}: {found.ledger}"
    assert found.ledger.tolerance == (1e-13 if wide else 1e-6)
    assert bool(torch.isfinite(found.relevance).all()), what
    books = found.ledger
    size = sum(row.absolute for row in books.rows)  # rounding adds up over the rows
    rest = books.start - books.end - books.bias - books.stabiliser - books.lost
    assert abs(rest) <= books.tolerance * size, f"{what}: {rest} unaccounted for: {books}"
    assert books.end == pytest.approx(float(found.relevance.double().sum()), abs=books.tolerance * size), what
    assert books.start == pytest.approx(float(seed.double().sum()), abs=books.tolerance * size), what
    return found.relevance


def apart(a: Tensor, b: Tensor) -> float:
    """Largest difference beside the largest element."""
    assert a.shape == b.shape
    return float((a - b).abs().max()) / (float(b.abs().max()) or 1.0)


def state(model: nn.Module) -> tuple[object, ...]:
    return (
        {
            n: (id(t), t.data_ptr(), t._version, t.requires_grad, t.grad)
            for n, t in model.state_dict(keep_vars=True).items()
        },
        [
            (n, id(m), m.training, sorted(m.__dict__), dict(m._forward_hooks), dict(m._forward_pre_hooks))
            for n, m in model.named_modules()
        ],
    )


def check_graph(spec: Spec, wide: bool) -> None:
    """Forward, ledgers, main identity, batch = single, K = one by one, model untouched: one capture."""
    dtype = torch.float64 if wide else torch.float32
    model, x = build(spec, dtype=dtype), sample(spec, 3, dtype)
    values = {n: t.clone() for n, t in model.state_dict().items()}
    before, kept = state(model), x.clone()
    run = trace(model, x)
    with torch.no_grad():
        assert torch.equal(run.output, model(x)), "forward"
    maps = {name: relevance(run, composite, name, wide) for name, composite in COMPOSITES.items()}
    assert state(model) == before
    assert all(torch.equal(t, values[n]) for n, t in model.state_dict().items())
    assert torch.equal(x, kept)
    if not wide:
        return
    # LRP-0 is gradient x input of the network with gates, deviations and ratios held constant.
    frozen, leaf = build(spec, Twin(frozen=True)), x.clone().requires_grad_()
    out = frozen(leaf)
    assert apart(out.detach(), run.output) < 1e-12
    expected = torch.stack(
        [x * torch.autograd.grad(out[:, k].sum(), leaf, retain_graph=True)[0] for k in range(CLASSES)]
    )
    assert apart(maps["lrp-0"], expected) < IDENTITY, "LRP-0 is gradient x input"
    single = trace(model, x[1:2])
    one = torch.zeros(1, CLASSES, dtype=dtype)
    one[0, 1] = single.output[0, 1]
    for name, composite in COMPOSITES.items():
        alone = single.propagate(one, composite)
        assert apart(alone, maps[name][1, 1:2]) < TWINS, f"{name}: row of a batch, target of several"


def check_twin(spec: Spec, twin: Twin, names: tuple[str, ...]) -> None:
    model, other, x = build(spec), build(spec, twin), sample(spec)
    run = trace(model, x)
    there = trace(other, x[:, :, None] if twin.lift else x)
    assert apart(there.output, run.output) < 1e-11, "not a twin"
    for name in names:
        a = relevance(run, COMPOSITES[name], name)
        b = relevance(there, COMPOSITES[name], name)
        assert apart(b[:, :, :, 0] if twin.lift else b, a) < TWINS, name


EVERY = tuple(COMPOSITES)


def _run(check: Callable[..., None], count: int, *strategies: st.SearchStrategy[object]) -> None:
    run_settings(count)(given(*strategies)(check))()


def test_graphs(nightly: bool) -> None:
    _run(lambda s: check_graph(s, True), 600 if nightly else 44, specs())


def test_graphs_in_float32(nightly: bool) -> None:
    _run(lambda s: check_graph(s, False), 200 if nightly else 20, specs())


def test_functional_equals_modules(nightly: bool) -> None:
    _run(lambda s: check_twin(s, Twin(functional=True), EVERY), 100 if nightly else 10, specs())


def test_tied_equals_untied_copies(nightly: bool) -> None:
    _run(lambda s: check_twin(s, Twin(untied=True), EVERY), 100 if nightly else 9, specs(having="shared"))


@pytest.mark.parametrize("block", ["conv-norm", "residual"])
def test_batch_norm_merged_by_hand(block: str, nightly: bool) -> None:
    _run(lambda s: check_twin(s, Twin(merged=True), EVERY), 60 if nightly else 5, specs(having=block))


def test_flat_equals_one_frame(nightly: bool) -> None:
    _run(lambda s: check_twin(s, Twin(lift=True), EVERY), 100 if nightly else 9, specs(dims=2))


def test_chained_runs_equal_one(nightly: bool) -> None:
    """Relevance recorded on the way, propagated on from there, arrives as in one run."""

    def check(spec: Spec) -> None:
        run = trace(build(spec), sample(spec))
        seed = run.output
        for name, composite in COMPOSITES.items():
            plain = run.run(seed, composite)
            whole = run.run(seed, composite, record=["stem", "blocks"])
            assert apart(whole.relevance, plain.relevance) < TWINS, f"{name}: recording changed the result"
            on = run.propagate(whole.layers["blocks"], composite, start="blocks")
            assert apart(on, whole.relevance) < TWINS, name

    _run(check, 60 if nightly else 5, specs())


def test_depthwise_nets_in_float32() -> None:
    """Few products a unit: z- = z - z+ would be noise, and whole units have no positive term."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 1)]
    for _ in range(4):
        layers += [
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 1, bias=False),
            nn.BatchNorm2d(8),
        ]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES)).eval()
    for bn in (m for m in model if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(bn.weight)
        nn.init.normal_(bn.bias)
        nn.init.normal_(bn.running_mean)
    x = torch.randn(2, 3, 8, 8)
    run = trace(model, x)
    lost = 0.0
    for name, composite in COMPOSITES.items():
        relevance(run, composite, name, wide=False)
        if name == "z+":
            ledger = run.run(run.output, composite).ledger
            assert ledger is not None
            lost = abs(ledger.lost / ledger.start)
    assert lost > 0, "nothing lost: the case is too easy"


@pytest.mark.parametrize(
    "rule", [Epsilon(0.0), Epsilon(0.01, relative=False), Gamma(), ZPlus(), AlphaBeta()], ids=repr
)
def test_channel_order_does_not_matter(rule: Rule) -> None:
    torch.manual_seed(0)
    a, b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
    tail = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    model = nn.Sequential(a, nn.ReLU(), b, tail).double().eval()
    order = torch.randperm(6)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.copy_(a.weight[order])
        other[0].bias.copy_(a.bias[order])
        other[2].weight.copy_(b.weight[:, order])
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    composite = Composite([("linear", rule)], "positive")
    one, two = trace(model, x), trace(other, x)
    assert apart(two.propagate(one.output, composite), one.propagate(one.output, composite)) < 1e-12
