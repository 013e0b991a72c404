"""Whatever goes wrong is one line on stderr and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from relprop.cli import run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 40), "white").save(path)
    return path


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\n"
        "from torch import nn\n"
        "def make():\n"
        "    body = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)\n"
        "    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4, 3))\n"
        "class Pair(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x, x\n"
        "class Decides(nn.Module):\n"
        "    def forward(self, x):\n"
        "        y = x.mean((2, 3))\n"
        "        return y if float(y.sum()) > 0 else -y\n"
        "class Multiplies(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.mean((2, 3)).cumprod(dim=1)\n"
    )
    return str(path)


def _line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("relprop: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["explain", "{photo}"], 2, "Missing option '--model'"),
        (["explain", "--model", "scenes-vgg"], 2, "Missing argument"),
        (["explain", "{photo}", "--model", "{net}:make", "--top", "0"], 2, "--top"),
        (["explain", "{photo}", "--model", "{net}:make", "--size", "8by8"], 2, "Expected a size"),
        (["explain", "{photo}", "--model", "{net}:make", "--mean", "a"], 2, "Expected numbers"),
        (["frobnicate"], 2, "No such command"),
        (["explain", "{tmp}/nowhere.png", "--model", "{net}:make"], 2, "does not exist"),
        (["explain", "{tmp}/cut.png", "--model", "{net}:make"], 2, "can't be decoded"),
        (["explain", "{photo}", "--model", "alexnet"], 2, "Valid: "),
        (
            ["explain", "{photo}", "--model", "{net}:make", "--method", "lrp-epsilom"],
            2,
            "Did you mean 'lrp-epsilon'",
        ),
        (["explain", "{photo}", "--model", "{net}:make", "--method", "lrp-epsilon:eps=1"], 2, "Valid: "),
        (["explain", "{photo}", "--model", "{net}:make", "--target", "9"], 2, "from 0 to 2 but got 9"),
        (["explain", "{photo}", "--model", "{net}:make", "--target", "cat"], 2, "--labels"),
        (["explain", "{photo}", "--model", "{net}:make", "--layer", "conv9"], 2, "conv9"),
        (["explain", "{photo}", "--model", "{net}:make", "--scale", "big"], 2, "--scale"),
        (["explain", "{photo}", "--model", "{net}:make", "--out", "{photo}"], 1, "is a file"),
        (["explain", "{photo}", "--model", "{net}:make", "--device", "cuda:99"], 2, "device"),
        (
            ["explain", "{photo}", "--model", "{net}:Pair", "--output", "7"],
            2,
            "there is no 7. Take one of 0, 1",
        ),
        (["explain", "{photo}", "--model", "{net}:Decides"], 1, "relprop: "),
        (["explain", "{photo}", "--model", "{net}:Multiplies", "--method", "lrp-epsilon"], 1, "cumprod"),
        (["explain", "{photo}", "--model", "torchvision:r3d_18", "--random-weights"], 2, "takes clips"),
        (["models", "--source", "keras"], 2, "Valid: timm, torchvision"),
    ],
)
def test_one_line(
    arguments: list[str],
    code: int,
    text: str,
    photo: Path,
    net: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:-30])
    filled = [a.format(photo=photo, net=net, tmp=tmp_path) for a in arguments]
    assert run(filled) == code
    assert text in _line(capsys)
    assert not (tmp_path / "relprop-out").exists()  # nothing half-written


def test_debug_shows_the_traceback(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELPROP_DEBUG", "1")
    with pytest.raises(Exception, match="does not exist"):
        run(["explain", "nowhere.png", "--model", f"{net}:make"])


def test_unexpected_errors_name_their_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("relprop.cli.output.print_table", broken)
    assert run(["methods"]) == 1
    assert "ZeroDivisionError: oh" in _line(capsys)


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relprop.cli.output.print_table", interrupted)
    assert run(["methods"]) == 130
    assert "interrupted" in _line(capsys)
