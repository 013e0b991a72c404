"""What hooks and modules keep is as before the call: no tensor of ours, symbolic or not, also when it raises."""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import relprop
from relprop.errors import RelpropError

#: What is said of large biases and the like is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning")

X = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
KEPT: list[Any] = []
LAST: Any = "nothing"
SPACE = SimpleNamespace(last="nothing", inner={"deep": [[]]})


class Slotted:
    __slots__ = ("items", "later")

    def __init__(self) -> None:
        self.items = ["first"]


class Keeper(nn.Module):
    """Keeps what comes by in the way of `keep`."""

    seen: Any = ()
    shared: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, keep: Callable[[Keeper, Tensor], None]) -> None:
        super().__init__()
        self.keep = keep
        self.last: Any = "nothing"
        self.items = ["first"]
        self.table = defaultdict(list, {"first": [1]})
        self.queue: deque[Any] = deque(["first"], maxlen=3)
        self.bag = {"first"}
        self.ordered = OrderedDict(first=1, second=2)
        self.nested: dict[str, Any] = {"a": [{"b": ("c", [])}]}
        self.slotted = Slotted()

    def forward(self, x: Tensor) -> Tensor:
        self.keep(self, x)
        return x


def set_global(_: Keeper, x: Tensor) -> None:
    global LAST
    LAST = x


def set_new_global(_: Keeper, x: Tensor) -> None:
    global NEW
    NEW = x  # type: ignore[name-defined]


def reorder(k: Keeper, x: Tensor) -> None:
    k.ordered["first"] = x
    k.ordered.move_to_end("first")


def replace(k: Keeper, x: Tensor) -> None:
    k.items[0] = x
    k.table.pop("first")
    k.table["first"].append(x)


@lru_cache
def scaled(size: int) -> Tensor:
    return torch.ones(size) * 2


KEEPS: dict[str, Callable[[Keeper, Tensor], Any]] = {
    "attribute": lambda k, x: setattr(k, "last", x),
    "new attribute": lambda k, x: setattr(k, "fresh", x),
    "list": lambda k, x: k.items.append(x),
    "replaced": replace,
    "emptied": lambda k, x: (k.items.clear(), k.bag.clear(), k.queue.clear(), k.table.clear()),
    "defaultdict": lambda k, x: k.table["new"].append(x),
    "element of a defaultdict": lambda k, x: k.table["first"].append(x),
    "deque": lambda k, x: k.queue.extend([x, x, x]),
    "set": lambda k, x: k.bag.add(x),
    "ordered": reorder,
    "nested": lambda k, x: k.nested["a"][0]["b"][1].append(x),
    "slots": lambda k, x: (k.slotted.items.append(x), setattr(k.slotted, "later", x)),
    "class attribute": lambda k, x: setattr(Keeper, "seen", x),
    "new class attribute": lambda k, x: setattr(Keeper, "unseen", x),
    "class dictionary": lambda k, x: k.shared.__setitem__("last", x),
    "global list": lambda k, x: KEPT.append(x),
    "global": set_global,
    "new global": set_new_global,
    "namespace": lambda k, x: (setattr(SPACE, "last", x), SPACE.inner["deep"][0].append(x)),
    "module": lambda k, x: setattr(sys.modules[__name__], "LAST", x),
    "shapes": lambda k, x: k.items.append(x.shape),
    "counter": lambda k, x: k.items.append(len(k.items)),
}


def state(keeper: Keeper) -> Any:
    """Everything that may be written to, by identity."""

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return [type(value), [(key, told(v)) for key, v in value.items()]]
        if isinstance(value, (list, tuple, deque)):
            return [type(value), [told(v) for v in value]]
        if isinstance(value, set):
            return [set, sorted(map(id, value))]
        return value if isinstance(value, (str, int)) else id(value)

    slots = [keeper.slotted.items, getattr(keeper.slotted, "later", None)]
    own = {name: told(value) for name, value in vars(keeper).items() if name != "keep"}
    klass = {name: told(value) for name, value in vars(Keeper).items() if not name.startswith("__")}
    return own, klass, told(slots), told(KEPT), told(LAST), told(vars(SPACE)), "NEW" in globals()


