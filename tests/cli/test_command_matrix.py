"""Command lines that can't be carried out: each ends in one sentence and one exit code, in time, nothing lost."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import sqlite3
import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tests.matrix import Tally, TooLong, limited, snapshot, unclear

from relprop.cli import run
from relprop.datasets.demo import demo_clip_path
from relprop.models.c3d import C3D

NET = """
import sys
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    body = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4, 3))

class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, 3)
    def forward(self, x):
        return self.head(x.flatten(1))

class Pair(nn.Module):
    def forward(self, x):
        return x, x

class Maps(nn.Module):
    def forward(self, x):
        return {"maps": x, "scores": x.mean((2, 3))}

class Decides(nn.Module):
    def forward(self, x):
        y = x.mean((2, 3))
        return y if float(y.sum()) > 0 else -y

class Multiplies(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)).cumprod(dim=1)

class Leaves(nn.Module):
    def forward(self, x):
        sys.exit(0)

class Nan(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) * float("nan")

class Stops(nn.Module):
    def forward(self, x):
        raise ValueError("this network is out of order")

def exits():
    sys.exit(0)

def raises():
    raise KeyError("missing")

def nothing():
    return None

def needs(width):
    return nn.Linear(width, 1)

number = 5
"""


def _png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(ran) print\nshowpage\n"


def _pictures(here: Path) -> None:
    Image.new("RGB", (40, 40), (200, 30, 60)).save(here / "a.png")
    Image.new("RGB", (1, 60_000)).save(here / "thin.png")
    (here / "cut.png").write_bytes((here / "a.png").read_bytes()[:-30])
    (here / "empty.png").write_bytes(b"")
    (here / "text.png").write_text("hello")
    (here / "bomb.png").write_bytes(_png(60_000))
    (here / "a.eps").write_bytes(EPS)
    (here / "disguised.png").write_bytes(EPS)
    (here / "folder.png").mkdir()
    (here / "loop.png").symlink_to("loop.png")
    os.mkfifo(here / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(here / "socket"))


def _code(here: Path) -> None:
    (here / "net.py").write_text(NET)
    (here / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    (here / "broken.py").write_text("def make(:\n")
    (here / "raises.py").write_text("raise RuntimeError('no')\n")
    (here / "binary.py").write_bytes(b"\xff\xfe\x00\x01")
    (here / "needs.py").write_text("import a_package_that_is_not_there\n")
    (here / "set.py").write_text("import sys\nclass Leaves:\n    def __init__(self):\n        sys.exit(0)\n")
    (here / "plug.py").write_text("import sys\ndef mine(model, x, targets):\n    sys.exit(0)\n")


def _texts(here: Path) -> None:
    (here / "names.txt").write_text("cat\ndog\nowl\n")
    (here / "few.txt").write_text("cat\n")
    (here / "empty.txt").write_text("")
    (here / "latin.txt").write_bytes("Käfer\n".encode("latin-1"))
    (here / "nested.json").write_text("[" * 100_000)
    (here / "numbers.json").write_text("[1, 2, 3]")
    (here / "cut.json").write_text('["cat", ')


def _weights(here: Path) -> None:
    torch.manual_seed(0)
    good = {"0.weight": torch.randn(4, 3, 3, 3), "0.bias": torch.zeros(4)}
    good |= {"4.weight": torch.randn(3, 4), "4.bias": torch.zeros(3)}
    save_file(good, here / "good.safetensors")
    changed = {
        "int8": good["0.weight"].to(torch.int8),
        "bool": good["0.weight"] > 0,
        "float8": good["0.weight"].to(torch.float8_e4m3fn),
        "shape": torch.randn(4, 3, 5, 5),
    }
    for name, tensor in changed.items():
        save_file(good | {"0.weight": tensor}, here / f"{name}.safetensors")
    torch.save(good | {"0.weight": torch.randn(4, 3, 3, 3).to(torch.complex64)}, here / "complex.pth")
    torch.save(good | {"0.weight": good["0.weight"].to_sparse()}, here / "sparse.pth")
    torch.save(good | {"0.weight": torch.empty(4, 3, 3, 3, device="meta")}, here / "meta.pth")
    c3d = C3D(2, widths=(1, 1, 1, 1, 1), hidden=2).state_dict()
    torch.save(c3d | {"conv1.weight": torch.zeros(())}, here / "c3d-flat.pth")
    torch.save(c3d | {"conv2.bias": c3d["conv2.bias"].to(torch.int8)}, here / "c3d-int8.pth")
    torch.save([1, 2], here / "list.pth")
    torch.save({"model": good, "path": Path("x")}, here / "objects.pth")
    (here / "cut.safetensors").write_bytes((here / "good.safetensors").read_bytes()[:-20])
    (here / "cut.pth").write_bytes((here / "list.pth").read_bytes()[:-40])
    (here / "empty.pth").write_bytes(b"")
    (here / "text.safetensors").write_text("no weights")
    (here / "evil.pth").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")


RECIPE = """
methods = ["gradient"]
metrics = ["energy"]
[data]
name = "folder"
folder = "data"
[model]
spec = "net.py:make"
labels = "names.txt"
"""


def _benchmarks(here: Path) -> None:
    data = here / "data"
    data.mkdir()
    Image.new("RGB", (40, 40), "red").save(data / "a.png")
    (data / "labels.csv").write_text("file,label,x0,y0,x1,y1\na.png,cat,1,1,20,20\n")
    (here / "mine.toml").write_text(RECIPE)
    (here / "cut.toml").write_text("[data")
    (here / "latin.toml").write_bytes("about = 'Käfer'".encode("latin-1"))
    (here / "nested.toml").write_text("a = " + "[" * 100_000)
    (here / "bare.toml").write_text("about = 'nothing else'")
    (here / "wrong.toml").write_text(RECIPE.replace('["gradient"]', "5"))
    (here / "date.toml").write_text(RECIPE + "size = 2020-01-01\n")
    (here / "key.toml").write_text("metod = 1\n" + RECIPE)
    (here / "none.toml").write_text(RECIPE.replace('["gradient"]', "[]"))
    (here / "leaves.toml").write_text(RECIPE.replace('"folder"\nfolder = "data"', '"set.py:Leaves"'))
    (here / "text.toml").write_text(RECIPE.replace('"energy"', '{name = "perturbation", steps = "many"}'))
    (here / "steps.toml").write_text(
        RECIPE.replace('"energy"', '{name = "perturbation", steps = 1000000000}')
    )
    for name in ("text", "other", "torn", "pipe"):
        (here / f"kept-{name}").mkdir()
    (here / "kept-text" / "results.sqlite").write_text("no database" * 100)
    os.mkfifo(here / "kept-pipe" / "results.sqlite")
    with sqlite3.connect(here / "kept-other" / "results.sqlite") as base:
        base.execute("create table recipes (name text)")
    base.close()
    torn = here / "kept-torn" / "results.sqlite"
    with sqlite3.connect(torn) as base:
        base.execute("create table facts (name text primary key, value text not null)")
        base.executemany("insert into facts values (?, ?)", [(f"{i:04}", "x" * 500) for i in range(100)])
    base.close()
    data_ = bytearray(torn.read_bytes())
    data_[4096 : 3 * 4096] = b"\xff" * 8192
    torn.write_bytes(data_)


def _places(here: Path) -> None:
    """Where results can't go."""
    (here / "file").write_text("mine")
    for name in ("recommended", "lrp-composite", "box-0", "deep-taylor", "affine"):
        for subject in ("a", "demo_clip"):
            folder = here / "taken" / subject / name
            folder.mkdir(parents=True)
            (folder / "thesis.tex").write_text("years of work")
    for name in ("sheet.png", "detections.png", "figure.png", "layers.png"):
        (here / "blocked" / "a" / name).mkdir(parents=True)
    (here / "blocked" / "demo_clip" / "figure.png").mkdir(parents=True)
    (here / "blocked" / "depth.png").mkdir(parents=True)
    (here / "kept-depth").mkdir()
    (here / "kept-depth" / "depth.jsonl").write_text("no numbers\n")
    (here / "pipe-depth").mkdir()
    os.mkfifo(here / "pipe-depth" / "depth.jsonl")


