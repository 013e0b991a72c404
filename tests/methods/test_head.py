"""Networks that end in a sigmoid or the like: relevance is the logit's, signed as the output rises."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.nets import pictures, seeded
from torch import Tensor, nn

import relprop
from relprop.errors import UnsupportedOperatorError
from relprop.graph import capture
from relprop.methods.head import head_of

SPREADING = (
    "lrp-0", "lrp-epsilon", "lrp-gamma", "lrp-alpha-beta", "lrp-composite", "deep-taylor", "clrp", "crp",
    "excitation-backprop", "contrastive-excitation-backprop",
)  # fmt: skip
OTHERS = ("rsp", "contrastive-rsp", "rap")

Head = Callable[[Tensor], Tensor]

#: By name: what stands behind the logits, and whether the outputs rise with them.
HEADS: dict[str, tuple[Head, int]] = {
    "sigmoid": (torch.sigmoid, 1),
    "hardsigmoid": (nn.functional.hardsigmoid, 1),
    "hardsigmoid by hand": (lambda z: nn.functional.relu6(z + 3) / 6, 1),
    "softplus": (nn.functional.softplus, 1),
    "log-sigmoid": (nn.functional.logsigmoid, 1),
    "exp": (torch.exp, 1),
    "tanh brought to 0-1": (lambda z: (torch.tanh(z) + 1) / 2, 1),
    "elu + 1": (lambda z: nn.functional.elu(z) + 1, 1),
    "clamped": (lambda z: z.sigmoid().clamp(1e-7, 1 - 1e-7), 1),
    "surprise": (lambda z: -torch.log(1 - torch.sigmoid(z)), 1),
    "reshaped": (lambda z: z.sigmoid().reshape(z.shape[0], 1, -1).flatten(1), 1),
    "scaled": (lambda z: 2 * torch.sigmoid(z) - 0.25, 1),
    "1 - p": (lambda z: 1 - torch.sigmoid(z), -1),
    "-p": (lambda z: -torch.sigmoid(z), -1),
    "p / -2": (lambda z: torch.sigmoid(z) / -2.0, -1),
}


class Behind(nn.Module):
    """A network with something behind it."""

    def __init__(self, net: nn.Module, head: Head) -> None:
        super().__init__()
        self.net, self.head = net, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.net(x))


def net(classes: int = 4) -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(6 * 9, classes),
    )  # fmt: skip
    seeded(model, 4)
    return model


@cache
def behind(name: str) -> nn.Module:
    return Behind(net(), HEADS[name][0]).eval()


@cache
def turned(sign: int) -> nn.Sequential:
    """The network with its last weights times the sign."""
    model = net()
    with torch.no_grad():
        model[6].weight.mul_(sign)
        model[6].bias.mul_(sign)
    return model


X = pictures(2, 3, 10, 10)
ASKED = [0, 1, 2, 3]


@pytest.mark.parametrize("name", HEADS)
def test_relevance_is_the_logits(name: str) -> None:
    """Every method's map is that of the network without its head, times the sign."""
    _, sign = HEADS[name]
    plain = turned(1)
    assert bool((plain(X) < 0).any()), "some logit has to be negative"
    for method in SPREADING:
        e = relprop.explain(behind(name), X, ASKED, method)
        bare = relprop.explain(plain, X, ASKED, method)
        assert_close_to_rounding(e.relevance, sign * bare.relevance, plain)
        assert e.ledger is None or e.ledger.closes, method
        assert_close_to_rounding(e.extras["explained_value"], sign * plain(X).detach().T, plain)
        assert any("in front of the last" in note for note in e.notes), method


@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.parametrize("name", HEADS)
def test_others_are_the_logits(name: str, method: str) -> None:
    """Maps that don't turn over with their start are those of the network whose last weights are turned."""
    _, sign = HEADS[name]
    if sign < 0 and method == "contrastive-rsp":
        pytest.skip("its start is a difference of walks, not a derivative")
    e = relprop.explain(behind(name), X, ASKED, method)
    expected = relprop.explain(turned(sign), X, ASKED, method).relevance
    assert_close_to_rounding(e.relevance, expected, turned(sign), 1.0)


