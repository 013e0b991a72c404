"""What a user may rely on, as sentences: the model leaves as it came, results follow the live model."""

from __future__ import annotations

import copy
import gc
import sys
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.close import assert_close_to_rounding
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, RelpropError


class Small(nn.Module):
    """conv + BN, residual add, in-place ReLU, a weight used twice, a buffer, a hook of the user's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.register_buffer("shift", torch.full((4, 1, 1), 0.1))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.factor = 1.0
        for tensor in (self.stem[1].running_mean, self.stem[1].bias):
            nn.init.normal_(tensor, std=0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + F.relu(self.twice(x)) + self.shift
        x = self.twice(x) * self.factor
        return self.head(self.drop(x.relu_()).mean((2, 3)))


def net() -> Small:
    return Small().eval()


def picture(n: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(1)).to(dtype)


METHODS = ("lrp-0", "lrp-epsilon", "lrp-gamma", "lrp-alpha-beta", "lrp-composite", "deep-taylor")


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything about a model that a library has no business changing."""
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(
        model.named_buffers(remove_duplicate=False)
    )
    hooks = [k for k in model.__dict__ if "hook" in k]
    return {
        "objects": {
            n: (id(t), t.data_ptr(), t._version, t.requires_grad, t.dtype, t.stride())
            for n, t in tensors.items()
        },
        "values": {n: t.detach().clone() for n, t in tensors.items()},
        "grads": {n: None if t.grad is None else (id(t.grad), t.grad.clone()) for n, t in tensors.items()},
        "state": list(model.state_dict()),
        "modules": [(n, id(m), type(m), m.training) for n, m in model.named_modules()],
        "attributes": {n: sorted(m.__dict__) for n, m in model.named_modules()},
        "plain": {
            n: {k: v for k, v in m.__dict__.items() if isinstance(v, (int, float, str, bool))}
            for n, m in model.named_modules()
        },
        "hooks": {
            n: {h: list(getattr(m, h).items()) for h in hooks if isinstance(getattr(m, h), dict)}
            for n, m in model.named_modules()
        },
        "class": (type(model), vars(type(model)).get("forward"), "forward" in model.__dict__),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(p, q) for p, q in zip(a, b, strict=True))
    return bool(a == b)


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for key in before:
        assert same(before[key], after[key]), key


def grown(model: nn.Module) -> nn.Module:
    """A model in use: gradients on it, some frozen parameters, a hook."""
    model(picture()).sum().backward()
    for parameter in list(model.parameters())[:2]:
        parameter.requires_grad_(False)
    model.register_forward_hook(lambda *_: None)
    model.zero_grad(set_to_none=False)
    return model


@pytest.mark.parametrize("method", METHODS)
def test_model_leaves_as_it_came(method: str) -> None:
    model, x = grown(net()), picture()
    before, kept = snapshot(model), x.clone()
    relprop.explain(model, x, target=[0, 1], method=method, layers=["stem"])
    assert_same(before, snapshot(model))
    assert torch.equal(x, kept)
    assert x.grad is None
    assert not x.requires_grad


def test_inspect_and_trace_leave_the_model_as_it_came() -> None:
    model = grown(net())
    before = snapshot(model)
    relprop.inspect(model, picture())
    run = relprop.trace(model, picture())
    run.plan(relprop.Composite())
    assert_same(before, snapshot(model))


