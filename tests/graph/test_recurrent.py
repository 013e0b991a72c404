"""LSTM, GRU and plain recurrent layers: written out right, with gates held fixed under LRP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused
from tests.rules.build import Fn
from torch import Tensor, nn

import relprop
from relprop.errors import InputError

pytestmark = [
    pytest.mark.filterwarnings("ignore::relprop.errors.RelpropWarning"),
    pytest.mark.filterwarnings("ignore:dropout option adds dropout"),
]

X = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TERMS = 5 * 100


def held(value: Tensor) -> Tensor:
    """A gate, as a constant."""
    return value.detach()


def kept(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """An activation by its ratio: f(z) = z · (f(z) / z), the ratio a constant."""
    return z * (f(z) / z).detach()


def lstm_step(p: list[Tensor | None], x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    w, u, b, d = (*p, None, None)[:4]
    i, f, g, o = (nn.functional.linear(x, w, b) + nn.functional.linear(h, u, d)).chunk(4, -1)  # type: ignore[arg-type]
    c = held(f.sigmoid()) * c + held(i.sigmoid()) * kept(torch.tanh, g)
    return held(o.sigmoid()) * kept(torch.tanh, c), c


def gru_step(p: list[Tensor | None], x: Tensor, h: Tensor) -> tuple[Tensor]:
    w, u, b, d = (*p, None, None)[:4]
    xr, xz, xn = nn.functional.linear(x, w, b).chunk(3, -1)  # type: ignore[arg-type]
    hr, hz, hn = nn.functional.linear(h, u, d).chunk(3, -1)  # type: ignore[arg-type]
    r, z = held((xr + hr).sigmoid()), held((xz + hz).sigmoid())
    return ((1 - z) * kept(torch.tanh, xn + r * hn) + z * h,)


def rnn_step(f: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor]]:
    def step(p: list[Tensor | None], x: Tensor, h: Tensor) -> tuple[Tensor]:
        w, u, b, d = (*p, None, None)[:4]
        return (kept(f, nn.functional.linear(x, w, b) + nn.functional.linear(h, u, d)),)  # type: ignore[arg-type]

    return step


def unrolled(net: nn.RNNBase, x: Tensor, step: Callable[..., Any], state: Tensor | None = None) -> Tensor:
    """The output of recurrent layers, (N, steps, ...) in and out, with everything that gates held fixed."""
    index = 0
    for _ in range(net.num_layers):
        directions = []
        for backwards in (False, True)[: 2 if net.bidirectional else 1]:
            params = list(net._all_weights[index])
            p: list[Tensor | None] = [getattr(net, name) for name in params if "hr" not in name]
            project = [getattr(net, name) for name in params if "hr" in name]
            width = getattr(net, "proj_size", 0) or net.hidden_size
            h = x.new_zeros(len(x), width) if state is None else state[index].expand(len(x), -1)
            held_state = [h, x.new_zeros(len(x), net.hidden_size)] if isinstance(net, nn.LSTM) else [h]
            out = []
            for t in reversed(range(x.shape[1])) if backwards else range(x.shape[1]):
                held_state = list(step(p, x[:, t], *held_state))
                if project:
                    held_state[0] = held_state[0] @ project[0].T
                out.append(held_state[0])
            directions.append(torch.stack(out[::-1] if backwards else out, 1))
            index += 1
        x = torch.cat(directions, -1)
    return x


NETS: dict[str, tuple[Callable[[], nn.RNNBase], Callable[..., Any]]] = {
    "lstm": (lambda: nn.LSTM(4, 3, batch_first=True), lstm_step),
    "two layers both ways": (lambda: nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True), lstm_step),
    "projected": (lambda: nn.LSTM(4, 3, 2, batch_first=True, proj_size=2), lstm_step),
    "projected without biases": (lambda: nn.LSTM(4, 3, batch_first=True, proj_size=2, bias=False), lstm_step),
    "lstm, steps first": (lambda: nn.LSTM(4, 3, 2, dropout=0.5), lstm_step),
    "gru": (lambda: nn.GRU(4, 3, 2, batch_first=True), gru_step),
    "gru both ways without biases": (
        lambda: nn.GRU(4, 3, bidirectional=True, bias=False, batch_first=True),
        gru_step,
    ),
    "rnn": (lambda: nn.RNN(4, 3, 2, batch_first=True, bidirectional=True), rnn_step(torch.tanh)),
    "rnn of relu": (lambda: nn.RNN(4, 3, nonlinearity="relu"), rnn_step(torch.relu)),
}


def made(name: str) -> tuple[nn.RNNBase, Callable[..., Any]]:
    torch.manual_seed(0)
    make, step = NETS[name]
    return make().double().eval(), step


def through(m: Any, x: Tensor) -> Tensor:
    out: Tensor = m.net(x)[0] if m.net.batch_first else m.net(x.transpose(0, 1))[0].transpose(0, 1)
    return out


def relevance_by_gradient(score: Callable[[Tensor], Tensor], x: Tensor = X) -> Tensor:
    leaf = x.clone().requires_grad_()
    return x * torch.autograd.grad(score(leaf).sum(), leaf)[0]


@pytest.mark.parametrize("name", NETS)
def test_relevance_is_the_gradient_with_gates_held_fixed(name: str) -> None:
    net, step = made(name)
    model = Fn(lambda m, x: through(m, x).flatten(1), net=net)
    found = relprop.explain(model, X, 7, "lrp-0")
    assert found.ledger is not None
    assert found.ledger.closes, str(found.ledger)
    assert_close_to_rounding(found.outputs, model(X).detach(), TERMS)
    expected = relevance_by_gradient(lambda x: unrolled(net, x, step).flatten(1)[:, 7])
    assert_close_to_rounding(found.relevance, expected, TERMS)
    found = relprop.explain(model, X, 7, "gradient-x-input")
    assert_close_to_rounding(found.relevance, relevance_by_gradient(lambda x: model(x)[:, 7]), TERMS)


METHODS = (
    "lrp-epsilon lrp-gamma lrp-alpha-beta lrp-composite attnlrp excitation-backprop rap deep-taylor".split()
)


@pytest.mark.filterwarnings("ignore:excitation-backprop assumes")
@pytest.mark.parametrize("method", METHODS)
def test_every_rule_keeps_the_books(method: str) -> None:
    for name in ("two layers both ways", "gru"):
        net, _ = made(name)
        model = Fn(lambda m, x: m.head(through(m, x).mean(1)), net=net, head=nn.LazyLinear(3).double())
        model(X)
        found = relprop.explain(model, X, 1, method)
        assert found.ledger is not None
        assert found.ledger.closes, str(found.ledger)


def last_states(m: Any, x: Tensor) -> Tensor:
    state = m.net(x)[1]
    return torch.cat([*state] if isinstance(state, tuple) else [state], -1).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("name", ["two layers both ways", "gru", "projected", "rnn"])
def test_the_last_states_are_outputs_too(name: str) -> None:
    net, _ = made(name)
    model = Fn(last_states, net=net)
    for target in (0, 4):
        found = relprop.explain(model, X, target, "gradient-x-input")
        assert_close_to_rounding(found.outputs, model(X).detach(), TERMS)
        expected = relevance_by_gradient(lambda x, target=target: model(x)[:, target])  # type: ignore[misc]
        assert_close_to_rounding(found.relevance, expected, TERMS)
        ledger = relprop.explain(model, X, target, "lrp-epsilon").ledger
        assert ledger is not None
        assert ledger.closes


def test_the_name_of_the_module_stands_for_its_output() -> None:
    net, _ = made("two layers both ways")
    model = Fn(lambda m, x: last_states(m, x) + m.net(x)[0].sum(1)[:, :1], net=net)
    trace = relprop.trace(model, X)
    assert_close_to_rounding(trace.value(trace.graph.find("net")), net(X)[0].detach(), TERMS)
    hidden = relprop.explain(
        Fn(last_states, net=net), X, 1, "lrp-0", start="net", region=torch.arange(6) == 2
    )
    expected = relevance_by_gradient(lambda x: unrolled(net, x, lstm_step)[:, 1, 2])
    assert_close_to_rounding(hidden.relevance, expected, TERMS)


def test_a_state_to_begin_with_is_booked_as_bias() -> None:
    """Also where a gate lets it through: nothing of it falls to the gate."""
    net, _ = made("gru")
    start = torch.randn(2, 1, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    model = Fn(lambda m, x: m.net(x, m.start.expand(-1, len(x), -1))[0].flatten(1), net=net, start=start)
    found = relprop.explain(model, X, 2, "lrp-0")
    expected = relevance_by_gradient(lambda x: unrolled(net, x, gru_step, start).flatten(1)[:, 2])
    assert_close_to_rounding(found.relevance, expected, TERMS)


def of_cells(kind: str) -> Callable[[Any, Tensor], Tensor]:
    def forward(m: Any, x: Tensor) -> Tensor:
        state: Any = None
        out = []
        for t in range(x.shape[1]):
            state = m.cell(x[:, t], state)
            out.append(state[0] if kind == "lstm" else state)
        return torch.stack(out, 1).flatten(1)

    return forward


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("method", ["lrp-0", "lrp-alpha-beta", "lrp:rule=z-plus"])
def test_a_loop_of_cells_is_the_layer(kind: str, method: str) -> None:
    """But for ε, which is relative to what one operator gives: the loop's gives one step, the layer's all."""
    torch.manual_seed(0)
    net = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind](4, 3, batch_first=True).double()
    cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[kind](4, 3).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in net.state_dict().items()})
    layer = Fn(lambda m, x: m.net(x)[0].flatten(1), net=net)
    loop = Fn(of_cells(kind), cell=cell)
    found, expected = (relprop.explain(m.eval(), X, 13, method) for m in (loop, layer))
    assert_close_to_rounding(found.outputs, expected.outputs, TERMS)
    assert_close_to_rounding(found.relevance, expected.relevance, TERMS)


def test_an_lstm_by_hand_is_the_layer() -> None:
    net, _ = made("lstm")

    def by_hand(m: Any, x: Tensor) -> Tensor:
        w, u, b, d = m.net.all_weights[0]
        h = c = x.new_zeros(len(x), 3)
        out = []
        for t in range(x.shape[1]):
            i, f, g, o = (nn.functional.linear(x[:, t], w, b) + nn.functional.linear(h, u, d)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            out.append(h)
        return torch.stack(out, 1).flatten(1)

    found = relprop.explain(Fn(by_hand, net=net), X, 13, "lrp-0")
    expected = relprop.explain(Fn(lambda m, x: m.net(x)[0].flatten(1), net=net), X, 13, "lrp-0")
    assert_close_to_rounding(found.relevance, expected.relevance, TERMS)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # torch.export's, of itself
def test_torch_exports_as_before_afterwards() -> None:
    """While a model is captured its recurrent layers tell shapes alone."""
    net, _ = made("gru")
    operator: Any = torch.ops.aten.gru.input
    before = dict(operator.py_kernels)
    relprop.explain(Fn(lambda m, x: m.net(x)[0].flatten(1), net=net), X, 1, "lrp-0")
    assert operator.py_kernels == before
    exported = torch.export.export(net, (X,)).run_decompositions().module()
    assert_close_to_rounding(exported(X)[0].detach(), net(X)[0].detach(), TERMS)


def test_what_is_refused() -> None:
    drops, one, first = nn.LSTM(4, 3, 2, dropout=0.5), nn.LSTM(4, 3, dropout=0.5), nn.LSTM(5, 3)
    assert_refused(
        InputError,
        (
            lambda: relprop.explain(
                Fn(lambda m, x: m.net(x.transpose(0, 1))[0][-1], net=drops), X.float(), 0
            ),
            r"operator 'lstm' in net runs in training mode. Call model.eval\(\)",
        ),
        (
            lambda: relprop.explain(Fn(lambda m, x: m.net(x.mT)[0][:, -1], net=first).eval(), X.float(), 0),
            r"samples that don't meet in the network but .* in module 'net'",
        ),
    )
    # Without layers to drop between, training changes nothing.
    model = Fn(lambda m, x: m.net(x.transpose(0, 1))[0][-1], net=one)
    ledger = relprop.explain(model, X.float(), 0, "lrp-0").ledger
    assert ledger is not None
    assert ledger.closes
