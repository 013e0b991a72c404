"""RSP and contrastive RSP: the published code's numbers, networks with branches, and what can go wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tests import nets
from tests.close import assert_close_to_rounding
from tests.methods import reference as ref
from tests.methods import residual, sectional
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.compat import load_torchvision
from relprop.errors import InputError, RelpropWarning
from relprop.methods.rsp import hostile_classes

CASES = {"1": (1, []), "1-3": (1, [3]), "0-2-4": (0, [2, 4])}


def difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.fixture(scope="module")
def tiny(oracles: Path) -> dict[str, Tensor]:
    return load_file(oracles / "tinyvgg.safetensors")


@pytest.fixture(scope="module")
def tiny_net(tiny: dict[str, Tensor]) -> nn.Module:
    model = nets.OracleVGG().eval()
    model.load_state_dict({k[6:]: v for k, v in tiny.items() if k.startswith("model.")})
    return model.double()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["paper", "released"])
def test_file(mode: str, case: str, tiny: dict[str, Tensor], tiny_net: nn.Module) -> None:
    target, hostile = CASES[case]
    layers = [f"features.{i}" for i in (13, 11, 9, 6, 4, 1)]
    method = relprop.RSP(mode=mode, hostile=hostile)
    e = relprop.explain(tiny_net, tiny["x"].double(), target, method, layers=layers)
    ours = {f"at.features.{i + 1}": e.layers[f"features.{i}"] for i in (11, 9, 6, 4, 1)}
    ours |= {"start": e.layers["features.13"], "input": e.relevance}
    prefix = f"rsp.{mode}.{case}."
    keys = [k.removeprefix(prefix) for k in tiny if k.startswith(prefix)]
    assert len(keys) == (7 if mode == "released" else 4)
    found = {k: difference(ours[k], tiny[prefix + k]) for k in keys}
    print(prefix, {k: f"{v:.1e}" for k, v in found.items()})
    assert max(found.values()) < 1e-13
    assert e.extras["at"] == "features.13"
    assert e.ledger is not None
    assert e.ledger.closes


def test_contrastive_start_file(tiny: dict[str, Tensor], tiny_net: nn.Module) -> None:
    """From features.9 the start is the oracle's raw c*EB there, purged and balanced."""
    method = relprop.ContrastiveRSP(at="features.9")
    e = relprop.explain(tiny_net, tiny["x"].double(), 1, method, layers=["features.9"])
    raw = tiny["torchray.ceb.features.9.1.raw"]
    assert difference(e.layers["features.9"], sectional.purged(raw)) < 1e-13


def on_residual(model: nets.Residual, x: Tensor, target: int, mode: str) -> Tensor:
    """RSP of `nets.resnet()` for one sample, by hand: sums by positive parts, batch norms hand on."""

    def layer(conv: nn.Conv2d, value: Tensor, r: Tensor) -> Tensor:
        f = sectional.function_of(conv)
        return sectional.section_layer(f, conv.weight.shape, value, r, mode, product=False)

    a = F.relu(model.stem(x)).detach()
    b = F.relu(model.bn1(model.conv1(a))).detach()
    branch = model.bn2(model.conv2(b)).detach()
    y = F.relu(a + branch)
    # the head: mean over positions, so the mean gradient is w / Z
    m = y * model.head.weight[target].detach().reshape(1, -1, 1, 1) / 256
    if mode == "paper":
        m = m.clamp(min=0)
        r = sectional.purged(m / m.max())
    else:
        r = m / (m.max() + 1e-9)
    up, straight = branch.clamp(min=0), a
    share = ref.ratio(r, up + straight)
    r = straight * share + layer(model.conv1, a, layer(model.conv2, b, up * share))
    return ref.sample_box(ref.Unit(model.stem, x, True), r)


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_residual_block(mode: str) -> None:
    model, x = nets.resnet(), nets.pictures()
    e = relprop.explain(model, x, [0, 1, 2, 3, 4], relprop.RSP(mode=mode))
    for target in range(5):
        theirs = torch.cat([on_residual(model, one, target, mode) for one in x.split(1)])
        assert difference(e.relevance[target], theirs) < 1e-12
    assert e.ledger is not None
    assert e.ledger.closes