class Stumbles(nn.Module):
    """Has an operator without a rule, after ones with."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cumprod(torch.relu(self.bn(self.conv(x))), 1).mean((2, 3)))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return self.fc(x) if x.sum() > 0 else -self.fc(x)


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: (Stumbles().eval(), {}),
        lambda: (Branches().eval(), {}),
        lambda: (Counts().eval(), {}),
        lambda: (Small().train(), {}),
        lambda: (net(), {"target": 17}),
        lambda: (net(), {"layers": ["nowhere"]}),
        lambda: (
            net(),
            {"method": relprop.LRP(rule="zero", first="z-box", bounds=(torch.zeros(7), torch.ones(7)))},
        ),
    ],
    ids=["no rule", "control flow", "writes a buffer", "training", "target", "layer", "bounds"],
)
def test_model_leaves_as_it_came_when_the_call_raises(
    call: Callable[[], tuple[nn.Module, dict[str, Any]]],
) -> None:
    model, options = call()
    before = snapshot(model)
    with pytest.raises(RelpropError):
        relprop.explain(model, picture(), **({"target": 0, "method": "lrp-0"} | options))
    assert_same(before, snapshot(model))


def test_attributes_set_in_forward_are_put_back() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)
            self.last: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.last = self.fc(x.mean((2, 3)))
            self.fresh = self.last * 2
            return self.fresh.relu()

    model = Remembers().eval()
    before = snapshot(model)
    relprop.explain(model, picture(), 0, "lrp-0")
    assert_same(before, snapshot(model))
    assert model.last is None
    assert not hasattr(model, "fresh")


def test_the_input_may_change_afterwards() -> None:
    x = picture()
    explanation = relprop.explain(net(), x, 0, "lrp-0")
    kept, relevance = x.clone(), explanation.relevance.clone()
    x.zero_()
    assert torch.equal(explanation.input, kept)
    assert torch.equal(explanation.relevance, relevance)


def test_a_model_that_writes_over_its_input_spares_ours() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(108, 3)).eval()
    x = picture()
    kept = x.clone()
    explanation = relprop.explain(model, x, 0, "lrp-0")
    assert torch.equal(x, kept)
    assert torch.equal(explanation.outputs, model(x.clone()))


# Growth ---------------------------------------------------------------------------------------------


def census() -> tuple[int, int]:
    gc.collect()
    objects = gc.get_objects()
    return len(objects), sum(issubclass(type(o), Tensor) for o in objects)


@pytest.mark.parametrize("method", ["lrp-alpha-beta", "lrp-composite"])
def test_nothing_grows_over_fifty_calls(method: str) -> None:
    model, x = net(), picture()
    for _ in range(5):
        relprop.explain(model, x, 0, method)
    objects, tensors = census()
    for _ in range(50):
        relprop.explain(model, x, 0, method)
    after, tensors_after = census()
    assert tensors_after <= tensors
    assert after - objects < 50  # less than one object a call


def test_changing_weights_does_not_pile_up_derived_ones() -> None:
    model, x = net(), picture()
    relprop.explain(model, x, 0, "lrp-alpha-beta")
    _, tensors = census()
    for _ in range(10):
        with torch.no_grad():
            model.twice.weight.mul_(0.9)
        relprop.explain(model, x, 0, "lrp-alpha-beta")
    assert census()[1] <= tensors + 2


def test_a_model_is_forgotten_with_its_last_name() -> None:
    model = net()
    relprop.explain(model, picture(), 0, "lrp-alpha-beta")
    seen, weight = weakref.ref(model), weakref.ref(model.twice.weight)
    del model
    gc.collect()
    assert seen() is None
    assert weight() is None


def test_an_explanation_does_not_keep_the_model() -> None:
    model = net()
    explanation = relprop.explain(model, picture(), 0, "lrp-alpha-beta")
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None
    assert explanation.plan is not None


def test_later_calls_use_the_captured_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = torch.export.export
    module = sys.modules["relprop.graph.exporting"]
    monkeypatch.setattr(module, "export", lambda *a, **k: calls.append(1) or real(*a, **k))
    model = net()
    for n in (1, 2, 5):
        relprop.explain(model, picture(n), 0, "lrp-0")
    assert len(calls) == 1
    relprop.explain(model, torch.randn(1, 3, 8, 8), 0, "lrp-0")
    assert len(calls) == 2


# The live model ---------------------------------------------------------------------------------------


def in_place(model: Small) -> None:
    with torch.no_grad():
        model.twice.weight.mul_(-1.5)
        model.stem[0].weight.add_(0.1)


def optimiser(model: Small) -> None:
    step = torch.optim.SGD(model.parameters(), lr=0.5)
    model(picture()).square().sum().backward()
    step.step()


def load(model: Small) -> None:
    torch.manual_seed(9)
    model.load_state_dict(
        {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    )


def assign(model: Small) -> None:
    torch.manual_seed(9)
    state = {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def new_parameter(model: Small) -> None:
    model.twice.weight = nn.Parameter(torch.randn(4, 4, 3, 3))


def new_module(model: Small) -> None:
    torch.manual_seed(9)
    model.twice = nn.Conv2d(4, 4, 3, padding=1)


def other_kind(model: Small) -> None:
    model.stem[2] = nn.GELU()


def other_activation_same_text(model: Small) -> None:
    model.drop = Fn(lambda m, x: x * 2.0).eval()


def statistics(model: Small) -> None:
    model.train()
    with torch.no_grad():
        model(picture() * 3 + 1)
    model.eval()


def buffer(model: Small) -> None:
    model.shift.fill_(-0.4)


def attribute(model: Small) -> None:
    model.factor = -2.0


def hook(model: Small) -> None:
    model.twice.register_forward_hook(lambda m, i, o: o * 3)


def pre_hook(model: Small) -> None:
    model.head.register_forward_pre_hook(lambda m, i: (i[0] * -2,))


def half_swap(model: Small) -> None:
    model.double()
    model.float()
    with torch.no_grad():
        model.twice.weight.neg_()


CHANGES = [
    in_place,
    optimiser,
    load,
    assign,
    new_parameter,
    new_module,
    other_kind,
    other_activation_same_text,
    statistics,
    buffer,
    attribute,
    hook,
    pre_hook,
    half_swap,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_changes_are_noticed(change: Callable[[Small], None]) -> None:
    """The second explanation is the one that a model never seen before would get."""
    model, x = net(), picture()
    methods = ("lrp-0", "lrp-alpha-beta")
    first = [relprop.explain(model, x, 0, m) for m in methods]
    change(model)
    second = [relprop.explain(model, x, 0, m) for m in methods]
    with torch.no_grad():
        assert torch.equal(second[0].outputs, model(x)), "outputs are another model's"
    relprop.clear_cache(model)
    for before, now, method in zip(first, second, methods, strict=True):
        fresh = relprop.explain(model, x, 0, method)
        assert torch.equal(now.relevance, fresh.relevance), method
        assert not torch.equal(now.relevance, before.relevance), "the change is too small to see"


def test_another_precision_is_noticed() -> None:
    model, x = net(), picture()
    single = relprop.explain(model, x, 0, "lrp-alpha-beta")
    double = relprop.explain(model.double(), x.double(), 0, "lrp-alpha-beta")
    assert double.relevance.dtype == torch.float64
    torch.testing.assert_close(double.relevance.float(), single.relevance, rtol=1e-3, atol=1e-4)


def test_untied_weights_are_noticed() -> None:
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    model, x = nn.Sequential(a, nn.ReLU(), b).eval(), torch.randn(2, 4)
    relprop.explain(model, x, 0, "lrp-0")
    b.weight = nn.Parameter(torch.randn(4, 4))
    with torch.no_grad():
        assert torch.equal(relprop.explain(model, x, 0, "lrp-0").outputs, model(x))
    a.weight = b.weight  # and tied again
    with torch.no_grad():
        assert torch.equal(relprop.explain(model, x, 0, "lrp-0").outputs, model(x))


def test_one_submodule_in_training_mode_is_noticed() -> None:
    model, x = net(), picture()
    relprop.explain(model, x, 0, "lrp-0")
    model.stem[1].train()
    with pytest.raises(InputError, match="evaluation mode"):
        relprop.explain(model, x, 0, "lrp-0")
    model.eval()
    model.drop.train()
    with pytest.raises(InputError, match="evaluation mode"):
        relprop.explain(model, x, 0, "lrp-0")


def _flip(weight: Tensor) -> None:
    weight.copy_(weight.flip(-1).flip(0))


DATA_WRITES: dict[str, Callable[[Tensor], Any]] = {
    "turned": lambda w: w.mul_(-1.0),
    "scaled": lambda w: w.mul_(1.01),
    "one weight": lambda w: w[0, 0, 0, 0].add_(0.5),
    "one filter off": lambda w: w[1].zero_(),
    "flipped": _flip,
    "two filters exchanged": lambda w: w[:2].copy_(w[:2].flip(0)),
}


@pytest.mark.parametrize("method", ["lrp-alpha-beta", "lrp-gamma", "lrp-composite"])
@pytest.mark.parametrize("write", DATA_WRITES)
def test_writes_through_data_are_noticed(write: str, method: str) -> None:
    """They change neither the address nor the version of a weight, whose derived parts are kept."""
    model, x = net(), picture()
    before = relprop.explain(model, x, 0, method)
    DATA_WRITES[write](model.twice.weight.data)
    after = relprop.explain(model, x, 0, method)
    fresh = relprop.explain(copy.deepcopy(model), x, 0, method)
    assert torch.equal(after.relevance, fresh.relevance)
    assert not torch.equal(after.relevance, before.relevance)


# Circumstances ----------------------------------------------------------------------------------------


@cache
def unchanged() -> Small:
    """One network for the tests that leave it as it is: it is captured once."""
    return net()


@cache
def channels_last() -> nn.Module:
    return net().to(memory_format=torch.channels_last)


def reference(method: str) -> Tensor:
    return relprop.explain(unchanged(), picture(), 0, method).relevance


@pytest.mark.parametrize("method", METHODS)
def test_works_under_no_grad_inference_mode_and_frozen(method: str) -> None:
    expected = reference(method)
    model = net()
    with torch.no_grad():
        assert_close_to_rounding(relprop.explain(model, picture(), 0, method).relevance, expected, model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert_close_to_rounding(relprop.explain(model, picture(), 0, method).relevance, expected, model)
    with torch.inference_mode():
        found = relprop.explain(net(), picture(), 0, method)
        assert_close_to_rounding(found.relevance.clone(), expected, model)
    assert not found.relevance.is_inference()
    assert not found.relevance.requires_grad
    assert_close_to_rounding(found.relevance * 1, expected, model)


def test_grad_mode_is_put_back() -> None:
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            relprop.explain(net(), picture(), 0, "lrp-composite")
            assert torch.is_grad_enabled() == enabled


def test_an_input_that_wants_gradients() -> None:
    x = picture().requires_grad_()
    found = relprop.explain(net(), x, 0, "lrp-0")
    assert_close_to_rounding(found.relevance, reference("lrp-0"), net())
    assert x.grad is None
    assert not found.input.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("method", ["lrp-0", "lrp-composite"])
def test_half_precision_models_have_float32_relevance(dtype: torch.dtype, method: str) -> None:
    model, x = net().to(dtype), picture(dtype=dtype)
    found = relprop.explain(model, x, 0, method)
    assert found.relevance.dtype == torch.float32
    assert found.ledger is not None
    assert found.ledger.closes
    expected = relprop.explain(copy.deepcopy(model).float(), x.float(), 0, method)
    assert_close_to_rounding(found.relevance, expected.relevance, model)
    assert next(model.parameters()).dtype == dtype


@pytest.mark.parametrize("method", METHODS)
def test_memory_layout_does_not_matter(method: str) -> None:
    expected = reference(method)
    top = float(expected.abs().max())
    wide = torch.zeros(2, 3, 6, 12)
    wide[..., ::2] = picture()
    for model, x in (
        (unchanged(), wide[..., ::2]),
        (unchanged(), picture().to(memory_format=torch.channels_last)),
        (channels_last(), picture().to(memory_format=torch.channels_last)),
        (unchanged(), picture()[:1].expand(2, -1, -1, -1)),
        (unchanged(), picture().transpose(2, 3).contiguous().transpose(2, 3)),
    ):
        found = relprop.explain(model, x, 0, method).relevance
        same_rows = x.stride(0) == 0
        torch.testing.assert_close(
            found[:1] if same_rows else found,
            expected[:1] if same_rows else expected,
            rtol=1e-4,
            atol=1e-5 * top,
        )


@pytest.mark.parametrize("method", METHODS)
def test_deterministic(method: str) -> None:
    model = net()
    a = relprop.explain(model, picture(), [0, 2], method)
    b = relprop.explain(model, picture(), [0, 2], method)
    assert torch.equal(a.relevance, b.relevance)
    alone = relprop.explain(model, picture(), 2, method).relevance
    assert_close_to_rounding(a.relevance[1], alone, model)
    assert a.ledger is not None
    assert b.ledger is not None
    assert a.ledger.summary() == b.ledger.summary()


@pytest.mark.parametrize("method", METHODS)
def test_batches_of_any_size(method: str) -> None:
    """Captured at one batch size, right at every other, one among them."""
    model, x = net().double(), picture(7, torch.float64)
    whole = relprop.explain(model, x, 1, method).relevance
    for n in (1, 2, 3):
        part = relprop.explain(model, x[:n], 1, method).relevance
        torch.testing.assert_close(part, whole[:n], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_asking_for_layers_changes_nothing(method: str) -> None:
    model = net()
    plain = relprop.explain(model, picture(), 0, method)
    asked = relprop.explain(
        model, picture(), 0, method, layers=["stem.0", "stem.1", "stem", "twice@0", "twice", "head"]
    )
    assert_close_to_rounding(plain.relevance, asked.relevance, model)
    assert {k: tuple(v.shape[1:]) for k, v in asked.layers.items()}["head"] == (3,)


def test_a_module_path_wins_over_a_node_of_that_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.linear, self.relu = nn.Linear(4, 5), nn.Linear(5, 3), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.linear(F.relu(self.stem(x)))) + 0

    found = relprop.explain(Named().eval(), torch.randn(2, 4), 0, "lrp-0", layers=["linear", "relu"])
    assert found.layers["linear"].shape == (2, 3)
    assert found.layers["relu"].shape == (2, 3)
