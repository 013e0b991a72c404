"""Sectional propagation against autograd's weight derivatives, by both ways, for every geometry."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from tests.close import assert_close_to_rounding
from tests.methods.sectional import function_of, section_layer
from torch import Tensor, nn

import relprop
from relprop.errors import InputError
from relprop.rules import Section, patches, section
from relprop.rules.section import sections, shift

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "3x3": (lambda: nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 6)),
    "1x1": (lambda: nn.Conv2d(4, 6, 1), (2, 4, 5, 6)),
    "1x1, stride 2": (lambda: nn.Conv2d(4, 6, 1, stride=2), (2, 4, 7, 6)),
    "stride": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 8, 7)),
    "uneven": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 3), padding=(2, 0)), (2, 4, 6, 8)),
    "dilated": (lambda: nn.Conv2d(4, 6, 3, dilation=(2, 1), padding=(2, 1)), (2, 4, 7, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (2, 4, 6, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1, stride=2), (2, 4, 6, 6)),
    "even, same": (lambda: nn.Conv2d(4, 6, (4, 3), padding="same"), (2, 4, 6, 6)),
    "1-d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
    "3-d": (lambda: nn.Conv3d(4, 5, (1, 3, 2), padding=(0, 1, 0)), (2, 4, 3, 5, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (2, 4, 4, 5)),
    "transposed, cut": (lambda: nn.ConvTranspose2d(4, 6, 2, padding=2, groups=2), (2, 4, 6, 6)),
    "product": (lambda: nn.Linear(7, 5), (2, 7)),
    "product of rows": (lambda: nn.Linear(7, 5), (2, 3, 7)),
}


@cache
def case(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A layer, an input with negative values, zeros and a dead corner, and relevance (4, *out)."""
    make, shape = LAYERS[name]
    torch.manual_seed(3)
    layer = make().double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    x = x * (torch.rand(shape) > 0.2)
    r = torch.randn(4, *layer(x).shape, dtype=torch.float64)
    return layer, x, r * (torch.rand(r.shape) > 0.5)


def propagated(layer: nn.Module, x: Tensor, r: Tensor, rule: Section) -> tuple[Tensor, relprop.Trace]:
    run = relprop.trace(layer, x)
    composite = relprop.Composite([("linear", rule)], "gradient")
    found = run.run(r, composite)
    assert found.ledger is not None
    assert found.ledger.closes, found.ledger
    return found.relevance, run


def reference(layer: nn.Module, x: Tensor, r: Tensor, mode: str) -> Tensor:
    product = isinstance(layer, nn.Linear)
    f = function_of(layer)
    rows = [
        torch.cat(
            [
                section_layer(f, layer.weight.shape, x[n : n + 1], one[n : n + 1], mode, product)
                for n in range(len(x))
            ]
        )
        for one in r
    ]
    return torch.stack(rows).detach()


def assert_close(ours: Tensor, theirs: Tensor, relative: float = 1e-12) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= relative * float(theirs.abs().max())