@pytest.mark.parametrize("mode", ["paper", "released"])
@pytest.mark.parametrize("name", residual.NETS)
def test_residual_networks(name: str, mode: str) -> None:
    """Projections, batch norms and both pools, every branch balanced or shifted on its own."""
    model, x = residual.NETS[name](), nets.pictures()
    e = relprop.explain(model, x, [0, 1, 2, 3, 4], relprop.RSP(mode=mode))
    for target in range(5):
        theirs = torch.cat([residual.rsp(model, one, target, mode) for one in x.split(1)])
        assert_close_to_rounding(e.relevance[target], theirs, model)
    assert e.ledger is not None
    assert e.ledger.closes


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "squeezenet1_1",
        *[pytest.param(n, marks=pytest.mark.nightly) for n in ("resnet50", "mobilenet_v2", "densenet121")],
    ],
)
def test_known_networks(name: str) -> None:
    """Every operator has a rule, also with downsampling branches and joined maps, and the books close."""
    torch.manual_seed(0)
    model = load_torchvision().models.get_model(name, weights=None).eval()
    x = nets.pictures(2, 3, 64, 64).float()
    for method in (
        relprop.RSP(hostile="top-3"),
        relprop.RSP(mode="released"),
        relprop.ContrastiveRSP(),
        relprop.RAP(),
    ):
        e = relprop.explain(model, x, 7, method)
        assert bool(torch.isfinite(e.relevance).all())
        assert e.ledger is not None
        assert e.ledger.closes, e.ledger


