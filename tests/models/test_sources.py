from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.close import assert_close_to_rounding
from tests.refusals import assert_refused
from torch import nn

from relprop.datasets.motion import MotionClips
from relprop.errors import InputError, RelpropError, UnknownNameError
from relprop.methods.bounds import pixel_bounds
from relprop.models import bundled_clips as clips
from relprop.models import sources
from relprop.models.sampling import Sampling
from relprop.models.sources import load_model, read_labels, source_names
from relprop.models.state import read_state
from relprop.video import C3D

FACTORY = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

ready = make()

def broken():
    raise KeyError("no such block")

def number():
    return 3
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FACTORY)
    return path


def test_file_factory(factory: Path) -> None:
    model = load_model(f"{factory}:make", size=(20, 30), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert not model.module.training
    assert model.input_size == (20, 30)
    assert model.example(2).shape == (2, 3, 20, 30)
    assert model.preprocess(Image.new("RGB", (64, 64), "white")).unique().tolist() == [1.0]
    # A module is as good as a function, and both are seeded: the second call gives the same weights.
    assert load_model(f"{factory}:ready").module(model.example()).shape == (1, 2)
    again = load_model(f"{factory}:make").module
    for a, b in zip(model.module.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_loading_leaves_the_random_state(factory: Path) -> None:
    before = torch.get_rng_state()
    load_model(f"{factory}:make")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_are_loaded(factory: Path, tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(5)
    state = {k: torch.randn_like(v) for k, v in load_model(f"{factory}:make").module.state_dict().items()}
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    else:
        save_file(state, path)
    loaded = load_model(f"{factory}:make", weights=path)
    assert loaded.weights == str(path)
    for name, tensor in loaded.module.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "bomb.pth"
    torch.save({"weight": Bomb()}, path)
    with pytest.raises(InputError, match="Expected plain tensors"):
        read_state(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (
            {"0.weight": torch.zeros(4, 3, 5, 5)},
            r"0\.weight has shape \(4, 3, 5, 5\) instead of \(4, 3, 3, 3\)",
        ),
        ({"other": torch.zeros(1)}, "0.weight is missing; 0.bias is missing; .* and 2 more"),
    ],
)
def test_weights_that_do_not_fit(
    factory: Path, tmp_path: Path, state: dict[str, torch.Tensor], text: str
) -> None:
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=text):
        load_model(f"{factory}:make", weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_weights_files_that_are_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_state(tmp_path / name)
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(InputError, match="Expected"):
        read_state(tmp_path / name)


@pytest.mark.parametrize(
    ("spec", "error", "text"),
    [
        ("resnet18", UnknownNameError, "torchvision:NAME"),
        ("keras:resnet18", UnknownNameError, "Expected a known model"),
        ("motion-c4d", UnknownNameError, "Did you mean 'motion-c3d'"),
        ("nowhere.py:make", InputError, "does not exist"),
        ("{factory}:mak", UnknownNameError, "Did you mean 'make'"),
        ("{factory}:broken", RelpropError, "raised KeyError: 'no such block'"),
        ("{factory}:number", InputError, "torch.nn.Module but got int"),
        ("torchvision:resnet19", UnknownNameError, "Did you mean 'resnet18'"),
        ("timm:resnet19", UnknownNameError, "List them with"),
    ],
)
def test_unusable_specifications(factory: Path, spec: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        load_model(spec.format(factory=factory))


def test_unusable_options(factory: Path) -> None:
    spec = f"{factory}:make"
    assert_refused(
        InputError,
        (lambda: load_model(spec, weights="w.pth", random_weights=True), "got both"),
        (lambda: load_model(spec, device="gpu7"), "Expected a device"),
        (lambda: load_model(spec, mean=(0, 0, 0), std=(1, 0, 1)), "above 0 in std"),
        (lambda: load_model(spec, mean=(0, 0)), "as many numbers"),
        (lambda: load_model(spec, size=(0, 5)), "positive"),
    )


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (224, 224), (100, 151)])
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])  # bilinear and bicubic
def test_preprocessing_equals_torchvision(name: str, size: tuple[int, int]) -> None:
    from relprop.compat import load_torchvision

    preset = load_torchvision().models.get_model_weights(name).DEFAULT.transforms()
    model = load_model(f"torchvision:{name}", random_weights=True)
    noise = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(0))
    image = Image.fromarray(noise.to(torch.uint8).numpy())
    assert_close_to_rounding(model.preprocess(image), preset(image)[None], 4)  # /255, - mean, / std
    assert model.classes is not None
    assert model.classes[0] == "tench"


