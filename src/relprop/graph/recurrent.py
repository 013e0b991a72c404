"""Recurrent: LSTM, GRU and plain recurrent layers, written out step by step in the operators that rules know."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import fx

from relprop.graph.fx_call import Call, op_name

__all__ = ["RECURRENT", "cell", "layers"]

aten = torch.ops.aten


@dataclass(frozen=True)
class _Weights:
    """Weights of one direction of one layer, and how they are applied."""

    w_ih: fx.Node
    w_hh: fx.Node
    b_ih: fx.Node | None = None
    b_hh: fx.Node | None = None
    w_hr: fx.Node | None = None

    def of_input(self, call: Call, x: fx.Node) -> fx.Node:
        """What a layer makes of its input, of all steps at once."""
        return call(aten.linear.default, x, self.w_ih, self.b_ih)

    def of_state(self, call: Call, h: fx.Node) -> fx.Node:
        """What a layer makes of its state from the step before."""
        return call(aten.linear.default, h, self.w_hh, self.b_hh)

    @classmethod
    def all_of(cls, given: dict[str, Any]) -> list[_Weights]:
        """As an operator takes them: layer by layer, forwards and backwards in turn."""
        params = list(given["params"])
        count = given["num_layers"] * (2 if given["bidirectional"] else 1)
        size = len(params) // count
        groups = [params[i * size : (i + 1) * size] for i in range(count)]
        if given["has_biases"]:
            return [cls(*group) for group in groups]
        return [cls(w, u, w_hr=more[0] if more else None) for w, u, *more in groups]


State = tuple[fx.Node, ...]
"""(h,), or (h, c) of an LSTM."""

Step = Callable[[Call, _Weights, fx.Node, State], State]
"""(call, weights, what is made of the input, state before) -> state behind."""


def _part(call: Call, node: fx.Node, index: int, of: int) -> fx.Node:
    size = node.meta["val"].shape[-1] // of
    return call(aten.slice.Tensor, node, -1, index * size, (index + 1) * size)


def _lstm(call: Call, weights: _Weights, seen: fx.Node, state: State) -> State:
    """Write c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'), for i, f, g, o of the input and the state."""
    h, c = state
    sums = call(aten.add.Tensor, seen, weights.of_state(call, h))
    i, f, o = (call(aten.sigmoid.default, _part(call, sums, n, 4)) for n in (0, 1, 3))
    g = call(aten.tanh.default, _part(call, sums, 2, 4))
    c = call(aten.add.Tensor, call(aten.mul.Tensor, f, c), call(aten.mul.Tensor, i, g))
    h = call(aten.mul.Tensor, o, call(aten.tanh.default, c))
    if weights.w_hr is not None:
        h = call(aten.linear.default, h, weights.w_hr)
    return h, c


def _gru(call: Call, weights: _Weights, seen: fx.Node, state: State) -> State:
    """Write h' = (1 - z) n + z h with n = tanh(x_n + r h_n), for r, z, n of the input and the state."""
    (h,) = state
    kept = weights.of_state(call, h)
    r, z = (
        call(
            aten.sigmoid.default,
            call(aten.add.Tensor, _part(call, seen, n, 3), _part(call, kept, n, 3)),
        )
        for n in (0, 1)
    )
    memory = call(aten.mul.Tensor, r, _part(call, kept, 2, 3))
    new = call(aten.tanh.default, call(aten.add.Tensor, _part(call, seen, 2, 3), memory))
    rest = call(aten.rsub.Scalar, z, 1)
    return (call(aten.add.Tensor, call(aten.mul.Tensor, rest, new), call(aten.mul.Tensor, z, h)),)


def _plain(activation: Any) -> Step:
    def step(call: Call, weights: _Weights, seen: fx.Node, state: State) -> State:
        """Write h' = f(x + u), for what is made of the input and of the state."""
        sums = call(aten.add.Tensor, seen, weights.of_state(call, state[0]))
        return (call(activation, sums),)

    return step


_STEPS: dict[str, Step] = {
    "lstm": _lstm,
    "gru": _gru,
    "rnn_tanh": _plain(aten.tanh.default),
    "rnn_relu": _plain(aten.relu.default),
}
RECURRENT = frozenset(_STEPS)
"""Names of the operators that are whole layers."""