@pytest.mark.parametrize("name", ["scenes-vgg", "scenes-resnet"])
def test_bundled_models(name: str) -> None:
    bundled = relprop.models.load(name)
    size = bundled.input_size
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(6)) * 2 - 1
    method = relprop.RSP(hostile="predicted")
    batch = relprop.explain(bundled.module, x, [1, 2], method)
    single = relprop.explain(bundled.module, x[1:], 2, method)
    assert difference(batch.relevance[1, 1:], single.relevance) < 1e-5
    for m in (method, relprop.ContrastiveRSP(), relprop.RAP()):
        e = relprop.explain(bundled.module, x, [1, 2], m)
        assert e.ledger is not None
        assert e.ledger.closes


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_weights_below_the_start_are_not_read(mode: str) -> None:
    """With the trace and the start kept, random weights in all layers but the first change nothing."""
    from relprop.methods.rsp import sectional as composite_of

    model, x = nets.vgg(), nets.pictures()
    run = relprop.trace(model, x)
    seed = torch.randn(3, 8, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    composite = composite_of(mode, 2.0, "sample", "rsp")
    before = run.propagate(seed, composite, start="4", stop="1")
    with torch.no_grad():
        model[3].weight.normal_()
        model[3].bias.normal_()
    assert torch.equal(run.propagate(seed, composite, start="4", stop="1"), before)
    whole = run.propagate(seed, composite, start="4")
    with torch.no_grad():
        model[0].weight.normal_()  # the layer that sees the input does read its weights
    assert not torch.equal(run.propagate(seed, composite, start="4"), whole)


def test_totals() -> None:
    model, x = nets.vgg(), nets.pictures()
    places = ["4", "2", "1"]
    dims = (2, 3, 4)
    e = relprop.explain(model, x, [0, 1, 2], relprop.RSP(hostile="all"), layers=places)
    for r in [*e.layers.values(), e.relevance]:
        torch.testing.assert_close(r.sum(dims).abs(), torch.ones(3, 3, dtype=torch.float64))
    released = relprop.explain(model, x, [0, 1, 2], relprop.RSP(mode="released"), layers=places)
    for r in [released.layers["1"], released.relevance]:
        torch.testing.assert_close(r.sum(dims), released.layers["4"].sum(dims))


@pytest.mark.parametrize("ratio", [1.0, 1.5, 3.0])
def test_ratio(ratio: float) -> None:
    model, x = nets.vgg(), nets.pictures()
    e = relprop.explain(model, x, 1, relprop.RSP(hostile="all", ratio=ratio), layers=["4"])
    start = e.layers["4"]
    up, down = (start.clamp(**limit).sum((1, 2, 3)) for limit in ({"min": 0}, {"max": 0}))
    both = (up > 0) & (down < 0)
    assert bool(both.any())
    torch.testing.assert_close(up[both], -ratio * down[both])
    assert e.relevance.any()
    assert e.ledger is not None
    assert e.ledger.closes


def test_target_and_hostile_are_bipolar() -> None:
    """A unit that speaks for one class only: red for that class, blue where it is hostile."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2, bias=False))
    net[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    net[3].weight.data = torch.tensor([[1.0] * 4 + [0.0] * 4, [0.0] * 4 + [1.0] * 4])
    x = torch.tensor([[[[2.0, -3.0], [1.0, -1.0]]]])
    e = relprop.explain(net.double().eval(), x.double(), [0, 1], relprop.RSP(hostile="all"))
    left, right = e.heatmap()[..., 0], e.heatmap()[..., 1]
    assert (left[0] > 0).all()
    assert (right[0] < 0).all()
    assert (left[1] < 0).all()
    assert (right[1] > 0).all()
    torch.testing.assert_close(left.sum((1, 2)), torch.tensor([2.0, -1.0], dtype=torch.float64))
    alone = relprop.explain(net, x.double(), 0, "rsp").heatmap()
    assert not alone[..., 1].any()  # no hostile classes: nothing but the target's own region


def test_equal_maps_cancel() -> None:
    """One active channel: every class has the same map, and rounding isn't blown up to a map."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3, bias=False))
    net[0].weight.data = torch.ones(1, 1, 1, 1)
    net[3].weight.data = torch.rand(3, 4, generator=torch.Generator().manual_seed(2))
    x = torch.rand(1, 1, 2, 2, generator=torch.Generator().manual_seed(3))
    for dtype in (torch.float32, torch.float64):
        with pytest.warns(RelpropWarning, match="zero everywhere"):
            e = relprop.explain(net.to(dtype).eval(), x.to(dtype), 0, relprop.RSP(hostile=[1, 2]))
        assert not e.relevance.any()


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_one_prediction(mode: str) -> None:
    """Where nothing is hostile, F = G^t; the published code divides by 0 there."""
    model, x = nets.vgg(), nets.pictures()
    plain = relprop.explain(model, x, 2, relprop.RSP(mode=mode))
    for hostile in ([], [2]):
        same = relprop.explain(model, x, 2, relprop.RSP(mode=mode, hostile=hostile))
        assert_close_to_rounding(same.relevance, plain.relevance, model)
    assert bool(torch.isfinite(plain.relevance).all())


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_dead_map(mode: str) -> None:
    """Nothing is active at the start: zeros, and a warning that says which."""
    model = nets.vgg()
    with torch.no_grad():
        model[3].weight.zero_()
        model[3].bias.fill_(-1.0)
    method = relprop.RSP(mode=mode, hostile="all")
    with pytest.warns(RelpropWarning, match=r"6 of 6 maps .*target 1, sample 0"):
        e = relprop.explain(model, nets.pictures(), [1, 4], method)
    assert not e.relevance.any()
    assert e.ledger is not None
    assert e.ledger.closes


def test_empty_section() -> None:
    """Only hostile relevance is left at the start: its total is -1."""
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False))
    net[0].weight.data = torch.ones(1, 1, 1, 1)
    net[3].weight.data = torch.tensor([[-1.0] * 4, [1.0] * 4])
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64)
    e = relprop.explain(net.double().eval(), x, 0, relprop.RSP(hostile=[1]), layers=["1"])
    torch.testing.assert_close(e.layers["1"], -x / 10)


