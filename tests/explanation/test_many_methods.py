"""Several methods of one call: each as if it had been asked alone, from one forward run."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.methods.test_tokens import ViT
from tests.nets import METHODS, pictures, resnet, seeded, vgg, video
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import relprop
from relprop.errors import InputError, RelpropError, RelpropWarning, UnsupportedOperatorError
from relprop.explanation import inquiry
from relprop.explanation.explanation import Explanation
from relprop.methods.method import Method, Request, Result
from relprop.rules import Add, Epsilon, ZBox, ZPlus
from relprop.tracing import values
from relprop.tracing.shared import Shared

pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

MANY = [
    *(name for name in METHODS if name != "lrp"),
    "lrp:rule=z-plus",
    "lrp:composite=epsilon-gamma-box",
    "lrp-alpha-beta:alpha=1,beta=0",
    "lrp-composite:lower=gamma-above",
    "clrp:variant=2",
    "clrp:bounds=None",
    "contrastive-excitation-backprop:add=value,released=True",
    "excitation-backprop:clamp_input=True",
    "deep-taylor:seed=one",
    "rap:released=True",
    "crp:balance=False",
]


def transformer() -> nn.Module:
    return seeded(ViT(), 4)


NETS = {
    "vgg": (vgg, (2, 3, 16, 16)),
    "resnet": (resnet, (2, 3, 16, 16)),
    "video": (video, (1, 3, 4, 8, 8)),
    "transformer": (transformer, (1, 3, 6, 8)),
}


def answers(net: nn.Module, x: Tensor, target: Any, methods: list[str]) -> dict[str, Explanation]:
    """What each method says alone, of those that explain the network."""
    found = {}
    for method in methods:
        try:
            found[method] = relprop.explain(net, x, target, method)
        except RelpropError:
            continue
    return found


@pytest.mark.parametrize("name", NETS)
def test_each_as_if_it_were_alone(name: str) -> None:
    make, size = NETS[name]
    net, x = make(), pictures(*size)
    alone = answers(net, x, [1, 3], MANY)
    assert len(alone) > 15
    for methods in (list(alone), list(alone)[::-1]):
        together = relprop.explain(net, x, [1, 3], method=methods)
        assert len(together) == len(methods)
        for method, found in zip(methods, together, strict=True):
            _same(found, alone[method], net)


def _same(found: Explanation, expected: Explanation, net: nn.Module) -> None:
    assert (found.method, found.settings) == (expected.method, expected.settings)
    assert (found.at, found.notes, found.warnings) == (expected.at, expected.notes, expected.warnings)
    assert_close_to_rounding(found.relevance, expected.relevance, net)
    assert found.plan == expected.plan
    assert (found.ledger is None) == (expected.ledger is None)
    if found.ledger is None or expected.ledger is None:
        return
    assert found.ledger.closes == expected.ledger.closes
    size = sum(b.largest for row in expected.ledger.balances for b in row)
    assert [r.node for r in found.ledger.rows] == [r.node for r in expected.ledger.rows]
    for key in ("arrived", "passed", "bias", "stabiliser", "lost", "absolute"):
        assert_close_to_rounding(
            torch.tensor([getattr(r, key) for r in found.ledger.rows], dtype=torch.float64),
            torch.tensor([getattr(r, key) for r in expected.ledger.rows], dtype=torch.float64),
            net,
            size,
        )


def test_layers_and_one_target() -> None:
    net, x = resnet(), pictures(2, 3, 16, 16)
    methods = ["lrp-composite", "deep-taylor", "gradient", "lrp-composite"]
    together = relprop.explain(net, x, method=methods, layers=["bn1"])
    assert isinstance(together, list)
    for method, found in zip(methods, together, strict=True):
        alone = relprop.explain(net, x, method=method, layers=["bn1"])
        _same(found, alone, net)
        assert_close_to_rounding(found.layers["bn1"], alone.layers["bn1"], net)


def test_a_list_of_one_and_a_tuple() -> None:
    net, x = vgg(), pictures(1, 3, 16, 16)
    (one,) = relprop.explain(net, x, 1, method=("lrp-0",))
    _same(one, relprop.explain(net, x, 1, "lrp-0"), net)


def test_maps_of_two_methods_are_two_tensors() -> None:
    net, x = vgg(), pictures(1, 3, 16, 16)
    first, second, third = relprop.explain(net, x, 1, method=["gradient", "gradient", "gradient-x-input"])
    kept = second.relevance.clone()
    first.relevance.zero_()
    assert torch.equal(second.relevance, kept)
    assert_close_to_rounding(third.relevance, kept * x, net)


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the convolutions, forward and back."""
    found: Counter[str] = Counter()

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            if "convolution" in name or name.startswith("conv"):
                found["back" if "backward" in name else "forward"] += 1
            return func(*args, **(kwargs or {}))

    with Mode():
        yield found


