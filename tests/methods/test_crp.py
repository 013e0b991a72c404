"""CRP: files, a closed form by autograd, detectors of three kinds, classifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tests import nets
from tests.methods import reference as ref
from tests.refusals import assert_refused
from torch import Tensor, nn

import relprop
from relprop.compat import load_torchvision
from relprop.detectors import DetectionUnit, Layout
from relprop.errors import InputError
from relprop.methods.crp import CRP
from relprop.rules import ZPlus

K, OFFSETS = 4, 4
TARGETS = [1, 4, 5, 6, 7]  # class 1 and the four offsets


def columns(x: Tensor, width: int) -> Tensor:
    """(N, B * width, H, W) -> (N, H * W * B, width), as SSD heads are read."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)


class MiniSSD(nn.Module):
    """The network of minissd.safetensors: two sources, the first behind an L2 normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)
        self.r1, self.r2, self.r3, self.r4 = (nn.ReLU() for _ in range(4))
        self.p1, self.p2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.gamma = nn.Parameter(torch.full((12,), 20.0))
        self.clsA, self.locA = (nn.Conv2d(12, 8, 3, padding=1) for _ in range(2))
        self.clsB, self.locB = (nn.Conv2d(16, 8, 3, padding=1) for _ in range(2))

    def trunk(self) -> list[nn.Module]:
        return [
            self.conv1, self.r1, self.conv2, self.r2, self.p1, self.conv3, self.r3, self.p2, self.conv4, self.r4
        ]  # fmt: skip

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        *_, a = self.sources(x)
        b = self.r4(self.conv4(self.p2(a)))
        n = self.normalised(a)
        classes = [columns(self.clsA(n), K), columns(self.clsB(b), K)]
        return torch.cat(classes, 1), torch.cat([columns(self.locA(n), 4), columns(self.locB(b), 4)], 1)

    def sources(self, x: Tensor) -> list[Tensor]:
        values = [x]
        for layer in self.trunk()[:7]:
            values.append(layer(values[-1]))
        return values

    def normalised(self, a: Tensor) -> Tensor:
        return F.normalize(a, eps=1e-30) * self.gamma.reshape(-1, 1, 1)


def anchor(head: str, y: int, x: int, box: int = 1) -> int:
    return (y * 12 + x) * 2 + box if head == "A" else 288 + (y * 6 + x) * 2 + box


@cache
def mini() -> DetectionUnit:
    model = nets.seeded(MiniSSD(), 5)
    return DetectionUnit(model, Layout(K))


@pytest.fixture(scope="module")
def x() -> Tensor:
    return nets.pictures(3, 3, 24, 24)


def close(a: Tensor, b: Tensor, relative: float = 1e-13) -> None:
    assert a.shape == b.shape
    assert float(b.abs().max()) > 0
    assert float((a - b).abs().max()) <= relative * float(b.abs().max())


# The file -------------------------------------------------------------------------------------------

# Relevance at a layer's input is relevance at the output of the one before it.
BEFORE = {
    "conv1": "input", "r1": "raw.conv1", "conv2": "raw.r1", "r2": "raw.conv2", "p1": "raw.r2",
    "conv3": "raw.p1", "r3": "raw.conv3", "p2": "raw.r3", "conv4": "raw.p2", "r4": "raw.conv4",
}  # fmt: skip
CELLS = {"A": (anchor("A", 5, 6), "raw.r3", 12), "B": (anchor("B", 2, 3), "raw.r4", 16)}


@pytest.fixture(scope="module")
def tiny(oracles: Path) -> dict[str, Tensor]:
    return load_file(oracles / "minissd.safetensors")


@pytest.mark.parametrize("head", CELLS)
def test_file(head: str, tiny: dict[str, Tensor], record_property: pytest.RecordProperty) -> None:
    model = MiniSSD().double().eval()
    model.load_state_dict({k[6:]: v for k, v in tiny.items() if k.startswith("state.")})
    where, source, _ = CELLS[head]
    unit = DetectionUnit(model, Layout(K)).at(where)
    names = {k.rpartition(".")[2] for k in tiny if k.startswith(f"res.{head}-cls.layers.")}
    layers = sorted({BEFORE[n] for n in names} | {source})
    e = relprop.explain(unit, tiny["x"], TARGETS, "crp", layers=layers)
    assert e.ledger is not None
    assert e.ledger.closes
    run = relprop.trace(unit, tiny["x"])
    seeds = torch.eye(unit.layout.width, dtype=torch.float64)[:K, None]
    alone = relprop.Composite([("linear", ZPlus())], "positive")
    ours = {"Rk": run.propagate(seeds, alone, stop=source)}
    asked = set()
    worst = 0.0
    for i, what in enumerate(["cls", "loc-0", "loc-1", "loc-2", "loc-3"]):
        ours |= {"R_input": e.relevance[i], "map": e.heatmap()[i][:, None], "Q": e.layers[source][i]}
        ours |= {f"layers.{n}": e.layers[BEFORE[n]][i] for n in names}
        for key, value in ours.items():
            theirs = tiny[f"res.{head}-{what}.{key}"]
            assert value.shape == theirs.shape
            worst = max(worst, float((value - theirs).abs().max() / theirs.abs().max()))
            asked.add(f"res.{head}-{what}.{key}")
    assert asked == {k for k in tiny if k.startswith(f"res.{head}-")}  # every key
    record_property("relative_difference", worst)
    print(f"{head}: {worst:.1e}")
    assert worst < 1e-13


# The closed form ------------------------------------------------------------------------------------


def closed(model: MiniSSD, x: Tensor, head: str, cell: tuple[int, int], box: int, target: int) -> Tensor:
    """Q = R[target] - mean of R[others], each unit by itself from head to input, without relprop."""
    values = model.sources(x)
    if head == "A":
        at, cls, loc, source = 6, model.clsA, model.locA, model.normalised(values[-1])
    else:
        at, cls, loc = 9, model.clsB, model.locB
        source = model.r4(model.conv4(model.p2(values[-1])))

    def to_input(layer: nn.Conv2d, column: int) -> Tensor:
        unit = ref.Unit(layer, source.detach(), False)
        seed = torch.zeros_like(unit.z)
        seed[:, box * 4 + column, cell[0], cell[1]] = 1
        up, down = ref.z_plus(unit, seed), ref.z_minus(unit, seed)
        value = unit.z[:, box * 4 + column, cell[0], cell[1]].reshape(-1, 1, 1, 1)
        here = torch.where(value < 0, down, up) if layer is loc else up
        rules = [ref.z_plus] * 4
        return ref.propagate(nn.Sequential(*model.trunk()), x, here, rules, start=at)

    classes = [to_input(cls, k) for k in range(K)]
    if target < K:
        others = [r for k, r in enumerate(classes) if k != target]
        return classes[target] - torch.stack(others).mean(0)
    return to_input(loc, target - K) - torch.stack(classes).mean(0)


@pytest.mark.parametrize(("head", "cell", "box"), [("A", (5, 6), 1), ("A", (0, 11), 0), ("B", (2, 3), 0)])
def test_contrast_in_the_seed_is_contrast_at_the_input(
    head: str, cell: tuple[int, int], box: int, x: Tensor
) -> None:
    unit = mini().at(anchor(head, *cell, box))
    e = relprop.explain(unit, x, [0, *TARGETS], "crp")
    assert bool((e.outputs[:, K:] < 0).any())  # w- is put to the test
    for i, target in enumerate([0, *TARGETS]):
        close(e.relevance[i], closed(unit.raw, x, head, cell, box, target))
    # Unit starts: nothing is said in sum.
    assert float(e.relevance.flatten(2).sum(-1).abs().max()) < 1e-12
    assert e.ledger is not None
    assert e.ledger.closes


def test_rows_targets_and_boxes(x: Tensor) -> None:
    unit = mini().at(CELLS["A"][0])
    together = relprop.explain(unit, x, TARGETS, "crp", layers=["raw.r3"])
    for k, target in enumerate(TARGETS):
        close(together.relevance[k], relprop.explain(unit, x, target, "crp").relevance)
    for n in range(3):
        row = relprop.explain(unit, x[n : n + 1], TARGETS, "crp")
        close(together.relevance[:, n : n + 1], row.relevance)
    # Two boxes in one call: their units lie side by side, and Q adds where they meet.
    pair = DetectionUnit(unit.raw, Layout(K)).at([CELLS["A"][0], CELLS["B"][0]])
    targets = [pair.layout.index("class", 1, d) for d in range(2)]
    both = relprop.explain(pair, x, targets, "crp", layers=["raw.r3"])
    other = relprop.explain(mini().at(CELLS["B"][0]), x, 1, "crp", layers=["raw.r3"])
    close(both.relevance[0], together.relevance[0])
    close(both.layers["raw.r3"].sum(0), together.layers["raw.r3"][0] + other.layers["raw.r3"])
    one_seed = torch.zeros(3, 16, dtype=torch.float64)
    one_seed[:, [0, 1, 2, 3]] = one_seed[:, [8, 9, 10, 11]] = torch.tensor([-1, 3, -1, -1]).double() / 3
    alone = relprop.Composite([("linear", ZPlus())], "positive")
    close(both.relevance.sum(0), relprop.trace(pair, x).propagate(one_seed, alone))


def test_one_capture_serves_all_anchors(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = sys.modules["relprop.graph.exporting"]
    unit = DetectionUnit(mini().raw, Layout(K))
    captures = []
    export = module.export
    monkeypatch.setattr(module, "export", lambda *a, **k: captures.append(1) or export(*a, **k))
    maps = [relprop.explain(unit.at(a), x, 1, "crp").relevance for a in (0, 100, 300)]
    assert len(captures) == 1
    assert not torch.equal(maps[0], maps[1])
    relprop.explain(unit.at([0, 100]), x, 1, "crp")
    assert len(captures) == 2
    with pytest.raises(InputError, match=r"none were chosen\. Take unit\.at\(anchors\)"):
        unit(x)  # the unit itself looks nowhere


def test_background(x: Tensor) -> None:
    unit = DetectionUnit(mini().raw, Layout(K, background=0)).at(CELLS["A"][0])
    run = relprop.trace(unit, x)

    def by_hand(own: dict[int, float]) -> Tensor:
        seed = torch.zeros(3, 8, dtype=torch.float64)
        for column, value in own.items():
            seed[:, column] = value
        return run.propagate(seed, relprop.Composite([("linear", ZPlus())], "positive"))

    without = CRP(include_background=False)
    close(relprop.explain(unit, x, 1, without).relevance, by_hand({1: 1, 2: -1 / 2, 3: -1 / 2}))
    close(relprop.explain(unit, x, 0, without).relevance, by_hand({0: 1, 1: -1 / 3, 2: -1 / 3, 3: -1 / 3}))
    up = int((run.output[:, 4:] >= 0).all(0).nonzero()[0]) + 4
    mean = dict.fromkeys((1, 2, 3), -1 / 3)
    close(relprop.explain(unit, x, up, without).relevance, by_hand({up: 1, **mean}))


def test_starts(x: Tensor) -> None:
    unit = mini().at(CELLS["B"][0])
    run = relprop.trace(unit, x)
    seeds = torch.eye(8, dtype=torch.float64)[:, None].expand(8, 3, 8)
    alone = relprop.explain(unit, x, TARGETS, "crp").relevance
    maps = run.propagate(seeds, relprop.Composite([("linear", ZPlus())], "positive"))
    scores = {"logit": run.output[:, :K], "softmax": run.output[:, :K].softmax(1)}
    for start, values in scores.items():
        e = relprop.explain(unit, x, TARGETS, CRP(seed=start))
        weighted = maps[:K] * values.T.reshape(K, 3, 1, 1, 1)
        close(e.relevance[0], weighted[1] - (weighted.sum(0) - weighted[1]) / (K - 1))
        own = alone[1] + maps[:K].mean(0)  # the first offset's own map
        value = run.output[:, K].reshape(3, 1, 1, 1) if start == "logit" else 1
        close(e.relevance[1], own * value - weighted.mean(0))


# Other detectors ------------------------------------------------------------------------------------


class MiniYOLO(nn.Module):
    """One convolution a scale makes offsets, objectness and classes, box by box, as YOLO heads do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.fine, self.coarse = nn.Conv2d(14, 2 * 8, 1), nn.Conv2d(8, 2 * 8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = F.leaky_relu(self.stem(x), 0.1)
        b = F.leaky_relu(self.norm(self.down(a)), 0.1)
        up = torch.cat([a, F.interpolate(b, scale_factor=2.0)], 1)
        out = [
            o.view(len(x), 2, 8, -1).permute(0, 1, 3, 2).flatten(1, 2)
            for o in (self.fine(up), self.coarse(b))
        ]
        both = torch.cat(out, 1)
        return both[..., 5:], both[..., :4], both[..., 4]


def test_yolo_layout() -> None:
    raw = nets.seeded(MiniYOLO(), 7)
    x = nets.pictures(2, 3, 8, 8)
    layout = Layout(3, objectness=True)
    asked = [("class", 2), ("cx", None), ("cy", None), ("w", None), ("h", None), ("objectness", None)]
    targets = [layout.index(of, target) for of, target in asked]
    for where in (64 + 27, 2 * 64 + 9):  # box 1 of a fine cell, box 0 of a coarse one
        unit = DetectionUnit(raw, layout).at(where)
        e = relprop.explain(unit, x, targets, "crp")
        logits, offsets, objectness = (t.detach() for t in raw(x))
        close(e.outputs[:, :3], logits[:, where])
        close(e.outputs[:, 3:7], offsets[:, where])
        close(e.outputs[:, 7], objectness[:, where])
        assert e.ledger is not None
        assert e.ledger.closes
        source = "cat" if where < 128 else "leaky_relu_1"
        e = relprop.explain(unit, x, targets, "crp", layers=[source])
        for k, (of, target) in enumerate(asked):
            close(e.layers[source][k], at_yolo_source(raw, x, where, of, target))
    assert bool((e.outputs[:, 3:7] < 0).any())


def at_yolo_source(raw: MiniYOLO, x: Tensor, where: int, of: str, target: int | None) -> Tensor:
    """Q at the map that the anchor's head reads."""
    a = F.leaky_relu(raw.stem(x), 0.1)
    b = F.leaky_relu(raw.norm(raw.down(a)), 0.1)
    fine = where < 128
    source = torch.cat([a, F.interpolate(b, scale_factor=2.0)], 1) if fine else b
    unit = ref.Unit(raw.fine if fine else raw.coarse, source.detach(), False)
    box, cell = divmod(where if fine else where - 128, 64 if fine else 16)
    y, x_ = divmod(cell, 8 if fine else 4)

    def alone(channel: int) -> Tensor:
        seed = torch.zeros_like(unit.z)
        seed[:, box * 8 + channel, y, x_] = 1
        value = unit.z[:, box * 8 + channel, y, x_].reshape(-1, 1, 1, 1)
        down = (value < 0) & (channel < 4)  # offsets only
        return torch.where(down, ref.z_minus(unit, seed), ref.z_plus(unit, seed))

    classes = torch.stack([alone(5 + k) for k in range(3)])
    if target is not None:
        return classes[target] - (classes.sum(0) - classes[target]) / 2
    return alone(["cx", "cy", "w", "h", "objectness"].index(of)) - classes.mean(0)


class Raw(nn.Module):
    """A torchvision detector up to its raw outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(self.maps(x))
        return found["cls_logits"], found["bbox_regression"]

    def maps(self, x: Tensor) -> list[Tensor]:
        return list(self.backbone(x).values())


def narrow_ssd() -> nn.Module:
    """torchvision's SSD300 on a VGG with few channels (but for the maps that its other parts expect)."""
    tv = load_torchvision()
    from torchvision.models.detection import ssd
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator

    widths = [8, 8, "M", 8, 8, "M", 16, 16, 16, "M", 16, 16, 512, "M", 16, 16, 512, "M"]
    vgg = tv.models.VGG(tv.models.vgg.make_layers(widths), init_weights=False)
    boxes = DefaultBoxGenerator([[2], [2, 3], [2, 3], [2, 3], [2], [2]])
    return ssd.SSD(ssd._vgg_extractor(vgg, False, 5), boxes, (300, 300), 3)


def torchvision_detector(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        module = load_torchvision().models.detection
        return getattr(module, name)(weights=None, weights_backbone=None, num_classes=3)

    return make


DETECTORS: dict[str, tuple[Callable[[], nn.Module], int, Sequence[int]]] = {
    "ssd300, narrow": (narrow_ssd, 300, [4, 6, 6, 6, 4, 4]),
    "ssdlite": (torchvision_detector("ssdlite320_mobilenet_v3_large"), 128, [6] * 6),
    "retinanet": (torchvision_detector("retinanet_resnet50_fpn"), 64, [9] * 5),
    "ssd300": (torchvision_detector("ssd300_vgg16"), 300, [4, 6, 6, 6, 4, 4]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.nightly] if n == "ssd300" else []) for n in DETECTORS]
)
def test_ledger_closes_on_every_level(name: str, record_property: pytest.RecordProperty) -> None:
    constructor, size, boxes = DETECTORS[name]
    torch.manual_seed(0)
    raw = Raw(constructor()).eval()
    with torch.no_grad():
        for module in raw.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.normal_(0, 0.02)
            if isinstance(module, nn.BatchNorm2d):
                module.bias.normal_(0, 0.3)
        raw = raw.double()
        x = torch.randn(1, 3, size, size).double()
        cells = [m.shape[2] * m.shape[3] for m in raw.maps(x)]
        logits, offsets = raw(x)
    assert sum(c * b for c, b in zip(cells, boxes, strict=True)) == logits.shape[1]
    unit = DetectionUnit(raw, Layout(3, background=0))
    start = 0
    errors = []
    for level, (count, per_cell) in enumerate(zip(cells, boxes, strict=True)):
        # An anchor of this level with an offset below 0.
        negative = (offsets[0, start : start + count * per_cell] < 0).nonzero()
        box, offset = negative[len(negative) // 2].tolist()
        where = start + box
        start += count * per_cell
        e = relprop.explain(unit.at(where), x, [1, 3 + offset], "crp")
        assert e.ledger is not None
        assert e.ledger.closes, (level, e.ledger.max_error)
        errors.append(e.ledger.max_error)
        lost = e.ledger.start - e.ledger.end - e.ledger.lost
        assert abs(lost) < 1e-11
        assert bool(e.relevance.flatten(1).abs().amax(1).gt(0).all())
    record_property("largest_error", max(errors))
    print(name, [f"{v:.1e}" for v in errors])


# Corners --------------------------------------------------------------------------------------------


def test_no_terms_of_the_sign_give_zero() -> None:
    """A class without positive weights, and a negative offset whose weights are positive (its bias is not)."""

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cls, self.loc = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 4, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = x.relu()
            return columns(self.cls(x), 2), columns(self.loc(x), 4)

    raw = Flat().double().eval()
    with torch.no_grad():
        raw.cls.weight.copy_(torch.tensor([-1.0, 2.0]).reshape(2, 1, 1, 1))
        raw.loc.weight.copy_(torch.tensor([1.0, -1.0, 0.0, 1.0]).reshape(4, 1, 1, 1))
        raw.cls.bias.zero_()
        raw.loc.bias.copy_(torch.tensor([-9.0, 0.0, 0.0, -1.0]))
    unit = DetectionUnit(raw, Layout(2)).at(1)
    x = torch.tensor([5.0, 1.0]).double().reshape(1, 1, 1, 2)
    e = relprop.explain(unit, x, [0, 1, 2, 3, 4, 5], CRP(balance=False))
    # Offsets: -8 (no negative term), -1 (w-), 0 (w+, no term), 0 (w+); less the mean 1/2 of (0, 1).
    assert e.relevance[:, 0, 0, 0].tolist() == [[0, -1], [0, 1], [0, -0.5], [0, 0.5], [0, -0.5], [0, 0.5]]
    assert e.ledger is not None
    assert e.ledger.closes
    assert e.ledger.lost == pytest.approx(1 - 1 + (1 - 0.5) + (-0.5) + (1 - 0.5) + (-0.5))
    balanced = relprop.explain(unit, x, [0, 1, 2, 3, 4, 5], "crp")
    # The mean over the classes is (0, 1) once it has its total back; a side without anything stays 0.
    assert balanced.relevance[:, 0, 0, 0].tolist() == [[0, -1], [0, 1], [0, -1], [0, 0], [0, -1], [0, 0]]
    half, one = [0, 0.5], [1, 0.5]
    assert balanced.extras["survived"][:, 0].tolist() == [[0, 1], [1, 0], half, one, half, one]


def lossy() -> nn.Module:
    """Two classes on two pixels; the second class's channel is active through its bias alone half of the time."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))  # type: ignore[operator, union-attr]
        model[0].bias.copy_(torch.tensor([0.0, 3.0]))  # type: ignore[operator, union-attr]
        model[3].weight.copy_(torch.tensor([[3.0, 1, 0, 0], [1, 1, 1, 2]]))  # type: ignore[operator, union-attr]
    return model.eval()


def test_balance_gives_each_side_its_total_back() -> None:
    x = torch.tensor([1.0, 2.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    model = lossy()  # hidden: channel 0 (1, 2), channel 1 (2, 1) by its bias alone: its relevance is lost
    # Class 0: 3·1, 1·2 → (3/5, 2/5). Class 1: 1·1, 1·2, 1·2, 2·1 → (1/7, 2/7), and 4/7 lost.
    plain = relprop.explain(model, x, [0, 1], CRP(balance=False))
    expected = torch.tensor([3 / 5 - 1 / 7, 2 / 5 - 2 / 7], dtype=torch.float64)
    close(plain.relevance[:, 0, 0, 0], torch.stack([expected, -expected]))
    e = relprop.explain(model, x, [0, 1], "crp", layers=["1"])
    expected = torch.tensor([3 / 5 - 1 / 3, 2 / 5 - 2 / 3], dtype=torch.float64)
    close(e.relevance[:, 0, 0, 0], torch.stack([expected, -expected]))
    close(e.extras["survived"][:, 0], torch.tensor([[1, 3 / 7], [3 / 7, 1]], dtype=torch.float64))
    hidden = torch.tensor(
        [3 / 5 - 1 / 7, 2 / 5 - 2 / 7, -2 / 7, -2 / 7], dtype=torch.float64
    )  # as it arrives
    close(e.layers["1"][0].flatten(), hidden)
    assert e.ledger is not None
    assert e.ledger.closes


def test_balance_changes_nothing_where_nothing_is_lost(x: Tensor) -> None:
    unit = mini().at([anchor("A", 5, 6), anchor("B", 2, 3)])
    targets = list(range(2 * unit.layout.width))
    for start in ("one", "softmax"):
        with_, without = (
            relprop.explain(unit, x, targets, CRP(seed=start, balance=b))
            for b in (True, False)  # type: ignore[arg-type]
        )
        close(with_.relevance, without.relevance)
        close(with_.extras["survived"], torch.ones(len(targets), len(x), 2).double())


@pytest.mark.parametrize("ties", ["first", "share"])
def test_classifier_with_maps_of_scores(ties: str) -> None:
    """(N, classes, H, W): the target at every position, against the others at the same position."""
    model = nets.seeded(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 3, 3)), 3)
    x = nets.pictures(2, 3, 12, 12)
    e = relprop.explain(model, x, [0, 2], CRP(ties=ties))
    seed = torch.full((2, 3, 3, 3), -0.5, dtype=torch.float64)
    seed[:, 2] = 1
    close(e.relevance[1], ref.propagate(model, x, seed, [ref.z_plus] * 2))
    assert e.ledger is not None
    assert e.ledger.closes


def test_ties_share() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1, 2, bias=False)).double().eval()
    model[2].weight.data = torch.tensor([[1.0], [-1.0]]).double()
    x = torch.ones(1, 1, 2, 2).double()
    first, share = (
        relprop.explain(model, x, 0, CRP(ties=t)).relevance.flatten().tolist() for t in ("first", "share")
    )
    assert first == [1, 0, 0, 0]
    assert share == [0.25] * 4


def test_errors(x: Tensor) -> None:
    unit = mini().at(0)
    with pytest.raises(InputError, match="background class"):
        relprop.explain(unit, x, 1, CRP(include_background=False))
    with pytest.raises(InputError, match="background class"):
        relprop.explain(nets.vgg(), nets.pictures(), 1, CRP(include_background=False))
    one = nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).eval()
    assert_refused(
        InputError,
        (lambda: relprop.explain(one, torch.ones(1, 1, 2, 2), 0, "crp"), "of 1 classes"),
        (lambda: CRP(seed="score"), "'one', 'logit', 'softmax'"),
        (lambda: CRP(ties="all"), "ties"),
        (lambda: CRP(bounds=3), "bounds"),
    )


def test_unit_errors(x: Tensor) -> None:
    raw = mini().raw
    layout = Layout(3, background=0, objectness=True, anchors=2)
    assert layout.index("objectness", d=1) == 15
    for wrong in (-1, [0, -3], [], 0.5):
        with pytest.raises(InputError, match="anchor indices"):
            mini().at(wrong)  # type: ignore[arg-type]
    for arguments, text in (
        (("class", 3), "Expected a class from 0 to 2 but got 3"),
        (("class",), "Expected a class from 0 to 2 but got None"),
        (("cx", None, 2), "Expected an anchor from 0 to 1 but got 2"),
        (("depth",), "Expected a known part of a detection but got 'depth'.*class, cx, cy, h, objectness, w"),
    ):
        with pytest.raises(InputError, match=text):
            layout.index(*arguments)  # type: ignore[arg-type]
    assert_refused(
        InputError,
        (lambda: Layout(3, background=3), r"background .*got index 3"),
        (lambda: Layout(0), "got 0 and 1"),
        (lambda: DetectionUnit(raw, Layout(3)).at(0)(x), r"\[\(3,\), \(4,\)\].*layout"),
    )


@pytest.mark.parametrize("balance", [False, True])
def test_scores_of_several_classes(balance: bool) -> None:
    """Linear in the classes' own relevance; the mean of the classes that aren't read is taken away."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4)).eval().double()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    crp = CRP(balance=balance)
    # R[k] up to what each row loses: z+ alone.
    own = relprop.explain(net, x, range(4), crp).relevance
    versus = relprop.explain(net, x, 2, crp, versus=0).relevance
    if not balance:
        torch.testing.assert_close(versus, (own[2] - own[0]) * 3 / 4)
    one = relprop.explain(net, x, lambda o: 3 * o[:, 1], crp).relevance
    torch.testing.assert_close(one, 3 * own[1])
    for target in (lambda o: o[:, 1], [lambda o: o[:, 1], 3]):
        e = relprop.explain(net, x, target, crp).relevance
        torch.testing.assert_close(e if e.ndim == 4 else e[0], own[1])
    pair = relprop.explain(net, x, lambda o: o[:, 0] + 2 * o[:, 1], crp)
    if not balance:  # R[0] + 2 R[1] - 3 (R[2] + R[3]) / 2 by R[k] - R[j] = 3/4 (Q[k] - Q[j])
        parts = [own[0] - own[2], own[0] - own[3], 2 * (own[1] - own[2]), 2 * (own[1] - own[3])]
        torch.testing.assert_close(pair.relevance, 3 / 8 * torch.stack(parts).sum(0))
    assert float(pair.relevance.sum((1, 2, 3)).abs().max()) < (1e-9 if balance else 1)
    assert pair.ledger is not None
    assert pair.ledger.closes
    with pytest.raises(InputError, match="none is left for crp"):
        relprop.explain(net, x, lambda o: o.sum(1), crp)


def test_scores_that_have_no_one_contrast_are_refused() -> None:
    model = MiniSSD().eval()
    unit = DetectionUnit(model, Layout(classes=K)).at([3, 9])
    x = torch.rand(1, 3, 24, 24)
    for score in (lambda o: o[:, 1] + o[:, 5], lambda o: o[:, 4] + o[:, 12]):
        with pytest.raises(InputError, match="of classes, or of one anchor's box, for crp"):
            relprop.explain(unit, x, score, "crp")