def test_hostile_sets() -> None:
    scores = torch.tensor([[3.0, -1.0, 0.0, 2.0], [-1.0, -2.0, -3.0, -4.0]])
    targets = torch.tensor([[0, 0], [1, 3]])
    want = {
        "predicted": [[[0, 0, 1, 1], [0, 0, 0, 0]], [[1, 0, 1, 1], [0, 0, 0, 0]]],
        "top-2": [[[0, 0, 0, 1], [0, 1, 0, 0]], [[1, 0, 0, 1], [1, 1, 0, 0]]],
        "all": [[[0, 1, 1, 1], [0, 1, 1, 1]], [[1, 0, 1, 1], [1, 1, 1, 0]]],
        None: [[[0] * 4] * 2] * 2,
    }
    for hostile, mask in want.items():
        assert hostile_classes(hostile, scores, targets).int().tolist() == mask
    assert hostile_classes([3, 1], scores, targets).int().tolist() == [
        [[0, 1, 0, 1], [0, 1, 0, 1]],
        [[0, 0, 0, 1], [0, 1, 0, 0]],
    ]
    maps = scores[..., None, None].expand(2, 4, 2, 2)
    assert torch.equal(hostile_classes("top-2", maps, targets), hostile_classes("top-2", scores, targets))
    assert torch.equal(
        hostile_classes("predicted", scores, targets)[0, 0, 1:], (scores.sigmoid() >= 0.5)[0, 1:]
    )


def test_what_was_compared_is_reported() -> None:
    model, x = nets.vgg(), nets.pictures()
    e = relprop.explain(model, x, [0, 1], relprop.RSP(hostile=[0, 3]))
    assert e.extras["hostile"][:, 0].tolist() == [[0, 0, 0, 1, 0], [1, 0, 0, 1, 0]]
    for given, kept in ((torch.tensor([3, 0]), [0, 3]), (range(2), [0, 1]), (3, [3]), ([], []), (None, None)):
        assert relprop.RSP(hostile=given).settings()["hostile"] == kept


def test_more_classes_than_are_compared_at_once() -> None:
    torch.manual_seed(4)
    head = nn.Linear(128, 40)
    model = nn.Sequential(*nets.vgg()[:7], head).double().eval()
    x = nets.pictures()
    e = relprop.explain(model, x, 5, relprop.RSP(hostile="all"))
    others = [c for c in range(40) if c != 5]
    theirs = sectional.rsp(others)(model, x, 5)
    assert difference(e.relevance, theirs) < 1e-12


def test_wrong_settings() -> None:
    model, x = nets.vgg(), nets.pictures()
    for bad in ("top-0", "top-", "best", [0.5], [True], True, 3.0, "top-²"):
        with pytest.raises(InputError, match=r"hostile .*'top-k'"):
            relprop.RSP(hostile=bad)
    assert_refused(
        InputError,
        (lambda: relprop.explain(model, x, 0, relprop.RSP(hostile=[1, 5])), r"hostile .*0 to 4 but got 5"),
        (lambda: relprop.explain(model, x, 0, relprop.RSP(hostile="top-6")), "k from 1 to 5 but got 'top-6'"),
        (lambda: relprop.RSP(mode="code"), r"mode .*got 'code'"),
        (lambda: relprop.RSP(ratio=0.5), r"ratio .*got 0\.5"),
        (lambda: relprop.explain(model, x, 0, relprop.RSP(at="8")), r"feature map .*'relu_2'"),
        (lambda: relprop.explain(model, x, 0, "rsp", layers=["5"]), "before 'relu_1' but 'max_pool2d_1'"),
    )


def test_contrastive_start_where_scores_are_pooled() -> None:
    """The last feature map lies behind the last layer: the contrast layer's input is the start."""
    torch.manual_seed(0)
    model = load_torchvision().models.squeezenet1_1(weights=None).eval()
    x = nets.pictures(1, 3, 64, 64).float()
    assert relprop.explain(model, x, 3, "contrastive-rsp").extras["at"] == "classifier.0"
    assert relprop.explain(model, x, 3, "rsp").extras["at"] == "classifier.2"