def test_sums_are_taken_once() -> None:
    net, x = vgg(), pictures(1, 3, 16, 16)
    rule = "lrp:rule=z-plus"
    relprop.explain(net, x, 1, rule)  # captured, and the weights' parts made
    with counting() as alone:
        relprop.explain(net, x, 1, rule)
    # Two of the forward run, two sums; as many back. Pixels with both signs take one, with both signs' weights.
    assert alone == {"forward": 4, "back": 2}
    with counting() as together:
        relprop.explain(net, x, 1, method=[rule, "lrp:rule=z-plus,seed=one", "lrp-epsilon"])
    # One forward run, one set of sums; a walk a method. ε is linear in the forward run's own values.
    assert together == {"forward": 4, "back": 2 + 2 + 2}
    with counting() as twice:
        relprop.explain(net, x, 1, method=["gradient", "gradient-x-input", "gradient"])
    assert twice == {"forward": 2, "back": 2}


def test_nothing_is_kept_beyond_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = resnet(), pictures(1, 3, 16, 16)
    methods = ["excitation-backprop", "contrastive-excitation-backprop", "lrp-composite", "clrp", "rap"]
    alone = answers(net, x, 1, methods)
    for most in (0, 30_000):
        made: list[Shared] = []

        def small(most: int = most, made: list[Shared] = made) -> Shared:
            made.append(Shared(most))
            return made[-1]

        monkeypatch.setattr(values, "Shared", small)
        sizes = []
        with inquiry.Inquiry(net, x, 1, several=True) as asked:
            for method in methods:
                _same(_one(asked, method), alone[method], net)
                sizes.append(made[0].size)
        assert max(sizes) <= most
        assert (len(made[0]), made[0].size) == (0, 0)
        assert bool(max(sizes)) == bool(most)


def _one(asked: inquiry.Inquiry, method: str) -> Explanation:
    found = asked.answer(relprop.methods.resolve(method), last=False)
    assert isinstance(found, Explanation)
    return found


def test_memory_is_given_back_without_the_garbage_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = resnet(), pictures(1, 3, 16, 16)
    relprop.explain(net, x, 1, method=["clrp", "lrp-composite"])
    seen: list[weakref.ref[Any]] = []
    run_of = inquiry.run_of

    def watched(*args: Any) -> Any:
        found = run_of(*args)
        seen.append(weakref.ref(found.trace))
        return found

    monkeypatch.setattr(inquiry, "run_of", watched)
    gc.collect()
    gc.disable()
    try:
        found = relprop.explain(net, x, 1, method=["excitation-backprop", "clrp", "lrp-composite", "rap"])
        assert [ref() for ref in seen] == [None]
    finally:
        gc.enable()
    assert all(e.ledger is not None and e.ledger.closes for e in found)


def test_the_model_stays_as_it_came() -> None:
    net, x = resnet(), pictures(1, 3, 16, 16)
    before = {
        name: (t.data_ptr(), t._version, t.clone()) for name, t in net.state_dict(keep_vars=True).items()
    }
    relprop.explain(net, x, 1, method=[m for m in MANY if not m.startswith("grad-cam")])
    for name, t in net.state_dict(keep_vars=True).items():
        address, version, kept = before[name]
        assert (t.data_ptr(), t._version) == (address, version)
        assert torch.equal(t, kept)