@pytest.mark.parametrize("join", ["cat", "stack", "assigned", "two heads"])
def test_joined(join: str) -> None:
    """Outputs that are made of one logit, or of several values."""
    plain = net(2 if join == "two heads" else 1)

    def head(z: Tensor) -> Tensor:
        p = z.sigmoid()
        if join == "two heads":
            return torch.cat([z[:, 1:].exp(), p[:, :1]], 1)
        if join == "assigned":
            both = torch.zeros(z.shape[0], 2, dtype=z.dtype)
            both[:, 0] = 1 - p[:, 0]
            both[:, 1:] = p
            return both
        return torch.cat([1 - p, p], 1) if join == "cat" else torch.stack([1 - p[:, 0], p[:, 0]], 1)

    rows, signs = ([1, 0], [1, 1]) if join == "two heads" else ([0, 0], [-1, 1])
    for method in ("lrp-0", "lrp-composite", "excitation-backprop"):
        e = relprop.explain(Behind(plain, head).eval(), X, [0, 1], method)
        bare = relprop.explain(plain, X, rows, method).relevance
        assert_close_to_rounding(e.relevance, torch.tensor(signs).reshape(2, 1, 1, 1, 1) * bare, plain)
        assert e.ledger.closes
    if join != "two heads":
        top = relprop.explain(Behind(plain, head).eval(), X, None, "lrp-0")
        assert bool((top.extras["explained_value"] >= 0).all()), (
            "the likelier of two is explained by its own side"
        )


@pytest.mark.parametrize("method", ["gradient", "gradient-x-input", "integrated-gradients", "grad-cam"])
def test_derivatives_are_the_outputs(method: str) -> None:
    """Methods of derivatives are right as they are, and stay with the output."""
    model = Behind(net(), lambda z: 1 - torch.sigmoid(z)).eval()
    e = relprop.explain(model, X, 1, method)
    assert "explained_value" not in e.extras
    assert not e.notes
    if method == "gradient":
        x = X.clone().requires_grad_()
        model(x)[:, 1].sum().backward()
        assert_close_to_rounding(e.relevance, x.grad, model)


def test_a_seed_is_a_seed() -> None:
    """`propagate` starts where it is told to, at the output."""
    model = Behind(net(), torch.sigmoid).eval()
    run = relprop.trace(model, X)
    seed = torch.ones_like(run.output)
    found = run.run(seed, relprop.Composite(name="LRP-0"))
    assert found.ledger.start == float(seed.sum())
    assert found.plan.rows[0].rule == "Identity()"


@pytest.mark.parametrize(
    "head",
    [torch.tanh, torch.relu, lambda z: z * 2 - 1, lambda z: -z, nn.functional.silu, lambda z: z.clamp(0, 1)],
    ids=["tanh", "relu", "affine", "minus", "silu", "clamp at 0"],
)
def test_no_head(head: Head) -> None:
    """What is 0 at 0 and rises, and what is affine, is explained as it is."""
    assert head_of(capture(Behind(net(), head).eval(), X)) is None


def test_softmax_is_refused() -> None:
    """Outputs that depend on several logits have none of their own, behind a logarithm too."""
    for head in (lambda z: z.softmax(1), lambda z: z.softmax(1).log(), lambda z: z.log_softmax(1).exp()):
        with pytest.raises(UnsupportedOperatorError, match="softmax"):
            relprop.explain(Behind(net(), head).eval(), X, 0, "lrp-0")


def test_inside() -> None:
    """A sigmoid inside stays, and is said."""
    plain = net()
    model = nn.Sequential(plain[0], nn.Sigmoid(), *plain[2:]).eval()
    e = relprop.explain(model, X, 0, "lrp-0")
    assert "explained_value" not in e.extras
    assert any("sigmoid inside the network" in note for note in e.notes)
    assert not e.warnings or all("sigmoid" not in text for text in e.warnings)


def test_inspect() -> None:
    """The table says where relevance starts."""
    coverage = relprop.inspect(Behind(net(), lambda z: 1 - torch.sigmoid(z)).eval(), X)
    assert coverage.start.startswith("in front of the last sigmoid, at net")
    assert "relevance starts in front of the last sigmoid" in str(coverage)
    assert [row.rule for row in coverage.rows[:2]] == ["ToLogit()", "ToLogit()"]
    assert relprop.inspect(net(), X).start == ""


def test_saved(tmp_path) -> None:
    """A folder tells what value it explains."""
    e = relprop.explain(Behind(net(), torch.sigmoid).eval(), X, [0, 2], "lrp-0")
    again = relprop.Explanation.load(e.save(tmp_path / "e"))
    assert again.notes == e.notes
    assert again.extras["explained_at"] == "net"
    assert torch.equal(again.extras["explained_value"], e.extras["explained_value"])
