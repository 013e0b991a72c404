"""Whatever a forward pass reads may change between two calls: each call answers for the model as it is."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.graph.fingerprint import fingerprint

capturing = import_module("relprop.graph.capture")


@dataclass
class Settings:
    scale: float = 1.0
    inner: dict[str, list[float]] = field(default_factory=lambda: {"scales": [1.0]})


class Slotted:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = 1.0


GLOBAL = {"scale": 1.0}
NUMBER = 1.0
LAYER = nn.Linear(3, 3)
TOOLS = types.ModuleType("tests_watching_tools")
exec("scale = 1.0\ndef scaled(y):\n    return y * scale\n", vars(TOOLS))


def helper(y: Tensor) -> Tensor:
    return second_helper(y)


def second_helper(y: Tensor) -> Tensor:
    return y * GLOBAL["scale"]


class Base(nn.Module):
    K = 1.0
    TABLE: dict[str, list[float]] = {"scales": [1.0]}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.cfg = types.SimpleNamespace(scale=1.0, inner=types.SimpleNamespace(scale=1.0))
        self.settings, self.slotted = Settings(), Slotted()
        self.nested: dict[str, Any] = {"k": {"scale": 1.0}, "pair": (1.0, [1.0])}
        self.list: list[Any] = [[1.0], 1.0]
        self.tensor = torch.ones(3)
        self.scalar = torch.tensor(1.0)
        self.array = np.ones(1)
        box = self.box = [1.0]
        self.closure = lambda: box[0]
        self.partial = functools.partial(torch.mul, other=1.0)
        self.plain = [nn.Linear(3, 3)]
        self.holder = types.SimpleNamespace(layer=nn.Linear(3, 3))

    @property
    def doubled(self) -> float:
        return 2 * self.settings.scale

    def scaled(self, y: Tensor) -> Tensor:
        return y * self.K


def _module(forward: Callable[[Any, Tensor], Tensor]) -> Base:
    """A model of a class of its own, which may be patched."""
    torch.manual_seed(0)
    LAYER.reset_parameters()
    kind = type("Own", (Base,), {"forward": forward, "TABLE": {"scales": [1.0]}})
    kind.scaled = types.FunctionType(Base.scaled.__code__, globals())
    return kind().eval()


def _patched(m: Base, x: Tensor) -> Tensor:
    return m.fc(x) * -2


def _by_name(m: Base, x: Tensor) -> Tensor:
    for name in ("K", "cfg"):
        part = getattr(m, name)
        x = x * (part if isinstance(part, float) else part.scale)
    return m.fc(x)


def _default(m: Base, x: Tensor, scales: list[float] = [1.0]) -> Tensor:  # noqa: B006
    return m.fc(x) * scales[0]


def _imports(m: Base, x: Tensor) -> Tensor:
    import tests_watching_tools

    return tests_watching_tools.scaled(m.fc(x))


def _rebind(m: Base) -> None:
    global NUMBER
    NUMBER = 2.0


def _new_helper(m: Base) -> None:
    globals()["second_helper"] = lambda y: y * 3


def _replace_storage(layer: nn.Linear) -> None:
    layer.weight.data = torch.full((3, 3), 0.5)


ROWS: dict[str, tuple[Callable[[Any, Tensor], Tensor], Callable[[Any], Any]]] = {
    "namespace": (lambda m, x: m.fc(x) * m.cfg.scale, lambda m: setattr(m.cfg, "scale", 2.0)),
    "namespace in a namespace": (
        lambda m, x: m.fc(x) * m.cfg.inner.scale,
        lambda m: setattr(m.cfg.inner, "scale", 2.0),
    ),
    "dataclass": (lambda m, x: m.fc(x) * m.settings.scale, lambda m: setattr(m.settings, "scale", 2.0)),
    "list in a dict in a dataclass": (
        lambda m, x: m.fc(x) * m.settings.inner["scales"][0],
        lambda m: m.settings.inner["scales"].__setitem__(0, 2.0),
    ),
    "slots": (lambda m, x: m.fc(x) * m.slotted.scale, lambda m: setattr(m.slotted, "scale", 2.0)),
    "property": (lambda m, x: m.fc(x) * m.doubled, lambda m: setattr(m.settings, "scale", 2.0)),
    "nested dict": (lambda m, x: m.fc(x) * m.nested["k"]["scale"], lambda m: m.nested["k"].update(scale=2.0)),
    "list in a tuple": (
        lambda m, x: m.fc(x) * m.nested["pair"][1][0],
        lambda m: m.nested["pair"][1].__setitem__(0, 2.0),
    ),
    "nested list": (lambda m, x: m.fc(x) * m.list[0][0], lambda m: m.list[0].__setitem__(0, 2.0)),
    "list": (lambda m, x: m.fc(x) * m.list[1], lambda m: m.list.__setitem__(1, 2.0)),
    "tensor in place": (lambda m, x: m.fc(x) * m.tensor, lambda m: m.tensor.mul_(3)),
    "tensor replaced": (lambda m, x: m.fc(x) * m.tensor, lambda m: setattr(m, "tensor", m.tensor * 3)),
    "tensor through data": (lambda m, x: m.fc(x) * m.tensor, lambda m: m.tensor.data.mul_(3)),
    "tensor as a number": (lambda m, x: m.fc(x) * m.scalar.item(), lambda m: m.scalar.fill_(2.0)),
    "number through data": (lambda m, x: m.fc(x) * m.scalar.item(), lambda m: m.scalar.data.fill_(2.0)),
    "array": (lambda m, x: m.fc(x) * float(m.array[0]), lambda m: m.array.__setitem__(0, 2.0)),
    "closure": (lambda m, x: m.fc(x) * m.closure(), lambda m: m.box.__setitem__(0, 2.0)),
    "partial": (
        lambda m, x: m.partial(m.fc(x)),
        lambda m: m.partial.keywords.update(other=2.0),
    ),
    "default argument": (_default, lambda m: type(m).forward.__defaults__[0].__setitem__(0, 2.0)),
    "global dict": (lambda m, x: m.fc(x) * GLOBAL["scale"], lambda m: GLOBAL.update(scale=2.0)),
    "global number": (lambda m, x: m.fc(x) * NUMBER, _rebind),
    "global behind two functions": (lambda m, x: helper(m.fc(x)), lambda m: GLOBAL.update(scale=2.0)),
    "function replaced": (lambda m, x: helper(m.fc(x)), _new_helper),
    "module of Python": (lambda m, x: TOOLS.scaled(m.fc(x)), lambda m: setattr(TOOLS, "scale", 2.0)),
    "module imported inside": (_imports, lambda m: setattr(TOOLS, "scale", 2.0)),
    "class attribute": (lambda m, x: m.fc(x) * m.K, lambda m: setattr(type(m), "K", 2.0)),
    "class attribute behind a method": (lambda m, x: m.scaled(m.fc(x)), lambda m: setattr(type(m), "K", 2.0)),
    "table of the class": (
        lambda m, x: m.fc(x) * m.TABLE["scales"][0],
        lambda m: type(m).TABLE["scales"].__setitem__(0, 2.0),
    ),
    "attribute by a name in a variable": (_by_name, lambda m: setattr(m.cfg, "scale", 2.0)),
    "method patched": (
        lambda m, x: m.scaled(m.fc(x)),
        lambda m: setattr(type(m), "scaled", lambda self, y: y * 5),
    ),
    "forward patched on the class": (
        lambda m, x: m.fc(x),
        lambda m: setattr(type(m), "forward", _patched),
    ),
    "forward patched on the object": (
        lambda m, x: m.fc(x),
        lambda m: setattr(m, "forward", types.MethodType(_patched, m)),
    ),
    "code replaced": (
        lambda m, x: m.fc(x),
        lambda m: setattr(type(m).forward, "__code__", _patched.__code__),
    ),
    "layer in a list, in place": (
        lambda m, x: m.plain[0](m.fc(x)),
        lambda m: m.plain[0].weight.data.mul_(2),
    ),
    "layer in a list, loaded": (
        lambda m, x: m.plain[0](m.fc(x)),
        lambda m: m.plain[0].load_state_dict(nn.Linear(3, 3).state_dict()),
    ),
    "layer in a list, new weight": (
        lambda m, x: m.plain[0](m.fc(x)),
        lambda m: setattr(m.plain[0], "weight", nn.Parameter(torch.randn(3, 3))),
    ),
    "layer in a list, new storage": (
        lambda m, x: m.plain[0](m.fc(x)),
        lambda m: _replace_storage(m.plain[0]),
    ),
    "layer in a list, replaced": (
        lambda m, x: m.plain[0](m.fc(x)),
        lambda m: m.plain.__setitem__(0, nn.Linear(3, 3)),
    ),
    "layer in an object": (
        lambda m, x: m.holder.layer(m.fc(x)),
        lambda m: setattr(m.holder.layer, "bias", nn.Parameter(torch.ones(3))),
    ),
    "layer in a global": (lambda m, x: LAYER(m.fc(x)), lambda m: _replace_storage(LAYER)),
    "parameter through data": (lambda m, x: m.fc(x), lambda m: m.fc.weight.data.mul_(2)),
    "parameter replaced": (
        lambda m, x: m.fc(x),
        lambda m: setattr(m.fc, "weight", nn.Parameter(torch.randn(3, 4))),
    ),
    "hook": (lambda m, x: m.fc(x), lambda m: m.fc.register_forward_hook(lambda *a: a[2] * 2)),
}


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    global NUMBER
    monkeypatch.setitem(sys.modules, "tests_watching_tools", TOOLS)
    second, code = second_helper, {f: f.__code__ for f, _ in ROWS.values()}
    yield
    NUMBER, TOOLS.scale = 1.0, 1.0
    GLOBAL.update(scale=1.0)
    globals()["second_helper"] = second
    _default.__defaults__[0][0] = 1.0  # type: ignore[index]
    for function, kept in code.items():
        function.__code__ = kept


@pytest.mark.parametrize("name", ROWS)
def test_a_change_is_seen(name: str) -> None:
    forward, change = ROWS[name]
    model, x = _module(forward), torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    before = relprop.explain(model, x, 0, "gradient-x-input")
    change(model)
    after = relprop.explain(model, x, 0, "gradient-x-input")
    with torch.no_grad():
        assert_close_to_rounding(after.outputs, model(x), model)
    assert float((after.outputs - before.outputs).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ROWS)
def test_what_stays_is_captured_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the model run again: all of this can be watched."""
    captures, runs = [], []
    real, live = capturing._capture, relprop.tracing.values.live_output
    monkeypatch.setattr(capturing, "_capture", lambda *a: captures.append(1) or real(*a))
    monkeypatch.setattr(
        relprop.tracing.values, "live_output", lambda *a, **k: runs.append(1) or live(*a, **k)
    )
    model, x = _module(ROWS[name][0]), torch.randn(2, 4)
    for _ in range(3):
        relprop.trace(model, x)
    with torch.no_grad():
        model(x)
    relprop.trace(model, x)
    assert len(captures) == 1
    assert runs.count(1) <= 2
    assert fingerprint(model, model).unwatched == ""


STREAM = iter(lambda: 1.0, 2.0)
RANDOM = random.Random(0)


def _draw(m: Base, x: Tensor) -> Tensor:
    return m.fc(x) * random.random()


def _step(m: Base, x: Tensor) -> Tensor:
    return m.fc(x) * next(STREAM)


def _object(m: Base, x: Tensor) -> Tensor:
    return m.fc(x) * RANDOM.random()


UNSEEN = {"random numbers of Python": _draw, "an iterator": _step, "a generator of Python": _object}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_cannot_be_watched_is_known(name: str) -> None:
    model = _module(UNSEEN[name])
    assert fingerprint(model, model).unwatched


def test_the_attributes_that_no_code_reads_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer, a log, a data set that hang on a model change all the time."""
    captures = []
    real = capturing._capture
    monkeypatch.setattr(capturing, "_capture", lambda *a: captures.append(1) or real(*a))
    model, x = _module(lambda m, x: m.fc(x)), torch.randn(2, 4)
    model.trainer = types.SimpleNamespace(log=[], iterator=iter([1]))
    for i in range(3):
        relprop.trace(model, x)
        model.trainer.log.append([i])
    assert len(captures) == 1
    assert fingerprint(model, model).unwatched == ""