def test_torchvision_head_follows_the_weights(tmp_path: Path) -> None:
    ours = load_model("torchvision:squeezenet1_1", random_weights=True).module
    assert isinstance(ours.classifier[1], nn.Conv2d)
    state = ours.state_dict()
    for key in ("classifier.1.weight", "classifier.1.bias"):
        state[key] = state[key][:7].clone()
    save_file(state, tmp_path / "w.safetensors")
    model = load_model("torchvision:squeezenet1_1", weights=tmp_path / "w.safetensors")
    with torch.no_grad():
        assert model.module(model.example()).shape == (1, 7)


def test_published_weights_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(RelpropError, match=r"no route to host.*--weights.*--random-weights"):
        load_model("torchvision:squeezenet1_1")


def test_clips() -> None:
    model = load_model("torchvision:r3d_18", random_weights=True)
    assert model.takes_clips
    assert model.example().shape == (1, 3, 16, 112, 112)


def test_bundled_clip_model() -> None:
    """The sampling makes of a clip of the network's own size what the bundled model makes of it."""
    bundled, model = clips.load(), load_model("motion-c3d")
    assert model.sampling == Sampling(resize=48, crop=48, divisor=1, mean=(90, 98, 102))
    assert (model.input_size, model.weights, model.multi_label) == ((16, 48, 48), "bundled", False)
    assert model.takes_clips
    assert model.classes == bundled.classes
    frames = MotionClips(n=1, seed=6, split="test")[0].frames
    x = model.sampling.tensor(np.stack([model.sampling.picture(frame) for frame in frames]))
    assert_close_to_rounding(x, bundled.preprocess(frames), 4)
    with torch.no_grad():
        assert torch.equal(model.module(x), bundled.module(x))
    # mean and std are those of pictures in 0-1, as for every other model.
    low, high = pixel_bounds(model.mean, model.std)
    for found, expected in zip((low, high), model.sampling.bounds(), strict=True):
        assert torch.allclose(found.double(), expected.double(), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("size", [None, (16, 32, 48)])
def test_c3d_with_weights(tmp_path: Path, size: tuple[int, int, int] | None) -> None:
    torch.manual_seed(0)
    built = (112, 112) if size is None else size[1:]
    net = C3D(classes=5, widths=(2, 3, 4, 5, 6), hidden=7, size=built).eval()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    model = load_model("c3d", weights=tmp_path / "w.safetensors", size=size)
    assert model.input_size == (16, *built)
    assert model.weights == str(tmp_path / "w.safetensors")
    assert model.sampling == Sampling.c3d()
    assert model.classes is None
    x = model.example()
    with torch.no_grad():
        assert torch.equal(model.module(x), net(x))


def test_c3d_of_another_length(tmp_path: Path) -> None:
    net = C3D(classes=3, widths=(1, 1, 1, 1, 1), hidden=2, frames=32, size=16)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    model = load_model("c3d", weights=tmp_path / "w.safetensors", size=(32, 16, 16))
    assert model.input_size == (32, 16, 16)
    with pytest.raises(InputError, match=r"fc6 with 9 inputs .*got 2"):
        load_model("c3d", weights=tmp_path / "w.safetensors", size=(16, 64, 64))


def test_c3d_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c3d .*--weights.*--random-weights"):
        load_model("c3d")
    with pytest.raises(InputError, match=r"c3d but got \(112, 112\)"):
        load_model("c3d", random_weights=True, size=(112, 112))
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"keys conv1\.weight"):
        load_model("c3d", weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "resize", "side"),
    [
        ("r3d_18", (128, 171), 112),
        ("mc3_18", (128, 171), 112),
        ("r2plus1d_18", (128, 171), 112),
        ("s3d", (256, 256), 224),
        ("mvit_v2_s", 256, 224),
        ("swin3d_t", 256, 224),
    ],
)
def test_sampling_of_torchvision(name: str, resize: int | tuple[int, int], side: int) -> None:
    """Of frames that need no resize the sampling makes what torchvision's own preset does."""
    from relprop.compat import load_torchvision

    recipe = sources._recipe(f"torchvision:{name}", False, False, None)  # builds nothing
    sampling = recipe.sampling
    assert sampling is not None
    assert (sampling.frames, sampling.stride, sampling.start) == (16, 2, 0)
    assert (sampling.resize, sampling.crop, sampling.order) == (resize, (side, side), "rgb")
    assert recipe.size == (16, side, side)
    shape = (resize, resize + 51) if isinstance(resize, int) else resize
    frames = np.random.default_rng(0).integers(0, 256, (16, *shape, 3), dtype=np.uint8)
    x = sampling.tensor(np.stack([sampling.picture(frame) for frame in frames]))
    preset = load_torchvision().models.get_model_weights(name).DEFAULT.transforms()
    theirs = preset(torch.from_numpy(frames).permute(0, 3, 1, 2))
    assert x[0].shape == theirs.shape
    assert float((x[0] - theirs).abs().max()) < 1e-6