@pytest.mark.parametrize("name", KEEPS)
@pytest.mark.parametrize("fails", [False, True])
def test_things_are_as_before(name: str, fails: bool) -> None:
    keeper = Keeper(KEEPS[name])
    tail = nn.Softmax(1) if not fails else _Fails()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), keeper, nn.ReLU(), nn.Flatten(), nn.Linear(144, 3), tail).eval()
    before = state(keeper)
    method = "gradient"
    if fails:
        with pytest.raises(RelpropError):
            relprop.explain(model, X, 1, method)
    else:
        relprop.explain(model, X, 1, method)
    assert state(keeper) == before


class _Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x


class Catcher:
    """An object whose bound method is the hook."""

    def __init__(self) -> None:
        self.found: list[Any] = []

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.found.append(output)

    def caught(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self.found.append(output)


def hooks() -> dict[str, tuple[Callable[..., Any], Callable[[], Any]]]:
    found: dict[str, Any] = {"kept": torch.ones(2)}
    items: list[Any] = []
    catcher = Catcher()
    last = None

    def nonlocal_hook(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal last
        last = output

    def given(store: list[Any], module: nn.Module, args: Any, output: Tensor) -> None:
        store.append(output)

    def default(module: nn.Module, args: Any, output: Tensor, store: list[Any] = items) -> None:
        store.append(output)

    return {
        "closure": (lambda m, a, o: found.__setitem__("conv", o), lambda: list(found.items())),
        "replaced": (lambda m, a, o: found.__setitem__("kept", o), lambda: list(found.items())),
        "bound method": (catcher.caught, lambda: list(catcher.found)),
        "callable object": (catcher, lambda: list(catcher.found)),
        "partial": (partial(given, items), lambda: list(items)),
        "default": (default, lambda: list(items)),
        "nonlocal": (nonlocal_hook, lambda: [last]),
        "built-in": (lambda m, a, o: items.extend([o]), lambda: list(items)),
    }


@pytest.mark.parametrize("name", hooks())
@pytest.mark.parametrize("where", ["forward", "before", "any module"])
def test_hooks_keep_what_they_had(name: str, where: str) -> None:
    hook, look = hooks()[name]
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    if where == "forward":
        handle = model[0].register_forward_hook(hook)
    elif where == "before":
        handle = model[0].register_forward_pre_hook(lambda m, a: hook(m, a, a[0]))
    else:
        handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        model(X)
        before = look()
        assert any(
            type(part) is Tensor for pair in before for part in (pair if isinstance(pair, tuple) else [pair])
        )
        for method in ("gradient", "lrp-composite"):
            relprop.explain(model, X, 1, method)
        after = look()
    finally:
        handle.remove()
    assert [id(p) for pair in after for p in (pair if isinstance(pair, tuple) else [pair])] == [
        id(p) for pair in before for p in (pair if isinstance(pair, tuple) else [pair])
    ]


def test_a_cached_function_forgets_symbolic_tensors() -> None:
    scaled.cache_clear()
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 3), Keeper(lambda k, x: setattr(k, "last", scaled(3)))
    ).eval()
    relprop.explain(model, X, 1, "gradient")
    assert type(scaled(3)) is Tensor
    assert scaled(3).tolist() == [2.0, 2.0, 2.0]


class Importing(OrderedDict[str, Any]):
    """A table that fetches things when it is listed, and fails at some: `transformers` has such."""

    def _fetch(self, *_: Any) -> Any:
        raise ImportError

    keys = values = items = __iter__ = __len__ = _fetch


def test_containers_with_methods_of_their_own_are_not_called() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)
            self.table = Importing()

        def forward(self, x: Tensor) -> Tensor:
            OrderedDict.__setitem__(self.table, "last", x)
            return self.net(x)  # type: ignore[no-any-return]

    model = Net().eval()
    OrderedDict.__setitem__(model.table, "last", "nothing")
    relprop.explain(model, torch.randn(1, 3), 0, "lrp-0")
    assert list(OrderedDict.items(model.table)) == [("last", "nothing")]
