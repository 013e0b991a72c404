"""Node and Graph: one tensor operator, and the list of them that a model is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from relprop.checks import place_name
from relprop.errors import InputError, unknown_name
from relprop.graph.kinds import LENDERS
from relprop.graph.weights import WeightCache

__all__ = ["Graph", "Node"]

T = TypeVar("T")
_NO_DEFAULT: Any = object()


@dataclass(eq=False, slots=True)
class Node:
    """One value of the graph and the operator that makes it.

    Attributes:
        index: position in the order of execution.
        name: unique name, as `torch.export` gave it ("conv2d_3"); the model's input is "input".
        op: plain operator name without overload and without the in-place underscore ("relu", "add").
        kind: what relevance sees: "linear", "activation", "add", "shape", ... (`relprop.graph.kinds`).
        target: the callable that computes the value (always the functional form).
        args: positional arguments; other nodes stand for their values.
        kwargs: keyword arguments, likewise.
        arguments: all arguments by the names of the operator's own schema, those left out by their
            defaults; empty where there is no schema (`getitem`, arithmetic on sizes).
        module: path of the innermost module that ran the operator ("" for the model itself).
        modules: paths of all modules around it, outermost first.
        call: which call of the innermost module this is (0 for the first).
        source: file, line and text of the statement in the user's code.
        fqn: for parameters, buffers and constants their name in the model.
        dependent: whether the value depends on the model's input.
        bounds: between which numbers the graph proves every element to lie (`relprop.graph.ranges`).
        is_complex: whether the value is of complex numbers.
        batch_axis: the axis along which samples lie (alone or with something else), None if not known.
        per_sample: whether axis 0 is exactly the samples.
        rounds: the dtype that a cast rounds to; None: the value is what it was made from.
        users: the nodes that read this one.
    """

    index: int
    name: str
    op: str
    kind: str
    target: Callable[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    module: str = ""
    modules: tuple[str, ...] = ()
    call: int = 0
    source: str = ""
    fqn: str = ""
    dependent: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)
    is_complex: bool = False
    batch_axis: int | None = 0
    per_sample: bool = True
    rounds: torch.dtype | None = None
    users: list[Node] = field(default_factory=list)
    _operands: list[Node] | None = None

    def __repr__(self) -> str:
        return f"<{self.name}: {self.op}{f' in {self.module}' if self.module else ''}>"

    def argument(self, name: str, default: Any = _NO_DEFAULT) -> Any:
        """An argument of the operator by its name in the operator's own schema, such as "stride".

        Args:
            name: as in the schema (`torch.ops.aten.conv2d.default._schema`).
            default: for operators that have no argument of that name. What an argument is where the call
                leaves it out is known from the schema.

        Raises:
            KeyError: the operator has no such argument and no default is given; lists those it has.
        """
        if name in self.arguments:
            return self.arguments[name]
        if default is _NO_DEFAULT:
            raise KeyError(f"{self.where()} has no argument {name!r}, only {', '.join(self.arguments)}")
        return default

    @property
    def pair(self) -> tuple[Any, Any]:
        """What a sum, product, quotient or maximum combines: nodes or plain numbers."""
        return self.argument("self"), self.argument("other")

    @property
    def item(self) -> int:
        """Which value of a list this is (`getitem`, which has no schema)."""
        return int(self.args[1])

    def run(self, lookup: Callable[[Node], Any], function: Callable[..., Any] | None = None) -> Any:
        """Compute the value.

        Args:
            lookup: gives the values of the operands, asked once for each occurrence, in order.
            function: called in the operator's place, with the same arguments.
        """
        function = self.target if function is None else function
        assert function is not None
        args = [_filled(a, lookup) for a in self.args]
        return function(*args, **{k: _filled(v, lookup) for k, v in self.kwargs.items()})

    @property
    def nonneg(self) -> bool:
        """Whether the graph proves every element to be >= 0."""
        return self.bounds[0] >= 0

    def operands(self) -> list[Node]:
        """All nodes among the arguments, in order, each occurrence once."""
        if self._operands is None:
            self._operands = list(_nodes((self.args, tuple(self.kwargs.values()))))
        return self._operands

    def reads(self) -> list[Node]:
        """The operands whose values count: all but the one that lends its shape (`kinds.LENDERS`)."""
        found = self.operands()
        if self.op in LENDERS:
            lender = self.arguments[LENDERS[self.op]]
            last = len(found) - 1 - found[::-1].index(lender)
            found = found[:last] + found[last + 1 :]
        return found

    def signals(self) -> list[Node]:
        """The operands whose values count and depend on the model's input."""
        return [n for n in self.reads() if n.dependent]

    def where(self) -> str:
        """Where a person finds this operator: operator, module path and source line."""
        place = f"in module {self.module!r}" if self.module else "in the model itself"
        return (
            f"operator '{self.op}' (node {self.name!r}, {place}{f', {self.source}' if self.source else ''})"
        )