def test_models_of_pictures_have_no_sampling(factory: Path) -> None:
    assert load_model("scenes-vgg").sampling is None
    assert load_model(f"{factory}:make").sampling is None
    assert sources._recipe("torchvision:resnet18", False, False, None).sampling is None


def test_timm() -> None:
    model = load_model("timm:resnet10t.c3_in1k", random_weights=True)
    assert model.input_size == (176, 176)
    assert model.classes is not None
    assert model.classes[0].startswith("tench")
    assert "resnet10t" in source_names("timm")


def test_what_the_hub_logs_is_dropped_in_this_thread_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("huggingface_hub.file_download")
    log = logging.getLogger("huggingface_hub.file_download")
    levels = {name: logging.getLogger(name).level for name in ("huggingface_hub", log.name)}

    def unreachable(*_: object, **__: object) -> None:
        assert {name: logging.getLogger(name).level for name in levels} == levels
        log.error("retrying")
        other = threading.Thread(target=log.error, args=("of another thread",))
        other.start()
        other.join()
        raise OSError("no network")

    monkeypatch.setattr("timm.create_model", unreachable)
    with pytest.raises(RelpropError, match="can't be had here"):
        load_model("timm:resnet10t.c3_in1k")
    assert [r.getMessage() for r in caplog.records if r.name == log.name] == ["of another thread"]
    assert not log.filters


def test_labels(tmp_path: Path) -> None:
    text = tmp_path / "names.txt"
    text.write_text("cat\n dog \n\n", encoding="utf-8")
    assert read_labels(text) == ["cat", "dog"]
    file = tmp_path / "names.json"
    for content in (["cat", "dog"], {"1": "dog", "0": "cat"}):
        file.write_text(json.dumps(content))
        assert read_labels(file) == ["cat", "dog"]
    for bad in ("[1, 2]", "{", '{"1": "dog"}'):
        file.write_text(bad)
        with pytest.raises(InputError, match="Expected a labels file"):
            read_labels(file)
    with pytest.raises(InputError, match="does not exist"):
        read_labels(tmp_path / "none.txt")


def test_torchvision_detection_runs_without_its_binary() -> None:
    # In a process of its own: the shim acts on the import, and only where the binary can't load.
    code = (
        "from relprop.compat import load_torchvision; import torch; torch.manual_seed(0); tv = load_torchvision();"
        "boxes = torch.rand(60, 2); boxes = torch.cat([boxes, boxes + torch.rand(60, 2)], 1); s = torch.rand(60);"
        "from relprop.compat import nms;"
        "assert tv.ops.nms(boxes, s, 0.3).tolist() == nms(boxes, s, 0.3).tolist();"
        "assert tv.ops.nms(boxes[:0], s[:0], 0.3).tolist() == []"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