def _reports(here: Path) -> None:
    """Results that can't be reported, and where a report can't go."""
    manifest = {"format": "relprop-explanation", "format_version": 2, "files": {"relevance.safetensors": {}}}
    for name, facts in {
        "torn": manifest,
        "newer": manifest | {"format_version": 9},
        "bare": manifest,
    }.items():
        (here / "reported" / name).mkdir(parents=True)
        (here / "reported" / name / "manifest.json").write_text(json.dumps(facts))
    (here / "reported" / "torn" / "relevance.safetensors").write_bytes(b"no numbers")
    (here / "mine.html").write_text("<p>years of work")
    (here / "folder.html").mkdir()
    page = {"explanations": [{"folder": "gone/away"}]}
    (here / "named.json").write_text(json.dumps({"relprop": "0.1.0", "images": [page]}))


def _clips(here: Path) -> None:
    shutil.copy(demo_clip_path(), here / "demo_clip.avi")
    film = (here / "demo_clip.avi").read_bytes()
    (here / "cut.avi").write_bytes(film[: len(film) // 3])
    (here / "head.avi").write_bytes(film[:100])
    (here / "empty.avi").write_bytes(b"")
    (here / "text.mp4").write_text("no film")
    (here / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELPROP_DEBUG", raising=False)
    for make in (_pictures, _code, _texts, _weights, _benchmarks, _places, _reports, _clips):
        make(tmp_path)
    return tmp_path


LONG = "n" * 300
M = "--model net.py:make"

EXPLAIN = [
    # pictures
    ("explain", 2, "Missing argument"),
    ("explain a.png", 2, "Missing option '--model'"),
    (f"explain gone.png {M}", 2, "which does not exist"),
    (f"explain gone/a.png {M}", 2, "which does not exist"),
    (f"explain a.png/b.png {M}", 2, "can't be reached: Not a directory"),
    (f"explain '' {M}", 2, "which is a folder|does not exist"),
    (f"explain folder.png {M}", 2, "holds none"),
    (f"explain pipe {M}", 2, "FIFO"),
    (f"explain socket {M}", 2, "socket"),
    (f"explain /dev/zero {M}", 2, "a device"),
    (f"explain /dev/stdin {M}", 2, "Expected a picture file"),
    (f"explain loop.png {M}", 2, "can't be reached"),
    (f"explain {LONG}.png {M}", 2, "can't be reached: File name too long"),
    (f"explain 'a\0b.png' {M}", 2, "null byte|be the name of a file"),
    (f"explain empty.png {M}", 2, "no picture format fits"),
    (f"explain text.png {M}", 2, "no picture format fits"),
    (f"explain cut.png {M}", 2, "can't be decoded"),
    (f"explain bomb.png {M}", 2, "decompression bomb"),
    (f"explain a.eps {M}", 2, "no picture format fits"),
    (f"explain disguised.png {M}", 2, "no picture format fits"),
    (f"explain thin.png {M}", 2, "usual proportions"),
    (f"explain a.png gone.png {M}", 2, "gone.png"),
    # models
    ("explain a.png --model alexnet", 2, "Expected a known model .*Valid: "),
    ("explain a.png --model torchvision:resnet19", 2, "Did you mean"),
    ("explain a.png --model torchvision:", 2, "Expected a torchvision model"),
    ("explain a.png --model keras:vgg", 2, "Expected a known model"),
    ("explain a.png --model gone.py:make", 2, "does not exist"),
    ("explain a.png --model net.py:mak", 2, "Did you mean 'make'"),
    ("explain a.png --model net.py:", 2, "known name|known model"),
    ("explain a.png --model folder.png:make", 2, "known model"),
    ("explain a.png --model net.py:exits", 1, r"called sys.exit\(0\)"),
    ("explain a.png --model leaves.py:make", 1, r"called sys.exit\(0\)"),
    ("explain a.png --model net.py:Leaves", 1, r"called sys.exit\(0\)"),
    ("explain a.png --model broken.py:make", 1, "SyntaxError"),
    ("explain a.png --model raises.py:make", 1, "RuntimeError: no"),
    ("explain a.png --model binary.py:make", 1, "raised"),
    ("explain a.png --model needs.py:make", 1, "ModuleNotFoundError"),
    ("explain a.png --model net.py:raises", 1, "raised"),
    ("explain a.png --model net.py:nothing", 2, "torch.nn.Module but got None"),
    ("explain a.png --model net.py:number", 2, "torch.nn.Module but got int"),
    ("explain a.png --model net.py:needs", 1, "TypeError"),
    ("explain a.png --model net.py:Pair", 0, ""),  # the first of two, which a note says
    ("explain a.png --model net.py:Decides", 1, "Can't capture"),
    ("explain a.png --model net.py:Multiplies --method lrp-epsilon", 1, "cumprod"),
    ("explain a.png --model net.py:Nan", 2, "NaN"),
    ("explain a.png --model net.py:Stops", 2, "this network is out of order"),
    ("explain a.png --model net.py:Fixed --size 31", 2, "to take an input of shape"),
    ("explain a.png --model scenes-vgg --size 64", 2, "to take an input of shape"),
    ("explain a.png --model motion-c3d", 2, "takes clips"),
    ("explain a.png --model c3d", 2, "Pass --weights"),
    ("explain a.png --model scenes-ssd", 2, "Expected a known model"),
    # weights
    (f"explain a.png {M} --weights gone.pth", 2, "does not exist"),
    (f"explain a.png {M} --weights pipe", 2, "FIFO"),
    (f"explain a.png {M} --weights /dev/zero", 2, "a device"),
    (f"explain a.png {M} --weights folder.png", 2, "which is a folder"),
    (f"explain a.png {M} --weights empty.pth", 2, "can't be read"),
    (f"explain a.png {M} --weights cut.pth", 2, "can't be read"),
    (f"explain a.png {M} --weights cut.safetensors", 2, "can't be read"),
    (f"explain a.png {M} --weights text.safetensors", 2, "can't be read"),
    (f"explain a.png {M} --weights list.pth", 2, "Expected a state dict"),
    (f"explain a.png {M} --weights objects.pth", 2, "run code|state dict"),
    (f"explain a.png {M} --weights evil.pth", 2, "run code"),
    (f"explain a.png {M} --weights int8.safetensors", 2, "0.weight is int8 where the model has float32"),
    (f"explain a.png {M} --weights bool.safetensors", 2, "0.weight is bool where"),
    (f"explain a.png {M} --weights float8.safetensors", 2, "0.weight is float8_e4m3fn where"),
    (f"explain a.png {M} --weights complex.pth", 2, "0.weight is complex64 where"),
    (f"explain a.png {M} --weights sparse.pth", 2, "0.weight is a tensor of a sparse"),
    (f"explain a.png {M} --weights meta.pth", 2, "0.weight is a tensor without data"),
    (f"explain a.png {M} --weights shape.safetensors", 2, "0.weight has shape"),
    (f"explain a.png {M} --weights good.safetensors --random-weights", 2, "got both"),
    # labels and numbers
    (f"explain a.png {M} --labels gone.txt", 2, "does not exist"),
    (f"explain a.png {M} --labels pipe", 2, "FIFO"),
    (f"explain a.png {M} --labels latin.txt", 2, "UTF-8"),
    (f"explain a.png {M} --labels empty.txt", 2, "is empty"),
    (f"explain a.png {M} --labels few.txt", 2, "Expected 3 class names"),
    (f"explain a.png {M} --labels nested.json", 2, "nested too deeply"),
    (f"explain a.png {M} --labels numbers.json", 2, "something else"),
    (f"explain a.png {M} --labels cut.json", 2, "can't be used"),
    (f"explain a.png {M} --size 0", 2, "Expected a size"),
    (f"explain a.png {M} --size -5", 2, "Expected a size"),
    (f"explain a.png {M} --size ²", 2, "Expected a size"),
    (f"explain a.png {M} --size 8by8", 2, "Expected a size"),
    (f"explain a.png {M} --size 1x2x3x4", 2, "Expected a size"),
    (f"explain a.png {M} --size 100000", 2, "at most 134,217,728 pixels"),
    (f"explain a.png {M} --size {'9' * 5000}", 2, "Expected a size"),
    (f"explain a.png {M} --size 2x2", 2, "to take an input of shape"),
    (f"explain a.png {M} --mean a", 2, "Expected numbers"),
    (f"explain a.png {M} --mean nan,0,0", 2, "Expected numbers"),
    (f"explain a.png {M} --mean 1,2", 2, "as many numbers"),
    (f"explain a.png {M} --std 0,1,1", 2, "above 0 in std"),
    (f"explain a.png {M} --std -1,1,1", 2, "above 0 in std"),
    (f"explain a.png {M} --std inf,1,1", 2, "Expected numbers"),
    (f"explain a.png {M} --top 0", 2, "--top"),
    (f"explain a.png {M} --top many", 2, "--top"),
    (f"explain a.png {M} --scale big", 2, "--scale"),
    (f"explain a.png {M} --scale nan", 2, "--scale"),
    (f"explain a.png {M} --scale -1", 2, "--scale"),
    (f"explain a.png {M} --device cuda:99", 2, "device of this machine"),
    (f"explain a.png {M} --device toaster", 2, "device of this machine"),
    (f"explain a.png {M} --target 9", 2, "from 0 to 2 but got 9"),
    (f"explain a.png {M} --target -1", 2, "from 0 to 2 but got -1"),
    (f"explain a.png {M} --target --5", 2, "class index"),
    (f"explain a.png {M} --target ²", 2, "class index"),
    (f"explain a.png {M} --target {'9' * 5000}", 2, "from 0 to 2"),
    (f"explain a.png {M} --target cat", 2, "--labels"),
    (f"explain a.png {M} --labels names.txt --target cow", 2, "known class"),
    (f"explain a.png {M} --layer zzz", 2, "known layer or node"),
    (f"explain a.png {M} --layer 0 --layer ''", 2, "known layer or node"),
    # what is asked
    (f"explain a.png {M} --output 3", 2, "no 3. Leave --output out"),
    (f"explain a.png {M} --region a.png", 2, "Expected --region only for a map"),
    (f"explain a.png {M} --region gone.png", 2, "does not exist"),
    (f"explain a.png {M} --region pipe", 2, "FIFO"),
    (f"explain a.png {M} --region thin.png", 2, "region of the picture's size 40 x 40"),
    (f"explain a.png {M} --start zzz", 2, "known layer or node"),
    (f"explain a.png {M} --start 0 --target 4", 2, "from 0 to 3 but got 4"),
    (f"explain a.png {M} --start 0 --target cat", 2, "class"),
    (f"explain a.png {M} --start 0 --method rsp", 2, "start"),
    ("explain a.png --model net.py:Maps --size 32 --mean 0,0,0 --std 1,1,1", 2, "pass --output 'maps'"),
    ("explain a.png --model net.py:Maps --size 32 --mean 0,0,0 --std 1,1,1 --output x", 2, "'maps', 'scores'"),
    # methods
    (f"explain a.png {M} --method lrp-epsilom", 2, "Did you mean 'lrp-epsilon'"),
    (f"explain a.png {M} --method ''", 2, "known method"),
    (f"explain a.png {M} --method lrp-epsilon:", 0, ""),
    (f"explain a.png {M} --method lrp-epsilon:eps=1", 2, "known setting"),
    (f"explain a.png {M} --method lrp-epsilon:epsilon", 2, "key=value"),
    (f"explain a.png {M} --method lrp-epsilon:epsilon=big", 2, "epsilon"),
    (f"explain a.png {M} --method smoothgrad:samples=1000000000", 2, "samples to be a whole number from 1"),
    (f"explain a.png {M} --method smoothgrad:samples=0", 2, "samples"),
    (f"explain a.png {M} --method smoothgrad:samples=2.5", 2, "samples"),
    (f"explain a.png {M} --method smoothgrad:chunk=1000000000", 2, "chunk"),
    (f"explain a.png {M} --method smoothgrad:noise=-1", 2, "noise"),
    (f"explain a.png {M} --method smoothgrad:seed={10**30}", 2, "seed"),
    (f"explain a.png {M} --method integrated-gradients:steps=1000000000", 2, "steps to be a whole number from 1"),
    (f"explain a.png {M} --method integrated-gradients:steps=5000", 2, "from 1 to 1000"),
    (f"explain a.png {M} --method integrated-gradients:quadrature=best", 2, "quadrature"),
    (f"explain a.png {M} --method integrated-gradients --layer 0", 2, "Expected no layers"),
    (f"explain a.png {M} --method clrp:variant=7", 2, "variant"),
    (f"explain a.png {M} --method lrp", 2, "rule="),
    (f"explain a.png {M} --method gone.py:Mine", 2, "does not exist"),
    (f"explain a.png {M} --method leaves.py:Mine", 1, "sys.exit"),
    (f"explain a.png {M} --method plug.py:mine", 1, "sys.exit"),
    # places
    (f"explain a.png {M} --out file", 1, "is a file"),
    (f"explain a.png {M} --out file/deeper", 1, "is a file"),
    (f"explain a.png {M} --out pipe", 1, "is a file"),
    (f"explain a.png {M} --out loop.png/x", 1, "is a file|can be written"),
    (f"explain a.png {M} --out /proc/nowhere", 1, "can be written"),
    (f"explain a.png {M} --out {LONG}", 1, "File name too long"),
    (f"explain a.png {M} --out new/{LONG}", 1, "File name too long"),
    (f"explain a.png {M} --out {'d/' * 3000}x", 1, "can be written"),
    (f"explain a.png {M} --out 'a\0b'", 2, "null byte"),
    (f"explain a.png {M} --out taken", 1, "thesis.tex"),
    (f"explain a.png {M} --out blocked", 1, "is a folder"),
    (f"explain a.png {M} --frobnicate", 2, "No such option"),
]  # fmt: skip

DETECT = [
    ("detect gone.png", 2, "does not exist"),
    ("detect pipe", 2, "FIFO"),
    ("detect cut.png", 2, "can't be decoded"),
    ("detect a.eps", 2, "no picture format fits"),
    ("detect a.png --model yolo", 2, "known detector"),
    ("detect a.png --model torchvision:fasterrcnn", 2, "known torchvision detector"),
    ("detect a.png --model net.py:exits", 1, "sys.exit"),
    ("detect a.png --model net.py:nothing", 2, "Expected 'net.py:nothing'"),
    ("detect a.png --model net.py:make", 2, "RetinaNet and FCOS"),
    ("detect a.png --threshold 2", 2, "--threshold"),
    ("detect a.png --threshold nan", 2, "threshold"),
    ("detect a.png --labels few.txt", 2, "class names|classes"),
    ("detect a.png --labels pipe", 2, "FIFO"),
    ("detect a.png --weights good.safetensors", 2, "Expected weights that fit"),
    ("detect a.png --weights pipe", 2, "FIFO"),
    ("detect --box 99", 2, "--box from 0"),
    ("detect --box -1", 2, "--box from 0"),
    ("detect --box one", 2, "--box"),
    ("detect --versus unicorn", 2, "class"),
    ("detect --versus 99", 2, "class"),
    ("detect --method crpp", 2, "Did you mean 'crp'"),
    ("detect --scale big", 2, "--scale"),
    ("detect a.png --out file", 1, "is a file"),
    ("detect a.png --out /proc/nowhere", 1, "can be written"),
    ("detect a.png --out blocked", 1, "is a folder"),
]  # fmt: skip

VIDEO = [
    ("video gone.avi", 2, "does not exist"),
    ("video pipe", 2, "FIFO"),
    ("video /dev/zero", 2, "a device"),
    ("video folder.png", 2, "which is a folder"),
    ("video empty.avi", 2, "no film format fits"),
    ("video text.mp4", 2, "no film format fits"),
    ("video head.avi", 2, "film"),
    ("video cut.avi", 2, "cut off|damaged"),
    ("video list.m3u8", 2, "no film format fits"),
    ("video --model scenes-vgg", 2, "takes pictures"),
    ("video --model alexnet", 2, "known model"),
    ("video --model c3d", 2, "Pass --weights"),
    ("video --model c3d --weights list.pth", 2, "Expected a state dict"),
    ("video --model c3d --weights good.safetensors", 2, "keys conv1.weight"),
    ("video --model c3d --weights c3d-flat.pth", 2, "conv1.weight has shape"),
    ("video --model c3d --weights c3d-int8.pth", 2, "conv2.bias is int8 where"),
    ("video --mode twice", 2, "known mode"),
    ("video --mode naive:x=1", 2, "setting of mode naive"),
    ("video --method lrp-epsilom", 2, "Did you mean"),
    ("video --frames 0", 2, "--frames"),
    ("video --frames 1000000000", 2, "at most 134,217,728 pixels"),
    ("video --stride 0", 2, "--stride"),
    ("video --start soon", 2, "start"),
    ("video --start 100000", 2, "start"),
    ("video --start -1", 2, "start"),
    ("video --resize 0", 2, "Expected a size"),
    ("video --resize 100000 --crop none", 2, "at most 134,217,728 pixels"),
    ("video --crop 100000", 2, "at most 134,217,728 pixels"),
    ("video --crop 500", 2, "crop"),
    ("video --order gbr", 2, "order"),
    ("video --divisor 0", 2, "divisor"),
    ("video --divisor nan", 2, "divisor"),
    ("video --mean 1", 2, "mean"),
    ("video --std 0,0,0", 2, "std"),
    ("video --fps 0", 2, "--fps"),
    ("video --fps nan", 2, "fps"),
    ("video --scale nan", 2, "--scale"),
    ("video --scale 0", 2, "--scale"),
    ("video --chunk 0", 2, "--chunk"),
    ("video --target pirouette", 2, "class"),
    ("video demo_clip.avi --out file", 1, "is a file"),
    ("video demo_clip.avi --out taken", 1, "thesis.tex"),
    ("video demo_clip.avi --out blocked", 1, "is a folder"),
]  # fmt: skip

AFFINE = [
    ("affine gone.png", 2, "does not exist"),
    ("affine pipe", 2, "FIFO"),
    ("affine a.png --model net.py:exits", 1, "sys.exit"),
    ("affine a.png --model net.py:Multiplies", 1, "cumprod"),
    ("affine a.png --model scenes-vgg --model scenes-resnet", 2, "one --model"),
    ("affine a.png --layer zzz", 2, "known layer or node"),
    ("affine a.png --target unicorn", 2, "class"),
    ("affine a.png --versus unicorn", 2, "class"),
    ("affine a.png --versus 99", 2, "class"),
    ("affine a.png --out taken", 1, "thesis.tex"),
    ("affine a.png --out blocked", 1, "is a folder"),
    ("affine --depth gone.png", 2, "does not exist"),
    ("affine --depth pipe", 2, "FIFO"),
    ("affine --depth folder.png", 2, "holds none"),
    ("affine --depth a.png --limit -1", 2, "--limit"),
    ("affine --depth a.png --out file", 1, "is a file"),
    ("affine --depth a.png --out blocked", 1, "is a folder"),
    ("affine --depth a.png --out kept-depth", 2, "line 1"),
    ("affine --depth a.png --out pipe-depth", 2, "FIFO"),
    ("affine --depth a.png -m scenes-vgg -m scenes-resnet --weights good.safetensors", 2, "several"),
    ("affine --toy --point 1", 2, "point"),
    ("affine --toy --point a,b", 2, "Expected numbers"),
    (f"affine --toy --seed {10**30}", 2, "--seed"),
    ("affine --toy --out file", 1, "is a file"),
]  # fmt: skip

INSPECT = [
    ("inspect", 2, "Missing option"),
    ("inspect --model alexnet", 2, "known model"),
    ("inspect --model net.py:Decides", 1, "Can't capture"),
    ("inspect --model net.py:Leaves", 1, "sys.exit"),
    ("inspect --model net.py:make --weights pipe", 2, "FIFO"),
    ("inspect --model net.py:make --weights int8.safetensors", 2, "int8"),
    ("inspect --model net.py:make --size 100000", 2, "at most"),
    ("inspect --model net.py:make --size x", 2, "Expected a size"),
    ("inspect --model net.py:make --device tpu", 2, "device"),
    ("inspect --model leaves.py:make", 1, "sys.exit"),
    ("inspect --model net.py:make --method lrp-epsilom", 2, "Did you mean 'lrp-epsilon'"),
    ("inspect --model net.py:make --method grad-cam", 2, "Take one of these; relprop explain"),
    ("inspect --model net.py:make --method lrp", 2, "rule="),
    ("inspect --model net.py:make --method gone.py:Mine", 2, "does not exist"),
    ("inspect --model net.py:make --output x", 2, "no 'x'"),
    ("inspect --model net.py:make --start zzz", 2, "known layer or node"),
]  # fmt: skip

BENCHMARK = [
    ("benchmark scnes", 2, "Did you mean 'scenes'"),
    ("benchmark gone.toml", 2, "does not exist"),
    ("benchmark pipe.toml", 2, "does not exist"),
    ("benchmark cut.toml", 2, "TOML"),
    ("benchmark latin.toml", 2, "UTF-8"),
    ("benchmark nested.toml", 2, "nested too deeply"),
    ("benchmark bare.toml", 2, "to have 'data'"),
    ("benchmark wrong.toml", 2, "to be a list"),
    ("benchmark date.toml", 2, "Expected texts, numbers"),
    ("benchmark key.toml", 2, "Did you mean 'methods'"),
    ("benchmark none.toml", 2, "at least one method"),
    ("benchmark text.toml", 2, "steps"),
    ("benchmark steps.toml", 2, "steps"),
    ("benchmark mine.toml --data ~no-such-user", 2, "does not exist"),
    ("benchmark mine.toml --data gone", 2, "does not exist"),
    ("benchmark mine.toml --data file", 2, "which is a file"),
    ("benchmark mine.toml --data pipe", 2, "FIFO"),
    ("benchmark mine.toml --data folder.png", 2, "does not exist"),
    ("benchmark mine.toml --difficult gone.txt", 2, "difficult"),
    ("benchmark mine.toml --model alexnet", 2, "known model"),
    ("benchmark leaves.toml", 1, r"Making .*set.py:Leaves called sys.exit\(0\)"),
    ("benchmark mine.toml --model net.py:exits", 1, "sys.exit"),
    ("benchmark mine.toml --weights pipe", 2, "FIFO"),
    ("benchmark mine.toml --labels few.txt", 1, "Expected 3 class names"),
    ("benchmark mine.toml --method lrp-epsilom", 2, "Did you mean"),
    ("benchmark mine.toml --method smoothgrad:samples=1000000000", 2, "samples"),
    ("benchmark mine.toml --limit -1", 2, "--limit"),
    ("benchmark mine.toml --seed -1", 2, "--seed"),
    (f"benchmark mine.toml --seed {10**30}", 2, "seed"),
    ("benchmark mine.toml --chunk 0", 2, "--chunk"),
    ("benchmark mine.toml --threads 1000000000", 2, "threads"),
    ("benchmark mine.toml --workers 0", 2, "--workers"),
    ("benchmark mine.toml --workers 1000000000", 2, "workers"),
    ("benchmark mine.toml --engine slurm", 2, "engine"),
    ("benchmark mine.toml --address there", 2, "--engine ray"),
    ("benchmark mine.toml --device tpu", 2, "device"),
    ("benchmark mine.toml --out file", 1, "is a file"),
    ("benchmark mine.toml --out /proc/nowhere", 1, "can be written"),
    (f"benchmark mine.toml --out {LONG}", 1, "File name too long"),
    ("benchmark mine.toml --out kept-text", 2, "another kind of file"),
    ("benchmark mine.toml --out kept-other", 2, "database of something else"),
    ("benchmark mine.toml --out kept-torn", 1, "is damaged: .*Move it away"),
    ("benchmark mine.toml --out kept-pipe", 2, "FIFO"),
    ("benchmark rsp-table1-voc07", 2, "--data"),
    ("benchmark list more", 2, "Run one after the other"),
]  # fmt: skip

REPORT = [
    ("report", 2, "Missing argument"),
    ("report gone", 2, "no such thing"),
    ("report ''", 2, "empty name"),
    ("report a.png", 2, "neither"),
    ("report pipe", 2, "neither"),
    ("report data", 2, "found none"),
    ("report reported --out file", 1, "ends in .html"),
    ("report reported --out folder.html", 1, "is a folder"),
    ("report reported --out mine.html", 1, "is another file"),
    ("report reported --out /proc/nowhere/a.html", 1, "can be written"),
    ("report numbers.json", 2, "another JSON file"),
    ("report cut.json", 2, "can't be read as JSON"),
    ("report nested.json", 2, "can't be read as JSON"),
    ("report gone.json", 2, "does not exist"),
    ("report reported/torn", 2, "none can"),
    ("report reported/newer", 2, "none can.*format version"),
    ("report reported/bare", 2, "none can.*relevance.safetensors"),
    ("report kept-text", 2, "none can.*another kind of file"),
    ("report kept-depth", 2, "none can.*holds"),
    ("report named.json", 2, "isn't there"),
]  # fmt: skip

LISTS = [
    ("frobnicate", 2, "No such command"),
    ("--frobnicate", 2, "No such option"),
    ("methods lrp-epsilom", 2, "Did you mean"),
    ("methods gone.py:Mine", 2, "does not exist"),
    ("methods ~no-such-user/gone.py:Mine", 2, "does not exist"),
    ("methods leaves.py:Mine", 1, "sys.exit"),
    ("methods pipe.py:Mine", 2, "does not exist"),
    ("methods lrp-0 more", 2, "unexpected extra argument"),
    ("models --source keras", 2, "Valid: timm, torchvision"),
    ("models more", 2, "unexpected extra argument"),
]  # fmt: skip


def _told(line: str, code: int, pattern: str, wanted: int, out: str, err: str) -> str | None:
    """What is wrong with how a command ended."""
    if code != wanted:
        return f"exit code {code} instead of {wanted}: {err[:300]}"
    if wanted == 0 or not line:  # done, or the help text
        return None
    if out or err.count("\n") != 1 or not err.startswith("relprop: "):
        return f"not one line: {out[:100]!r} {err[:300]!r}"
    wrong = unclear(err, pattern)
    return None if wrong is None else f"{wrong}: {err[:300]}"


def test_every_command_line_ends_in_one_sentence(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    before = snapshot(here)
    for line, wanted, pattern in [*EXPLAIN, *DETECT, *VIDEO, *AFFINE, *INSPECT, *BENCHMARK, *REPORT, *LISTS]:
        tally.tried += 1
        name = line if len(line) < 150 else f"{line[:150]}…"
        try:
            with limited(120):
                code = run(shlex.split(line))
        except TooLong as error:
            tally.hang.append(f"{name!r} {error}")
            continue
        wrong = _told(line, code, pattern, wanted, *capsys.readouterr())
        if wrong is not None:
            tally.unclear.append(f"{name!r} {wrong}")
        # Results where, and only where, it went well; a benchmark keeps what couldn't be done, too.
        shutil.rmtree(here / "relprop-out", ignore_errors=wanted != 0)
        shutil.rmtree(here / "relprop-benchmark", ignore_errors=True)
        after = snapshot(here)
        if after != before:
            changed = [k for k in {*before, *after} if before.get(k) != after.get(k)]
            tally.lost.append(f"{name!r} {sorted(changed)[:5]}")
            before = after
    print(tally)
    assert tally.tried >= 180
    assert tally.clear == tally.tried, str(tally)