def _filled(tree: Any, lookup: Callable[[Node], Any]) -> Any:
    if isinstance(tree, Node):
        return lookup(tree)
    if isinstance(tree, (list, tuple)):
        return [_filled(part, lookup) for part in tree]
    return tree


def _nodes(tree: Any) -> Iterator[Node]:
    if isinstance(tree, Node):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for part in tree:
            yield from _nodes(part)


@dataclass(eq=False)
class Graph:
    """A model as operators in order of execution.

    It holds names of parameters, not the parameters: `bind` looks them up in the live model, so
    that changed, moved or replaced weights are always the ones used.

    Attributes:
        nodes: every node, parameters and constants included, in order of execution.
        input: the node of the model's input.
        rebuild: turns the flat list of output values into the structure that the model returns.
        outputs: the flat list of output nodes (or plain values).
        constants: tensors that the model made while it was captured.
        static_batch: the only batch size the graph runs at, or None for any.
        weights: cache of derived weights; goes with the graph.
        watched: whether everything that the model's code reads is looked at before every use of the graph.
        key: the model's fingerprint when the graph was captured.
        volatile: whether the forward pass itself changes what the fingerprint is made of.
        narrowest: the narrowest dtype that a part of the model computes in, where that is narrower than float32.
        mixed: whether some of the values that depend on the input are double or complex, and some are not.
        double: whether all of them are double.
        checked: the sizes and layouts of batches whose output was held against the model's own.
        reorders: whether another order of maps in memory gives the same output (`relprop.tracing.channels`).
        unseen: what autograd's gradient comes through and this graph's doesn't, in words (`graph.unseen`).
        meetings: where the samples of a batch meet, by the number of samples that were tried (`graph.samples`).
        sizes: what the values take, by the input's shape, dtype and device (`tracing.segments`).
    """

    nodes: list[Node]
    input: Node
    outputs: list[Any]
    rebuild: Callable[[list[Any]], Any]
    constants: dict[str, Tensor]
    static_batch: int | None = None
    weights: WeightCache = field(default_factory=WeightCache)
    watched: bool = True
    key: int = 0
    volatile: bool = False
    narrowest: torch.dtype | None = None
    mixed: bool = False
    double: bool = False
    checked: set[Any] = field(default_factory=set)
    reorders: bool = True
    unseen: tuple[str, ...] = ()
    meetings: dict[int, Node | None] = field(default_factory=dict)
    sizes: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_name = {n.name: n for n in self.nodes}
        self._derived: dict[Callable[[Graph], Any], Any] = {}
        self._closures: dict[tuple[Any, ...], frozenset[Node]] = {}
        self._modules: dict[str, list[Node]] = {}
        for node in self.nodes:
            for path in dict.fromkeys(node.modules):
                self._modules.setdefault(path, []).append(node)

    @property
    def output(self) -> Node:
        """The node of the model's single output tensor.

        Raises:
            InputError: when the model returns several tensors or none.
        """
        found = [n for n in self.outputs if isinstance(n, Node) and n.dependent]
        if len(found) != 1:
            raise InputError(
                f"Expected a model with one output tensor but it returns {len(found)}. Wrap it in a module "
                "that returns the tensor to be explained, or start from a named layer (start=... of a trace)."
            )
        return found[0]

    def find(self, place: str | Node) -> Node:
        """The node called `place`: a module path (its last call's last value), or a node name.

        `path@i` names the value of call i (from 0) of a module that is called several times. Where a
        module and a node have the same name the module is meant.

        Raises:
            UnknownNameError: with the closest and all valid names.
            InputError: a node of another graph, or what names nothing.
        """
        if isinstance(place, Node):
            if self.by_name.get(place.name) is not place:
                raise InputError(
                    f"Expected a node of this model's graph but {place!r} belongs to another one."
                )
            return place
        name = place_name("a place", place)
        if name is None:
            raise InputError("Expected the name of a module or node but got None.")
        path, _, call = name.partition("@")
        members = [n for n in self._modules.get(path, ()) if n.kind != "symbol"] if path else []
        if members and call:
            members = (
                [n for n in members if n.module == path and n.call == int(call)] if call.isdigit() else []
            )
        if members:
            return members[-1]
        if name in self.by_name:
            return self.by_name[name]
        valid = [n.name for n in self.nodes if n.dependent] + [p for p in self._modules if p]
        raise unknown_name("layer or node", name, valid)

    def bind(self, model: nn.Module, like: Tensor) -> dict[Node, Tensor]:
        """Look up every parameter, buffer and constant in the live model, as `like`'s dtype.

        Floating-point tensors narrower than float32 come back as float32 (relevance never runs in
        half precision).
        """
        bound: dict[Node, Tensor] = {}
        owners: dict[str, nn.Module] = {}
        usual = like.dtype
        for node in self.derived(_stored):
            if node.kind == "parameter":
                path, _, leaf = node.fqn.rpartition(".")
                owner = owners.get(path) or owners.setdefault(path, _module_at(model, path))
                # `getattr` tries everything else first; what is parametrised is in neither table.
                own: Tensor | None = owner._parameters.get(leaf)
                if own is None:
                    own = owner._buffers.get(leaf)
                value = (getattr(owner, leaf) if own is None else own).detach()
            else:
                value = self.constants[node.fqn].detach()
            dtype = value.dtype
            if dtype is not usual and dtype.is_floating_point and dtype.itemsize < 4:
                value = value.to(torch.float32)
            bound[node] = value
        return bound

    def derived(self, make: Callable[[Graph], T]) -> T:
        """What `make` finds out about the graph, kept with it.

        Two threads may find it out at once; both then have the one that was kept.
        """
        if make not in self._derived:
            self._derived.setdefault(make, make(self))
        found: T = self._derived[make]
        return found

    def ancestors(self, nodes: Sequence[Node]) -> frozenset[Node]:
        """All nodes that the given ones are computed from, themselves included."""
        return self._closure("ancestors", nodes, Node.operands)

    def descendants(self, nodes: Sequence[Node]) -> frozenset[Node]:
        """All nodes that are computed from the given ones, themselves included."""
        return self._closure("descendants", nodes, lambda n: n.users)

    def _closure(
        self, name: str, nodes: Sequence[Node], step: Callable[[Node], list[Node]]
    ) -> frozenset[Node]:
        key = (name, *nodes)
        if key not in self._closures:
            seen: set[Node] = set()
            stack = list(nodes)
            while stack:
                node = stack.pop()
                if node not in seen:
                    seen.add(node)
                    stack.extend(step(node))
            self._closures[key] = frozenset(seen)
        return self._closures[key]


def _stored(graph: Graph) -> list[Node]:
    """The nodes whose values are looked up, not computed."""
    return [n for n in graph.nodes if n.kind in ("parameter", "constant")]


def _module_at(model: nn.Module, path: str) -> nn.Module:
    """`get_submodule`, straight through the tables of modules."""
    module: nn.Module | None = model
    for name in path.split(".") if path else ():
        module = None if module is None else module._modules.get(name)
    return model.get_submodule(path) if module is None else module