def test_a_method_without_an_answer_stops_the_call_before_any_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = vgg(), pictures(1, 3, 16, 16)
    ran = []
    explain = relprop.LRPEpsilon.explain

    def counted(self: Any, request: Request) -> Result:
        ran.append(self.name)
        return explain(self, request)

    monkeypatch.setattr(relprop.LRPEpsilon, "explain", counted)
    with pytest.raises(InputError, match="clrp"):
        relprop.explain(net, x, torch.ones(1, 5, dtype=torch.float64), method=["lrp-epsilon", "clrp"])
    with pytest.raises(InputError, match="nothing"):
        relprop.explain(net, x, 1, method=["lrp-epsilon", "nothing"])
    assert ran == []


class Sorted(nn.Module):
    """Ends in an operator that has no rule for relevance, but a derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.special.i0(self.conv(x).mean((2, 3))))


def test_a_refusal_on_the_way_names_the_method() -> None:
    net, x = seeded(Sorted(), 3), pictures(1, 3, 16, 16)
    assert relprop.explain(net, x, 1, method=["gradient"])[0].method == "gradient"
    with pytest.raises(UnsupportedOperatorError, match=r"i0.*rap"):
        relprop.explain(net, x, 1, method=["gradient", "rap"])
    # Asked alone, the text stays as it is.
    with pytest.raises(UnsupportedOperatorError) as alone:
        relprop.explain(net, x, 1, "rap")
    assert "This was asked of" not in str(alone.value)


@pytest.mark.filterwarnings("default::relprop.errors.RelpropWarning")
def test_warnings_carry_the_methods_names() -> None:
    net, x = vgg(), pictures(1, 3, 16, 16)
    least = int(net(x)[0].argmin())
    with pytest.warns(RelpropWarning) as told:
        relprop.explain(net, x, least, method=["deep-taylor", "lrp-0", "deep-taylor:seed=one"])
    (text,) = [str(w.message) for w in told]
    assert text.count("deep-taylor: ") == 2
    assert "lrp-0: " not in text


def test_a_function_may_change_the_model() -> None:
    """The method behind it sees the network as it then is, as in a call of its own."""
    x = pictures(1, 3, 16, 16)

    def damaging(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        next(model.parameters()).data.mul_(2)
        return torch.zeros_like(x)

    class Damaging(Method):
        name = "damaging"

        def explain(self, request: Request) -> Result:
            next(request.model.parameters()).data.mul_(2)
            return Result(torch.zeros_like(request.trace.input)[None])

    for own in (damaging, Damaging()):
        net, other = vgg(), vgg()
        methods: list[Any] = ["lrp:rule=z-plus", own, "lrp:rule=z-plus", "lrp-0"]
        together = relprop.explain(net, x, 1, method=methods)
        alone = [relprop.explain(other, x, 1, method) for method in methods]
        for found, expected in zip(together, alone, strict=True):
            _same(found, expected, net)
            assert_close_to_rounding(found.outputs, expected.outputs, net)
        assert not torch.equal(together[0].outputs, together[2].outputs)


def test_several_inputs() -> None:
    net = nn.Bilinear(3, 4, 2).double()
    x = (torch.ones(1, 3, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64))
    found = relprop.explain(net, x, 1, method=["lrp-0", "gradient"])
    for method, pair in zip(("lrp-0", "gradient"), found, strict=True):
        for one, expected in zip(pair, relprop.explain(net, x, 1, method), strict=True):
            assert_close_to_rounding(one.relevance, expected.relevance, net)


def test_rules_are_equal_by_class_and_settings() -> None:
    class Own(ZPlus):
        pass

    assert ZPlus().key == ZPlus().key != Own().key
    assert Epsilon(0.1).key == Epsilon(0.1).key != Epsilon(0.2).key
    assert Add("own").key != Add("positive").key
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])
    assert ZBox(low, high).key == ZBox(low.clone(), high.clone()).key != ZBox(low, high + 1).key
    assert ZBox(low, high).key != ZBox(low.double(), high).key
    # What `prepare` returns is kept of classes alone that say so themselves.
    assert vars(ZPlus)["keeps"] > 0
    assert "keeps" not in vars(Own)
