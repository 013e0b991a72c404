"""Every path stays on the device that the model is on: run on a pretended one (`tests/elsewhere.py`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.benchmark.make import pictures, recipe
from tests.close import assert_close_to_rounding
from tests.detectors.nets import queries, tiny_detector, two_stage_nets
from tests.detectors.nets.torchvision_nets import small
from tests.detectors.nets.yolo_like import yolo_like
from tests.detectors.nets.yolox_like import yolox_like
from tests.elsewhere import THERE, Elsewhere, WrongDeviceError, elsewhere
from torch import Tensor, nn

import relprop
from relprop.benchmark.worker import Worker
from relprop.catalogue import METHODS, METRICS
from relprop.datasets.demo import demo_clip_path, demo_image_path
from relprop.detectors import Letterbox
from relprop.errors import RelpropError
from relprop.models.c3d import C3D
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import read_picture
from relprop.models.sources import load_model
from relprop.video.modes import MODES


class Convolutions(nn.Module):
    """Convolution, batch norm, ReLU, pools, a shortcut, and a constant made in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2),
        )  # fmt: skip
        self.pool, self.head = nn.AdaptiveMaxPool2d(3), nn.Linear(54, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        y = y + torch.ones(6, 1, 1, device=y.device, dtype=y.dtype) * y
        return self.head(self.pool(y).flatten(1))


class Attends(nn.Module):
    """Convolutions, then attention over their positions, with norms and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.norm = Convolutions().features, nn.LayerNorm(6)
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x).flatten(2).mT
        z = self.norm(y)
        y = y + self.attention(z, z, z)[0]
        return self.head((y * y.sigmoid()).mean(1))


NETS: dict[str, Callable[[], nn.Module]] = {"convolutions": Convolutions, "attention": Attends}
SETTINGS = {
    "lrp": "lrp:rule=z-plus",
    "smoothgrad": "smoothgrad:samples=3",
    "integrated-gradients": "integrated-gradients:steps=3",
}
ASKED = [
    *(SETTINGS.get(name, name) for name in METHODS),
    "lrp:rule=alpha-beta,first=z-box,bounds=(-4.0, 4.0)",
    "lrp:rule=gamma,first=w-square",
    "lrp:rule=epsilon,first=flat",
    "deep-taylor:bounds=(-4.0, 4.0)",
]
REFUSES = {  # what these methods can't be asked of such a network
    ("attention", "affine"), ("attention", "rsp"), ("attention", "contrastive-rsp"),
    ("convolutions", "attention-rollout"), ("convolutions", "d-rise"), ("attention", "d-rise"),
    ("attention", "margin-rsp"),
}  # fmt: skip


@cache
def made(kind: str) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return NETS[kind]().double().eval(), torch.randn(2, 3, 12, 12, dtype=torch.float64)


@pytest.fixture(scope="module")
def pretended() -> Iterator[Elsewhere]:
    with elsewhere() as mode:
        yield mode
    made.cache_clear()


@pytest.fixture
def device(pretended: Elsewhere) -> Iterator[Elsewhere]:
    pretended.waits.clear()
    with pretended:
        yield pretended


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("method", ASKED)
def test_methods(kind: str, method: str, device: Elsewhere) -> None:
    """The map comes out there, and is the one of the CPU."""
    net, x = made(kind)
    if (kind, method.partition(":")[0]) in REFUSES:
        with pytest.raises(RelpropError):
            relprop.explain(device.take(net), device.take(x), 1, method)
        return
    with device.paused():
        expected = relprop.explain(net, x, 1, method)
    found = relprop.explain(device.take(net), device.take(x), 1, method)
    assert found.relevance.device == THERE
    if found.ledger is not None:
        assert found.ledger.closes
        assert str(found.ledger)
    targets = relprop.explain(net, x, [0, torch.tensor([1, 2])], method).relevance
    assert device.is_there(targets)
    assert sum(device.waits.values()) > 0
    with device.paused():
        assert_close_to_rounding(found.relevance, expected.relevance, net)


@pytest.mark.parametrize(
    "asked",
    [
        {"versus": 2},
        {"seed": "one"},
        {"start": "features", "target": 3},
        {"layers": ["features.3", "features"]},
        {"target": None},
        {"target": torch.tensor([0, 3])},
    ],
    ids=str,
)
def test_questions(asked: dict[str, Any], device: Elsewhere, tmp_path: Path) -> None:
    """What is asked, what is kept, what is drawn and what is saved."""
    net, x = made("convolutions")
    settings = {"seed": asked["seed"]} if "seed" in asked else {}
    asked = {"target": 1} | {k: v for k, v in asked.items() if k != "seed"}
    method = relprop.LRPEpsilon(**settings)
    e = relprop.explain(device.take(net), device.take(x), method=method, **asked)
    assert device.is_there(e.relevance)
    assert all(device.is_there(part) for part in e.layers.values())
    e.save(tmp_path / "saved")
    kept = relprop.Explanation.load(tmp_path / "saved")
    assert kept.relevance.device.type == "cpu"
    assert_close_to_rounding(kept.relevance, e.relevance.cpu(), 1)


@pytest.mark.parametrize("batch", [1, 5])
def test_batches_sizes_and_limits(batch: int, device: Elsewhere) -> None:
    net, _ = made("convolutions")
    device.take(net)
    for side in (12, 17):
        x = device.take(torch.randn(batch, 3, side, side, dtype=torch.float64))
        with relprop.memory_limit("low"):
            e = relprop.explain(net, x, 1, "lrp-alpha-beta")
        assert device.is_there(e.relevance)
        assert e.ledger is not None
        assert e.ledger.closes


def test_affine_forms(device: Elsewhere) -> None:
    net, x = made("convolutions")
    form = relprop.affine(device.take(net), device.take(x[:1]), 1, owners=True)
    assert device.is_there(form.weight)
    assert form.owners
    at = relprop.affine(net, x[:1], 1, at="features")
    assert device.is_there(at.weight)
    towards = device.take(torch.randn(1, 3, 12, 12, dtype=torch.float64))
    assert relprop.piecewise.crossing(net, x[:1], towards) is not None


@pytest.mark.parametrize("mode", MODES)
def test_clips(mode: Any, device: Elsewhere) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = C3D(3, widths=(2, 2, 2, 2, 2), hidden=4, frames=16, size=32).eval()
        clip = torch.rand(1, 3, 16, 32, 32)
    found = relprop.separate_motion(device.take(net), device.take(clip), 1, mode=mode)
    assert all(device.is_there(film) for film in (found.original, found.spatial, found.temporal))


@pytest.mark.parametrize("turns", [False, True])
def test_a_moving_camera(turns: bool, device: Elsewhere) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = C3D(3, widths=(2, 2, 2, 2, 2), hidden=4, frames=16, size=32).eval()
        clip = torch.rand(1, 3, 16, 32, 32)
    path = torch.eye(2, 3).repeat(16, 1, 1)
    path[1::2, 0, 2] = 0.5 if turns else 1.0
    found = relprop.separate_motion(
        device.take(net), device.take(clip), 1, mode="conserving", camera=device.take(path)
    )
    assert all(device.is_there(film) for film in (found.original, found.spatial, found.temporal))


def test_two_stages(device: Elsewhere) -> None:
    model = two_stage_nets.small("faster")
    device.take(model)
    detector = relprop.detectors.wrap(model)
    picture = torch.rand(3, 50, 70)
    found = detector(picture)
    for of in ("class", "cx", "x1"):
        e = relprop.explain_detection(detector, picture, found[0], of)
        assert e.ledger is not None
        assert e.ledger.closes
    relprop.explain_detection(detector, picture, [found[0], int(found[1].anchor)])
    relprop.explain_detection(detector.rpn, picture, found[0].proposal, method="lrp-composite")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [queries.Detr, queries.RtDetr])
def test_queries(device: Elsewhere, kind: type[Any]) -> None:
    model = queries.lively_queries(kind)
    device.take(model)
    detector = relprop.detectors.wrap(model, score_threshold=0.1)
    x = torch.randn(3, 32, 48)
    for of in ("class", "cx", "x1"):
        e = relprop.explain_detection(detector, x, detector(x)[0], of)
        assert e.ledger is not None
        assert e.ledger.closes


@pytest.mark.parametrize("make", [lambda: yolo_like(attends=True), yolox_like, lambda: small("fcos")])
def test_detectors_that_measure_from_a_grid(device: Elsewhere, make: Callable[[], Any]) -> None:
    with device.paused():
        model = make()
    device.take(model)
    detector = relprop.detectors.wrap(model)
    prepare = Letterbox((64, 64), std=detector.std) if detector.name == "YoloxLike" else detector.prepare
    detector = relprop.detectors.wrap(detector, prepare=prepare)
    picture = torch.rand(3, 50, 70)
    found = detector(picture)
    for of in ("class", detector.offsets[0], "x1"):
        e = relprop.explain_detection(detector, picture, found[0], of)
        assert device.is_there(e.relevance)
        assert e.ledger is not None
        assert e.ledger.closes


def test_detections(device: Elsewhere) -> None:
    detector = tiny_detector.detector()
    device.take(detector.raw)
    picture = torch.rand(3, 20, 20)
    found = detector(picture)
    for of in ("class", "cx", "h"):
        e = relprop.explain_detection(detector, picture, found[0], of)
        assert device.is_there(e.relevance)
    for method in ("grad-cam", "odam:smooth=1", "d-rise:masks=5"):
        e = relprop.explain_detection(detector, picture, list(found), method=method)
        assert device.is_there(e.relevance)


def test_metrics(device: Elsewhere, tmp_path: Path) -> None:
    """A benchmark of every metric: the numbers of the CPU, and nothing fails."""
    twin = f"{tmp_path / 'set' / 'nets.py'}:Net"
    settings: dict[str, dict[str, object]] = {
        "masking-fidelity": {"top": 1},
        "data-randomisation": {"twin": twin},
    }
    by_quantus = ("infidelity", "max-sensitivity")
    names = [name for name in METRICS if find_spec("quantus") is not None or name not in by_quantus]
    metrics = [{"name": name, **settings.get(name, {})} for name in names]
    given = recipe(pictures(tmp_path / "set"), methods=["lrp-epsilon", "random"], metrics=metrics)
    worker = Worker(given)
    device.take(worker.model.module)
    found = worker.process(0)
    with device.paused():
        expected = Worker(given).process(0)
    assert (found.problems, expected.problems) == ((), ())
    assert len(found.records) == len(expected.records) > 50
    for one, other in zip(found.records, expected.records, strict=True):
        assert (one.image, one.label, one.method, one.metric) == (
            other.image, other.label, other.method, other.metric,
        )  # fmt: skip
        assert one.values == pytest.approx(other.values, abs=1e-4, nan_ok=True)


def test_what_is_known_of_a_bundled_model(device: Elsewhere) -> None:
    """The range of its pixels, and what tells pictures that are unlike its own."""
    model = relprop.models.load("scenes-resnet")
    device.take(model.module)
    x = device.take(model.preprocess(read_picture(demo_image_path())))
    for method in ("lrp-composite", "deep-taylor", "contrastive-rsp"):
        e = relprop.explain(model.module, x, None, method)
        assert device.is_there(e.relevance)


def loaded(device: Elsewhere, spec: str) -> LoadedModel:
    model = load_model(spec)
    device.take(model.module)
    return model


def test_reports(device: Elsewhere, tmp_path: Path) -> None:
    """What the commands compute, draw and write with --device."""
    picture = demo_image_path()
    vit = relprop.reports.picture(
        loaded(device, "scenes-vit"),
        picture,
        method=["attnlrp", "gradient"],
        target=["top", "1"],
        out=tmp_path,
    )
    assert vit.document["images"]
    assert len(vit.figures["demo_scene/sheet.png"].axes) >= 4
    forms = relprop.reports.affine(loaded(device, "scenes-vgg"), picture, region=True)
    assert all(forms.figures.values())
    detector = relprop.detectors.load("scenes-ssd")
    device.take(detector.raw)
    boxes = relprop.reports.detection(detector, picture, box=0)
    assert all(boxes.figures.values())
    film = relprop.reports.video(loaded(device, "motion-c3d"), demo_clip_path(), mode="conserving")
    assert all(film.figures.values())


class TwoInputs(nn.Module):
    """A map of scores, made of a picture and of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.steps = nn.Conv2d(3, 4, 3, padding=1), nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        return self.conv(x).relu() + self.steps(words)[0][:, -1][..., None, None]


def test_several_inputs_and_a_region(device: Elsewhere) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, x, words = TwoInputs().eval(), torch.randn(1, 3, 6, 6), torch.randn(1, 3, 5)
    region = torch.zeros(6, 6)
    region[2:4, 1:5] = 1
    device.take(net)
    found = relprop.explain(net, tuple(device.take([x, words])), 1, "lrp-0", region=region)
    assert all(device.is_there(e.relevance) for e in found)


def test_functions_of_ones_own(device: Elsewhere) -> None:
    """A method that is a function, a seed of one's own, a rule by name, a trace by hand."""
    net, x = made("convolutions")
    device.take(net), device.take(x)

    def gradient(model: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(model(leaf).gather(1, targets[:, None]).sum(), leaf)
        return found

    assert device.is_there(relprop.explain(net, x, 1, gradient).relevance)
    trace = relprop.trace(net, x)
    rules = relprop.Composite([("linear", relprop.rules.ZPlus())], name="mine")
    assert device.is_there(trace.propagate(trace.output * 0 + 1, rules))


class Mask(relprop.methods.Method):
    """Forgets the device."""

    name = "mask"
    summary = "a mask on the CPU"

    def explain(self, request: Any) -> Any:
        x = request.trace.input
        return relprop.methods.Result(x * torch.ones(x.shape, dtype=x.dtype))


WRONG: dict[str, Callable[[Tensor], Any]] = {
    "made": lambda x: x + torch.ones(3),
    "joined": lambda x: torch.cat([x, torch.ones(3)]),
    "filled": lambda x: torch.where(x > 0, x, torch.zeros(3)),
    "in place": lambda x: x.mul_(torch.ones(3)),
    "written": lambda x: x.__setitem__(slice(None), torch.ones(3)) or torch.ones(3).mul(x),
    "into": lambda x: torch.zeros(3).__setitem__(slice(0, 2), 1) or torch.zeros(3)[x > 0],
    "numpy": lambda x: x.numpy(),
    "back": lambda x: x.cpu() * x,
    "drawn": lambda x: torch.rand(3, device=x.device, generator=torch.Generator()),
}
RIGHT: dict[str, Callable[[Tensor], Any]] = {
    "number": lambda x: x * torch.tensor(2.0),
    "like": lambda x: torch.ones_like(x) + x.new_zeros(3) + torch.ones(3, device=x.device),
    "moved": lambda x: torch.ones(3).to(x) + torch.ones(3).to(x.device) + x,
    "indices": lambda x: x[torch.tensor([0, 2])],
    "copied": lambda x: x.copy_(torch.ones(3)),
    "back": lambda x: x.cpu().numpy() + torch.ones(3).numpy(),
    "gradient": lambda x: torch.autograd.grad((x.requires_grad_() ** 2).sum(), x)[0] + x.detach(),
    "view": lambda x: x[None].expand(2, 3).sum(0) + x,
}


@pytest.mark.parametrize("how", WRONG)
def test_what_an_accelerator_refuses_is_refused(how: str, device: Elsewhere) -> None:
    with pytest.raises(WrongDeviceError):
        WRONG[how](device.take(torch.tensor([1.0, -2.0, 3.0])))


@pytest.mark.parametrize("how", RIGHT)
def test_what_an_accelerator_takes_is_taken(how: str, device: Elsewhere) -> None:
    assert RIGHT[how](device.take(torch.tensor([1.0, -2.0, 3.0]))) is not None


def test_a_method_that_forgets_the_device_is_found(device: Elsewhere) -> None:
    net, x = made("convolutions")
    with pytest.raises(WrongDeviceError), warnings.catch_warnings():
        relprop.explain(device.take(net), device.take(x), 1, Mask())
