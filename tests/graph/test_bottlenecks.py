"""Which networks are built of linear bottlenecks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import relprop
from relprop.graph.bottlenecks import bottleneck


def point(a: int, b: int) -> list[nn.Module]:
    return [nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b)]


def each(width: int, groups: int, activation: type[nn.Module]) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1, groups=groups), nn.BatchNorm2d(width), activation()]


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module, behind: nn.Module | None = None) -> None:
        super().__init__()
        self.inside, self.behind = nn.Sequential(*layers), behind or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(x + self.inside(x))  # type: ignore[no-any-return]


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()


def inverted(activation: type[nn.Module] = nn.ReLU6, gate: type[nn.Module] = nn.Identity) -> nn.Module:
    return Residual(*point(4, 8), activation(), *each(8, 8, activation), gate(), *point(8, 4))


NETS: dict[str, tuple[Callable[[], list[nn.Module]], str | None]] = {
    "inverted residuals": (lambda: [inverted(), inverted()], "0.inside.7"),
    "with SiLU and gates": (lambda: [inverted(nn.SiLU, Gate), inverted(nn.SiLU, Gate)], "0.inside.7"),
    "the last alone, whose result no convolution reads": (lambda: [inverted()], None),
    "grouped residuals behind ReLUs": (
        lambda: [Residual(*each(4, 2, nn.ReLU), *point(4, 4), behind=nn.ReLU()) for _ in range(2)],
        None,
    ),
    "grouped residuals behind SiLUs": (
        lambda: [Residual(*each(4, 2, nn.SiLU), *point(4, 4), behind=nn.SiLU()) for _ in range(2)],
        None,
    ),
    "separable convolutions": (
        lambda: [*(nn.Conv2d(4, 4, 3, groups=4), *point(4, 4), nn.ReLU())] * 2,
        None,
    ),
    "plain": (lambda: [*point(4, 4), nn.ReLU(), *point(4, 4), nn.ReLU()], None),
}


@pytest.mark.parametrize("name", NETS)
def test_which_networks_are(name: str) -> None:
    make, expected = NETS[name]
    torch.manual_seed(0)
    model = nn.Sequential(*make(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    x = torch.randn(1, 4, 8, 8)
    found = bottleneck(relprop.trace(model, x).graph)
    assert (found and found.module) == expected
    # The composite says what it does, and does what was asked.
    e = relprop.explain(model, x, 0)
    says = [note for note in e.notes if "linear bottlenecks" in note]
    assert e.method == "lrp-composite"
    assert e.ledger is not None
    assert e.ledger.closes
    rules = {row.node: row.rule.split("(")[0] for row in e.plan.rows}
    assert (len(says), "Gamma" in rules.values()) == ((1, True) if expected else (0, False))
    plain = relprop.explain(model, x, 0, relprop.LRPComposite(lower="z-plus"))
    assert "Gamma" not in str(plain.plan)
    assert torch.equal(plain.relevance, e.relevance) == (expected is None)
    if expected:
        mixed = relprop.explain(model, x, 0, relprop.LRPComposite(lower="gamma-above"))
        assert torch.equal(mixed.relevance, e.relevance)
        assert expected in says[0]
        depths = [row.node for row in e.plan.rows if row.operator.startswith("conv2d")]  # last to first
        half = [rules[node] for node in depths]
        assert half.pop() == "ZBox"
        assert half == sorted(half)  # γ above, z+ below
        assert {"Gamma", "ZPlus"} == set(half)


def test_shifts_of_lone_batch_norms_are_biases() -> None:
    """DenseNet's, in front of a ReLU: what a shift alone opened isn't handed to the input."""
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(
        nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.MaxPool2d(2), norm, nn.ReLU(), nn.Conv2d(3, 4, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(16, 2),
    ).eval()  # fmt: skip
    norm.bias.data.fill_(1.0)
    x = torch.randn(2, 3, 4, 4)
    e, plain = relprop.explain(model, x, 0), relprop.explain(model, x, 0, "lrp-composite:lower=z-plus")
    assert e.plan is not None
    assert e.ledger is not None
    assert plain.ledger is not None
    assert [row.rule for row in e.plan.rows if row.operator.startswith("batch_norm")] == [
        "BatchNorm(form='affine')"
    ]
    booked = [
        sum(r.bias for r in found.ledger.rows if r.operator.startswith("batch_norm")) for found in (e, plain)
    ]
    assert booked[0] != 0
    assert booked[1] == 0
    assert e.ledger.closes
    twin = nn.Sequential(*list(model)[:3], nn.Conv2d(3, 3, 1), *list(model)[4:]).eval()  # as a convolution
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    twin[3].weight.data = torch.diag(scale.detach())[:, :, None, None]
    twin[3].bias.data = (norm.bias - norm.running_mean * scale).detach()
    by_value = relprop.Composite(
        [("3", relprop.rules.Epsilon(0.0)), *relprop.LRPComposite().as_composite().rules], "positive"
    )
    expected = relprop.explain(twin, x, 0, relprop.LRP(composite=by_value)).relevance
    torch.testing.assert_close(e.relevance, expected, rtol=1e-4, atol=1e-5)
