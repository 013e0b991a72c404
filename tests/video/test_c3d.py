"""C3D: the published key names and shapes, any width and size, the reference network's logits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.refusals import assert_refused
from torch import nn
from torch.nn import functional as F

from relprop.errors import InputError
from relprop.video import C3D

NAMES = ["conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "fc8"]


def small(**settings: object) -> C3D:
    torch.manual_seed(0)
    return C3D(**{"classes": 5, "widths": (2, 3, 4, 5, 6), "hidden": 7, "size": 32, **settings})  # type: ignore[arg-type]


def test_published_layout() -> None:
    with torch.device("meta"):
        state = C3D(101).state_dict()
    assert list(state) == [f"{name}.{part}" for name in NAMES for part in ("weight", "bias")]
    shapes = {name: tuple(state[f"{name}.weight"].shape) for name in NAMES}
    assert shapes["conv1"] == (64, 3, 3, 3, 3)
    assert shapes["conv3b"] == (256, 256, 3, 3, 3)
    assert shapes["conv5b"] == (512, 512, 3, 3, 3)
    assert shapes["fc6"] == (4096, 8192)
    assert shapes["fc8"] == (101, 4096)
    # 78.41 million, the usual figure for C3D with UCF-101's classes.
    assert sum(t.numel() for t in state.values()) == 78_409_573


def by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Functional form: what goes into pool5, and the logits."""

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.conv3d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).relu()

    x = F.max_pool3d(conv("conv1", x), (1, 2, 2))
    x = F.max_pool3d(conv("conv2", x), 2)
    x = F.max_pool3d(conv("conv3b", conv("conv3a", x)), 2)
    x = F.max_pool3d(conv("conv4b", conv("conv4a", x)), 2)
    last = conv("conv5b", conv("conv5a", x))
    x = F.max_pool3d(last, 2, padding=(0, 1, 1)).flatten(1)
    for name in ("fc6", "fc7"):
        x = F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
    return last, F.linear(x, state["fc8.weight"], state["fc8.bias"])


@pytest.mark.parametrize(("frames", "size"), [(16, 32), (16, 48), (24, (40, 56)), (16, 16)])
def test_any_size_equals_the_functional_form(frames: int, size: int | tuple[int, int]) -> None:
    model = small(frames=frames, size=size).double().eval()
    for bias in (p for name, p in model.named_parameters() if name.endswith("bias")):
        nn.init.normal_(bias)
    x = torch.randn(2, *model.clip_shape, dtype=torch.float64)
    assert torch.allclose(model(x), by_hand(model.state_dict(), x)[1], rtol=1e-12, atol=1e-12)


def test_from_state_dict_finds_the_widths() -> None:
    model = small(frames=32, size=(48, 32)).eval()
    again = C3D.from_state_dict(model.state_dict(), frames=32, size=(48, 32)).eval()
    x = torch.randn(1, 3, 32, 48, 32)
    assert torch.equal(model(x), again(x))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_one_relu_and_one_dropout_are_shared() -> None:
    model = small()
    assert [type(m) for m in model.modules()].count(nn.ReLU) == 1
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5]
    x = torch.randn(2, 3, 16, 32, 32)
    model.train()
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_reference_network(oracles: Path) -> None:
    data = load_file(oracles / "tinyc3d.safetensors")
    state = {k.removeprefix("model."): v.double() for k, v in data.items() if k.startswith("model.")}
    model = C3D.from_state_dict(state).double().eval()
    # The float32 copies inside the fresh modules are exact: the oracle's weights are float32.
    assert all(torch.equal(model.state_dict()[key], value) for key, value in state.items())
    x = data["x"].double()
    with torch.no_grad():
        logits = model(x)
    last, _ = by_hand(state, x)
    assert last.shape == data["torchexplain.pool5_in"].shape
    assert (logits - data["logits"]).abs().max() <= 1e-12 * data["logits"].abs().max()


def test_errors() -> None:
    assert_refused(
        InputError,
        (lambda: C3D(5, widths=(2, 3)), "widths"),
        (lambda: small(hidden=0), "widths"),
        (lambda: small(frames=8), r"16 frames .*got 8 x 32 x 32"),
    )
    model = small().eval()
    assert_refused(
        InputError,
        (lambda: model(torch.zeros(1, 3, 16, 48, 48)), r"clips .*\(1, 3, 16, 48, 48\)"),
        (lambda: model(torch.zeros(3, 16, 32, 32)), r"got \(3, 16, 32, 32\)"),
        (
            lambda: C3D.from_state_dict({f"module.{k}": v for k, v in model.state_dict().items()}, size=32),
            r"22 are missing \(conv1.*22 unknown \(module",
        ),
        (lambda: C3D.from_state_dict(model.state_dict(), size=64), r"fc6 with 54 inputs .*got 24"),
    )