def layers(call: Call, given: dict[str, Any], node: fx.Node) -> list[fx.Node | None] | None:
    """Layers of one kind, one after another: [output, last state h(, last state c)], None what nobody reads.

    None where the number of steps isn't known, or samples of different lengths are packed.
    """
    if "batch_first" not in given:
        return None
    axis = 1 if given["batch_first"] else 0
    step = _STEPS[op_name(node)]
    x, hx = given["input"], given["hx"]
    steps = x.meta["val"].shape[axis]
    if not isinstance(steps, int):
        return None
    states = [call(aten.unbind.int, s, 0) for s in (hx if isinstance(hx, (list, tuple)) else [hx])]
    directions = 2 if given["bidirectional"] else 1
    weights = _Weights.all_of(given)
    last: list[State] = []
    ways: list[list[fx.Node]] = []  # what each direction of a layer gives, step by step
    for index, own in enumerate(weights):
        if len(ways) == directions:
            x, ways = _joined(call, ways, axis), []
        seen = own.of_input(call, x)
        each = call(aten.unbind.int, seen, axis)
        state = _as_signals(call, seen, axis, [call(operator.getitem, s, index) for s in states])
        backwards = index % directions == 1
        order = reversed(range(steps)) if backwards else range(steps)
        ran = _run(call, node, step, own, [call(operator.getitem, each, t) for t in order], state)
        last.append(ran[-1])
        along = [state[0] for state in ran]
        ways.append(along[::-1] if backwards else along)
    read = {user.args[1] for user in node.users if user.target is operator.getitem and user.users}
    ends = [
        call(aten.stack.default, [state[k] for state in last], 0) if k + 1 in read else None
        for k in range(len(states))
    ]
    return [_joined(call, ways, axis), *ends]  # the output last: it is what the module's name stands for


def _joined(call: Call, ways: list[list[fx.Node]], axis: int) -> fx.Node:
    """The output of a layer: its steps along an axis, its directions side by side."""
    stacks = [call(aten.stack.default, along, axis) for along in ways]
    return stacks[0] if len(stacks) == 1 else call(aten.cat.default, stacks, -1)


def _run(
    call: Call, place: fx.Node, step: Step, weights: _Weights, seen: list[fx.Node], state: State
) -> list[State]:
    """The states behind each step. The later ones are copies of the first: the same calls on other values."""
    made: list[fx.Node] = []

    def noted(*args: Any, **kwargs: Any) -> fx.Node:
        made.append(call(*args, **kwargs))
        return made[-1]

    found = [step(noted, weights, seen[0], state)]
    for each in seen[1:]:
        other = {seen[0]: each, **dict(zip(state, found[-1], strict=True))}
        for node in made:
            with place.graph.inserting_before(place):
                other[node] = place.graph.node_copy(node, partial(_looked_up, other))
        found.append(tuple(other[n] for n in found[0]))
    return found


def _looked_up(other: dict[fx.Node, fx.Node], node: fx.Node) -> fx.Node:
    return other.get(node, node)


def cell(call: Call, given: dict[str, Any], node: fx.Node) -> list[fx.Node] | fx.Node:
    """One step, as `nn.LSTMCell` and the like take it."""
    hx = given["hx"]
    weights = _Weights(given["w_ih"], given["w_hh"], given["b_ih"], given["b_hh"])
    seen = weights.of_input(call, given["input"])
    state = _as_signals(call, seen, None, list(hx) if isinstance(hx, (list, tuple)) else [hx])
    found = _STEPS[op_name(node).removesuffix("_cell")](call, weights, seen, state)
    return list(found) if len(found) > 1 else found[0]


def _as_signals(call: Call, seen: fx.Node, axis: int | None, state: list[fx.Node]) -> State:
    """The state in front of the first step, with 0 times the input added.

    It changes no value, and makes the state a signal of the network also where it is a constant: what it
    contributes is then booked as bias, and doesn't fall to the gate that lets it through.
    """
    if axis is not None:
        seen = call(aten.select.int, seen, axis, 0)
    found = []
    for one in state:
        width = one.meta["val"].shape[-1]
        nothing = call(aten.mul.Scalar, call(aten.slice.Tensor, seen, -1, 0, width), 0.0)
        found.append(call(aten.add.Tensor, one, nothing))
    return tuple(found)
