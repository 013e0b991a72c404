"""What training scripts store of a network: half the bytes, and scores of what is stored."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from tests.scripts import script
from torch import nn

from relprop.models.bundled import read_bundled

WEIGHTS = Path(str(files("relprop.models") / "weights"))
NAMES = sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


@pytest.fixture
def training() -> ModuleType:
    return script("stored")


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("name", NAMES)
def test_bundled_files_are_as_the_scripts_store_them(name: str, training: ModuleType, tmp_path: Path) -> None:
    """Half precision in the file where there are many numbers; what is read back is float32, and rounded."""
    held = load_file(WEIGHTS / f"{name}.safetensors")
    card, read = read_bundled(name)
    for key, tensor in held.items():
        if tensor.is_floating_point():
            assert tensor.dtype == (torch.float16 if tensor.ndim > 1 else torch.float32), key
            assert read[key].dtype == torch.float32
            assert torch.equal(read[key], tensor.float())
        else:
            assert read[key].dtype == tensor.dtype
    assert card["numbers"] == training.NUMBERS


def test_what_is_written_is_what_was_rounded(training: ModuleType, tmp_path: Path) -> None:
    net = training.rounded(_net())
    said = training.save_weights(tmp_path, "net", net)
    training.save_card(tmp_path, "net", {**said, "training": 1, **training.provenance("score")})
    card = json.loads((tmp_path / "net.json").read_text(encoding="utf-8"))
    data = (tmp_path / "net.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(data).hexdigest()
    assert card["parameters"] == sum(p.numel() for p in net.parameters())

    again, made = training.stored(tmp_path, "net", _net())
    assert made == {key: card[key] for key in ("training", "reproducible", "versions", "date")}
    for key, tensor in net.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    # Stored again, it is the same file.
    assert training.save_weights(tmp_path, "net", training.rounded(again)) == said
    assert (tmp_path / "net.safetensors").read_bytes() == data


def test_rounding_keeps_eleven_digits_and_the_small_tensors(training: ModuleType) -> None:
    before, after = _net().state_dict(), training.rounded(_net()).state_dict()
    for key, tensor in before.items():
        if tensor.ndim > 1:
            assert not torch.equal(after[key], tensor)
            assert torch.allclose(after[key], tensor, rtol=2**-11, atol=0.0)
        else:
            assert torch.equal(after[key], tensor)


def test_weights_that_float16_cannot_hold_are_refused(training: ModuleType) -> None:
    net = _net()
    with torch.no_grad():
        net[3].weight[0, 0] = 7e4  # type: ignore[index, union-attr]
    with pytest.raises(SystemExit, match=r"3\.weight are too large for float16"):
        training.rounded(net)
