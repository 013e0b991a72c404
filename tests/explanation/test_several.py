"""Models of several inputs, and of outputs that are no tensor (N, classes): as the same model with one of each."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import InputError

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
META = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Named = namedtuple("Named", ["scores", "mask"])


@dataclasses.dataclass
class Out:
    logits: Any
    other: Any = None


class Wrapped(nn.Module):
    def __init__(self, how: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        self.how = how

    def forward(self, x: Tensor) -> Any:
        return self.how(self.body(x))


def wrapped(how: Callable[[Tensor], Any]) -> Wrapped:
    return Wrapped(how).eval().double()


@pytest.mark.parametrize(
    ("how", "output"),
    [
        (lambda o: (o,), None),
        (lambda o: (o, 2 * o), None),
        (lambda o: (2 * o, o), 1),
        (lambda o: [2 * o, o], -1),
        (lambda o: {"out": o}, None),
        (lambda o: OrderedDict(aux=2 * o, out=o), "out"),
        (lambda o: {"aux": 2 * o, "logits": o}, None),
        (lambda o: Out(o), None),
        (lambda o: Out(2 * o, o), "other"),
        (lambda o: Out({"deep": o}), lambda out: out.logits["deep"]),
        (lambda o: Named(o, o > 0), None),
        (lambda o: Named(2 * o, o), "mask"),
    ],
)
@pytest.mark.parametrize("method", ["lrp-epsilon", "gradient", "integrated-gradients:steps=3", "rsp"])
def test_outputs_that_are_no_tensor(how: Callable[[Tensor], Any], output: Any, method: str) -> None:
    model = wrapped(how)
    layers = [] if method.startswith("integrated") else ["body.1"]
    expected = relprop.explain(wrapped(lambda o: o), X, [1, 0], method, layers)
    for _ in range(2):  # the second time by what is known
        found = relprop.explain(model, X, [1, 0], method, layers, output=output)
        assert_close_to_rounding(found.relevance, expected.relevance, nn.Linear(300, 1))
        for layer in layers:
            assert_close_to_rounding(found.layers[layer], expected.layers[layer], nn.Linear(300, 1))
        assert_close_to_rounding(found.outputs, expected.outputs, model)
    assert type(model) is Wrapped


def test_the_first_of_several_is_said() -> None:
    e = relprop.explain(wrapped(lambda o: (o, 2 * o)), X, 1, "lrp-0")
    assert "Explained is output 0, the first of 2 tensors" in e.notes[0]
    alone = relprop.explain(wrapped(lambda o: (o,)), X, 1, "lrp-0")
    assert not any("Explained is output" in note for note in alone.notes)


@pytest.mark.parametrize(
    ("how", "output", "said"),
    [
        (lambda o: {"a": o, "b": o}, None, "returns 'a', 'b': pass output='a'"),
        (lambda o: {"a": o, "b": o}, "c", "there is no 'c'. Take one of 'a', 'b'"),
        (lambda o: (o, o), 2, "there is no 2. Take one of 0, 1"),
        (lambda o: o, "logits", "there is no 'logits'. Leave output out"),
        (lambda o: {"a": {"b": o}}, None, "output=lambda outputs"),
        (lambda o: Out({"a": o}), None, "output=lambda outputs"),
    ],
)
def test_refused_outputs(how: Callable[[Tensor], Any], output: Any, said: str) -> None:
    with pytest.raises(InputError) as found:
        relprop.explain(wrapped(how), X, 1, "lrp-0", output=output)
    assert said in str(found.value)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(
    "how",
    [
        lambda o: o[:, 0],
        lambda o: o[:, :1].squeeze(1),
        lambda o: o[:, :1].flatten(0),
        lambda o: o[:, :1].squeeze(),
    ],
)
def test_one_number_a_sample_is_a_column(how: Callable[[Tensor], Tensor], n: int) -> None:
    expected = relprop.explain(wrapped(lambda o: o), X[:n], 0, "lrp-epsilon")
    found = relprop.explain(wrapped(how), X[:n], method="lrp-epsilon")
    assert_close_to_rounding(found.relevance, expected.relevance, wrapped(how))
    assert found.targets.tolist() == [0] * n
    assert found.outputs.shape == (n, 1)


def test_a_class_that_registers_its_subclasses_sees_none() -> None:
    known: list[str] = []

    class Registered(Wrapped):
        def __init_subclass__(cls, *, name: str) -> None:
            known.append(name)

    model = Registered(lambda o: (o, o)).eval().double()
    expected = relprop.explain(wrapped(lambda o: o), X, 1, "lrp-0")
    assert_close_to_rounding(relprop.explain(model, X, 1, "lrp-0").relevance, expected.relevance, model)
    assert known == []


def test_the_models_own_hooks_run_through_a_view() -> None:
    model = wrapped(lambda o: {"logits": o})
    model.register_forward_hook(lambda _, args, output: {"logits": 2 * output["logits"]})
    expected = relprop.explain(wrapped(lambda o: 2 * o), X, 1, "lrp-0")
    assert_close_to_rounding(relprop.explain(model, X, 1, "lrp-0").relevance, expected.relevance, model)


def test_what_changes_in_the_model_is_seen_through_its_view() -> None:
    model = wrapped(lambda o: {"out": o})
    relprop.explain(model, X, 1, "lrp-0")
    model.how = lambda o: {"out": 3 * o}
    found = relprop.explain(model, X, 1, "lrp-0")
    expected = relprop.explain(wrapped(lambda o: 3 * o), X, 1, "lrp-0")
    assert_close_to_rounding(found.relevance, expected.relevance, model)
    model.how = lambda o: {"other": o}
    found = relprop.explain(model, X, 1, "lrp-0")
    expected = relprop.explain(wrapped(lambda o: o), X, 1, "lrp-0")
    assert_close_to_rounding(found.relevance, expected.relevance, model)


def test_a_model_seen_through_a_view_is_forgotten_with_it() -> None:
    model = wrapped(lambda o: {"out": o})
    relprop.explain(model, X, 1, "lrp-0")
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


class Two(nn.Module):
    def __init__(self, how: str = "apart") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        self.own = nn.Linear(2, 3)
        self.how = how

    def scores(self, image: Tensor, meta: Tensor) -> Tensor:
        return self.body(image) + self.own(meta)


class Apart(Two):
    def forward(self, image: Tensor, meta: Tensor) -> Tensor:
        return self.scores(image, meta)


class Listed(Two):
    def forward(self, xs: list[Tensor]) -> Tensor:
        return self.scores(xs[0], xs[1])


class ByName(Two):
    def forward(self, *, meta: Tensor, image: Tensor) -> dict[str, Tensor]:
        return {"scores": self.scores(image, meta)}


def gradients(model: Two) -> tuple[Tensor, Tensor]:
    image, meta = X.clone().requires_grad_(), META.clone().requires_grad_()
    a, b = torch.autograd.grad(model.scores(image, meta)[:, 2].sum(), (image, meta))
    return a * X, b * META


@pytest.mark.parametrize("method", ["lrp-0", "gradient-x-input"])
def test_each_of_several_inputs_has_its_relevance(method: str) -> None:
    for kind, given in ((Apart, (X, META)), (Listed, [X, META])):
        model = kind().eval().double()
        image, meta = relprop.explain(model, given, 2, method)
        for e, expected in zip((image, meta), gradients(model), strict=True):
            assert_close_to_rounding(e.relevance, expected, model)
        assert image.input.shape == X.shape
        assert meta.input.shape == META.shape
    model = ByName().eval().double()
    found = relprop.explain(model, {"image": X, "meta": META}, [2, 0], method)
    assert list(found) == ["image", "meta"]
    for e, expected in zip(found.values(), gradients(model), strict=True):
        assert_close_to_rounding(e.relevance[0], expected, model)


@pytest.mark.parametrize("method", ["lrp-epsilon", "lrp-composite", "deep-taylor"])
def test_several_inputs_share_one_ledger_that_closes(method: str) -> None:
    model = Apart().eval().double()
    image, meta = relprop.explain(model, (X, META), method=method)
    assert image.ledger is not None
    assert image.ledger.closes
    assert meta.ledger is image.ledger
    total = float(image.relevance.sum() + meta.relevance.sum())
    assert float(image.ledger.summary()["input"]) == pytest.approx(total)
    assert "all 2 inputs together" in image.notes[-1]


def test_one_input_by_name() -> None:
    class Keyword(Two):
        def forward(self, *, pixel_values: Tensor) -> Tensor:
            return self.body(pixel_values)

    model = Keyword().eval().double()
    found = relprop.explain(model, {"pixel_values": X}, 1, "lrp-0")
    expected = relprop.explain(model.body, X, 1, "lrp-0")
    assert_close_to_rounding(found["pixel_values"].relevance, expected.relevance, model)


def test_two_pathways() -> None:
    class SlowFast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Conv3d(3, 4, 3, padding=1), nn.Conv3d(3, 4, 3, padding=1)
            self.h = nn.Linear(8, 2)

        def forward(self, xs: list[Tensor]) -> Tensor:
            a, b = self.a(xs[0]).relu().mean((2, 3, 4)), self.b(xs[1]).relu().mean((2, 3, 4))
            return self.h(torch.cat([a, b], 1))

    model, fast = SlowFast().eval().double(), torch.rand(1, 3, 8, 8, 8).double()
    given = [fast[:, :, ::4], fast]
    slow_e, fast_e = relprop.explain(model, given, 0, "lrp-0")
    leaves = [g.clone().requires_grad_() for g in given]
    for e, leaf, g in zip(
        (slow_e, fast_e), leaves, torch.autograd.grad(model(leaves)[0, 0], leaves), strict=True
    ):
        assert_close_to_rounding(e.relevance, (g * leaf).detach(), model)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ((), "inputs to be tensors"),
        ((X, 3), "inputs to be tensors"),
        ((X, torch.ones(3, dtype=torch.int64)), "one is torch.int64"),
        ((X, META[:2]), "one dtype, device and batch size"),
        ((X, META.float()), "one dtype, device and batch size"),
        ((X, META, META), "takes 3 positional arguments but 4 were given"),
        ({"image": X}, "missing 1 required positional argument: 'meta'"),
    ],
)
def test_refused_inputs(x: Any, said: str) -> None:
    with pytest.raises(InputError) as found:
        relprop.explain(Apart().eval().double(), x, 0, "lrp-0")
    assert said in str(found.value)
