"""The map that a detector's head reads for an anchor, on heads of every build, and where branches begin."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests import nets
from tests.close import assert_close_to_rounding
from tests.detectors.nets import yolo_nano
from tests.detectors.nets.torchvision_nets import BIG, big
from torch import Tensor, nn

import relprop
from relprop.detectors import DetectionUnit, wrap
from relprop.errors import InputError
from relprop.propagate.layout import Layout


def place(raw: nn.Module, layout: Layout, anchor: int, x: Tensor, of: int = 0) -> str:
    unit = DetectionUnit(raw.eval(), layout).at(anchor)
    return relprop.explain(unit, x, of, "odam").at.removeprefix("raw.")


class Tower(nn.Module):
    """Two levels, and on each the same towers for classes and boxes: RetinaNet, FCOS, the later YOLOs."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU())
        self.classes = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), nn.SiLU(), nn.Conv2d(6, 3, last, 1, last // 2))
        self.boxes = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1), nn.SiLU(), nn.Conv2d(6, 4, last, 1, last // 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        high = self.stem(x)
        levels = [high, self.down(high)]
        logits = torch.cat([self.classes(m).flatten(2) for m in levels], 2).mT
        return logits, torch.cat([F.relu(self.boxes(m)).flatten(2) for m in levels], 2).mT


@pytest.mark.parametrize("last", [1, 3])
@pytest.mark.parametrize(("anchor", "expected"), [(0, "stem"), (35, "stem"), (36, "down"), (44, "down")])
def test_in_front_of_the_towers(last: int, anchor: int, expected: str) -> None:
    raw = nets.seeded(Tower(last), 3)
    for of in (0, 4):  # a class, an offset
        assert place(raw, Layout(3), anchor, nets.pictures(1, 3, 12, 12), of) == expected


class Pointwise(nn.Module):
    """A head of 1 × 1 convolutions alone, behind a depthwise one: the last map but one shows one cell."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.filter = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1, groups=6), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(6, 8, 1), nn.ReLU())
        self.out = nn.Conv2d(8, 7, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        units = self.out(self.mix(self.filter(self.body(x)))).flatten(2).mT
        return units[..., :3], units[..., 3:]


def test_a_map_of_one_cell_is_passed_by() -> None:
    raw, x = nets.seeded(Pointwise(), 5), nets.pictures(1, 3, 12, 12)
    assert place(raw, Layout(3), 14, x) == "body"
    unit = DetectionUnit(raw, Layout(3)).at(14)
    one = relprop.explain(unit, x, 0, relprop.ODAM(at="raw.mix")).relevance
    assert int((one != 0).sum()) <= 1
    assert int((relprop.explain(unit, x, 0, "odam").relevance != 0).sum()) > 1


class Padded(nn.Module):
    """Convolutions that pad by hand, on one side alone, as TensorFlow's do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.out = nn.Conv2d(6, 7, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        units = self.out(F.pad(self.body(x), (0, 2, 0, 2))).flatten(2).mT
        return units[..., :3], units[..., 3:]


def test_a_padded_map_is_no_map() -> None:
    """Its positions lie elsewhere: drawn over the picture it would be shifted."""
    raw, x = nets.seeded(Padded(), 5), nets.pictures(1, 3, 12, 12)
    assert place(raw, Layout(3), 14, x) == "body"


class Queries(nn.Module):
    """Queries that look at a map through attention, as DETR has them: there are no anchors on the map."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()
        )
        self.project = nn.Conv2d(8, 8, 1)
        self.queries = nn.Parameter(torch.zeros(5, 8))
        self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8)
        self.classes, self.boxes = nn.Linear(8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.project(self.backbone(x)).flatten(2).mT
        weights = (self.queries @ self.key(tokens).mT).softmax(-1)
        seen = weights @ self.value(tokens)
        return self.classes(seen), self.boxes(seen)


def test_queries_are_explained_at_the_last_map_that_a_convolution_reads() -> None:
    raw, x = nets.seeded(Queries(), 7), nets.pictures(1, 3, 12, 12)
    assert place(raw, Layout(3), 2, x) == "backbone"


@pytest.mark.parametrize("name", BIG)
def test_published_architectures(name: str) -> None:
    """SSD's sources, RetinaNet's pyramid: an anchor of the first level, of the third, and of the last."""
    detector = wrap(big(name))
    picture = torch.rand(3, *BIG[name], generator=torch.Generator().manual_seed(0))
    prepared = detector.prepared(picture)
    maps = [tuple(m.shape[-2:]) for m in detector.raw.backbone(prepared.x).values()]
    cells = torch.tensor([h * w for h, w in maps])
    # SSD has 4 or 6 boxes a cell, the others as many everywhere.
    boxes = torch.tensor([4, 6, 6, 6, 4, 4]) if name == "ssd300_vgg16" else None
    total = sum(map(len, detector.levels(prepared.x)))
    counts = cells * (total // int(cells.sum()) if boxes is None else boxes)
    assert int(counts.sum()) == total
    for level in (0, 2):
        anchor = int(counts[:level].sum())
        for method in ("odam", "grad-cam"):
            e = relprop.explain_detection(detector, picture, anchor, "class", method=method)
            assert tuple(e.relevance.shape[-2:]) == maps[level], e.at
    # A last map of one position shows nothing: SSD's is explained at the one before.
    e = relprop.explain_detection(detector, picture, total - 1, "class", method="odam")
    assert e.relevance[0, 0].numel() > 1


def test_yolo_reads_what_the_neck_hands_to_each_head() -> None:
    torch.manual_seed(0)
    net = yolo_nano.YoloNano().eval()
    x = torch.rand(1, 3, yolo_nano.SIDE, yolo_nano.SIDE)
    layout = Layout(yolo_nano.CLASSES, objectness=True)
    e = {a: relprop.explain(DetectionUnit(net, layout).at(a), x, 3, "odam") for a in (0, 1499)}
    assert {a: tuple(one.relevance.shape[-2:]) for a, one in e.items()} == {0: (10, 10), 1499: (20, 20)}


# Classifiers


class Branches(nn.Module):
    """Two branches that start from one map and meet in the head."""

    def __init__(self, trunk: bool) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()) if trunk else nn.Identity()
        c = 4 if trunk else 3
        self.a, self.b, self.head = nn.Conv2d(c, 4, 3), nn.Conv2d(c, 4, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk(x)
        return self.head(torch.cat([self.a(x).mean((2, 3)), self.b(x).amax((2, 3))], 1))


def test_branches_are_explained_where_they_begin() -> None:
    model, x = nets.seeded(Branches(trunk=True), 1), nets.pictures(2, 3, 8, 8)
    e = relprop.explain(model, x, 1, "grad-cam")
    assert e.at == "trunk"
    a = model.trunk(x).detach().requires_grad_()
    scores = model.head(torch.cat([model.a(a).mean((2, 3)), model.b(a).amax((2, 3))], 1))
    (g,) = torch.autograd.grad(scores[:, 1].sum(), a)
    expected = (g.mean((2, 3), keepdim=True) * a.detach()).sum(1, keepdim=True).clamp(min=0)
    assert_close_to_rounding(e.relevance, expected, model)


def test_branches_of_the_input_itself_are_named() -> None:
    model = nets.seeded(Branches(trunk=False), 1)
    with pytest.raises(InputError, match="2: 'a', 'b'"):
        relprop.explain(model, nets.pictures(1, 3, 8, 8), 1, "odam")