@pytest.fixture(params=["products", "weights", "weights in bands"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(section._Job, "narrow", property(lambda job: request.param == "products"))
    if request.param == "weights in bands":
        monkeypatch.setattr(patches, "_BAND", 1)  # one line of positions at a time
    return request.param


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize("mode", ["paper", "released"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_geometry_by_every_way(name: str, mode: str, way: str) -> None:
    layer, x, r = case(name)
    ours, _ = propagated(layer, x, r, Section(mode))
    assert_close(ours, reference(layer, x, r, mode))


def test_the_cheaper_way_is_taken() -> None:
    def narrow(positions: int, out: int, width: int, count: int = 1) -> bool:
        part = torch.zeros(1, out, positions)
        job = section._Job(torch.arange(positions), [part] * count, [torch.zeros(1, out, width)] * count)
        return job.narrow

    assert narrow(196, 512, 4608)  # 14 x 14: 2 P (width + out) = 2.0e6 < 3 out width = 7.1e6
    assert not narrow(784, 512, 4608)
    assert narrow(784, 512, 4608, 2)  # both sections at once share the patches' products
    assert not narrow(3136, 256, 2304)


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_the_weights_are_not_read(mode: str) -> None:
    layer, x, r = case.__wrapped__("3x3")
    ours, run = propagated(layer, x, r, Section(mode))
    with torch.no_grad():
        layer.weight.copy_(torch.randn_like(layer.weight))
        layer.bias.copy_(torch.randn_like(layer.bias))
    composite = relprop.Composite([("linear", Section(mode))], "gradient")
    assert torch.equal(run.propagate(r, composite), ours)


@pytest.mark.parametrize("mode", ["paper", "released"])
@pytest.mark.parametrize("name", ["3x3", "grouped", "product"])
def test_homogeneous_and_zero_where_inactive(name: str, mode: str) -> None:
    layer, x, r = case(name)
    ours, _ = propagated(layer, x, r, Section(mode))
    scaled, _ = propagated(layer, x, 0.25 * r, Section(mode))
    assert_close_to_rounding(scaled, 0.25 * ours, layer)
    assert not ours[:, x <= 0].any()
    assert ours[:, x > 0].all()  # the shift reaches every active input


def test_total_of_the_shift() -> None:
    layer, x, r = case("3x3")
    dims = (2, 3, 4)
    released, _ = propagated(layer, x, r, Section("released"))
    torch.testing.assert_close(released.sum(dims), r.sum(dims))
    paper, _ = propagated(layer, x, r, Section())
    torch.testing.assert_close(paper.sum(dims), r.sum(dims).abs())
    even, _ = propagated(layer, x, r, Section(ratio=1))
    torch.testing.assert_close(even.sum(dims), torch.zeros(4, 2, dtype=torch.float64))
    assert even.any()


@pytest.mark.parametrize("name", ["3x3", "1x1", "product"])
@pytest.mark.parametrize("mode", ["paper", "released"])
def test_dead_patches(name: str, mode: str) -> None:
    """Relevance at units that read nothing is lost, restored by the released shift, and never NaN."""
    layer, x, r = case(name)
    dead = torch.zeros_like(x)
    found, _ = propagated(layer, dead, r, Section(mode))
    assert not found.any()
    if name != "product":
        x[..., :4, :] = 0  # the upper units read nothing
        r = r.abs()
        found, _ = propagated(layer, x, r, Section(mode))
        assert bool(torch.isfinite(found).all())
        kept = found.sum((2, 3, 4)) / r.sum((2, 3, 4))
        if mode == "released" and name == "3x3":
            torch.testing.assert_close(kept, torch.ones_like(kept))
        else:
            assert float(kept.max()) < 0.9


def test_no_relevance_and_one_section() -> None:
    layer, x, r = case.__wrapped__("3x3")
    nothing, _ = propagated(layer, x, torch.zeros_like(r), Section())
    assert not nothing.any()
    up, _ = propagated(layer, x, r.abs(), Section())
    down, _ = propagated(layer, x, -r.abs(), Section())
    assert_close_to_rounding(down, -up, layer)
    torch.testing.assert_close(up.sum((2, 3, 4)), r.abs().sum((2, 3, 4)))


def test_sections_formula() -> None:
    part = torch.tensor([[3.0, -1.0, -2.0, 1.0], [1.0, 2.0, -4.0, -1.0]], dtype=torch.float64)[None, None]
    kept, total = sections(part, 1.5, torch.full((1, 1), 2.0, dtype=torch.float64))
    # kept: 3, 1, 2 (6 in all) and -2, -4; the last position's sum is 0
    want = torch.tensor([[3.0, 0.0, -4.0, 0.0], [1.0, 2.0, -8.0, 0.0]], dtype=torch.float64) / 3
    want[:, :2] *= 3  # 1.5 * u / 6 = 1 with u = 2 / (1.5 - 1) = 4; below: u / 6
    torch.testing.assert_close(kept[0, 0], want)
    assert total.tolist() == [[2.0]]


def test_shift_formula() -> None:
    part = torch.tensor([[[4.0, 2.0, 0.0]], [[1.0, 1.0, 1.0]]])
    shift(part, torch.tensor([[2.0], [3.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    assert part.tolist() == [[[3.0, 1.0, 0.0]], [[-0.5, -0.5, 1.0]]]


def test_bad_settings() -> None:
    with pytest.raises(InputError, match=r"mode .*got 'code'"):
        Section("code")
    for bad in (0.5, float("nan"), float("inf")):
        with pytest.raises(InputError, match=rf"ratio .*got {bad}"):
            Section(ratio=bad)
