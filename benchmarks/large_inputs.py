"""Peak memory of explaining large inputs, with and without a memory limit.

    python benchmarks/large_inputs.py                       # X-rays of 4096 x 4096, batches of 32 at 224 x 224
    python benchmarks/large_inputs.py --only resnet18-xray --ways z-plus z-plus-low
    python benchmarks/large_inputs.py --divide 8            # pictures of an eighth of the side, to try it out

Random weights, one target. Each number is the peak of one call, the first for this input, above the loaded model,
in a process of its own that has explained a toy network before; one process at a time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.common import build, environment, markdown, noise
from benchmarks.memory import mark, peak

__all__ = ["CASES", "WAYS", "main"]


class Case(NamedTuple):
    """A network and an input: (N, channels, side, side)."""

    make: Callable[[], nn.Module]
    batch: int
    channels: int
    side: int


def _plain() -> nn.Module:
    """Five convolutions with ReLU and max pooling, from 16 to 256 channels, on one grey channel."""
    layers: list[nn.Module] = []
    before = 1
    for width in (16, 32, 64, 128, 256):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 14))


def _grey_resnet() -> nn.Module:
    """ResNet-18 whose first convolution reads one grey channel."""
    model = build("resnet18", (3, 64, 64))
    first = model.conv1
    assert isinstance(first, nn.Conv2d)
    model.conv1 = nn.Conv2d(1, first.out_channels, 7, stride=2, padding=3, bias=False)
    return model


CASES = {
    "plain-xray": Case(_plain, 1, 1, 4096),
    "resnet18-xray": Case(_grey_resnet, 1, 1, 4096),
    "resnet50-batch": Case(lambda: build("resnet50", (3, 64, 64)), 32, 3, 224),
    "vgg16-batch": Case(lambda: build("vgg16", (3, 64, 64)), 32, 3, 224),
}


def _gradient(model: nn.Module, x: Tensor) -> None:
    leaf = x.clone().requires_grad_()
    torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)


def _explained(method: str, limit: str | None) -> Callable[[nn.Module, Tensor], None]:
    def call(model: nn.Module, x: Tensor) -> None:
        with relprop.memory_limit(limit):
            found = relprop.explain(model, x, 0, method)
        assert found.ledger is not None
        assert found.ledger.closes

    return call


WAYS = {
    "gradient": _gradient,
    "z-plus": _explained("lrp:rule=z-plus", None),
    "z-plus-low": _explained("lrp:rule=z-plus", "low"),
    "epsilon": _explained("lrp-epsilon", None),
    "epsilon-low": _explained("lrp-epsilon", "low"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--divide", type=int, default=1, help="the side of inputs by this, to try it out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.here:
        print(*_here(args.only[0], args.ways[0], args))
        return 0
    print(", ".join(f"{k} {v}" for k, v in environment(args.device).items()), flush=True)
    rows = []
    for name in args.only:
        case, row = CASES[name], [name]
        side = case.side // args.divide
        for way in args.ways:
            command = [sys.executable, __file__, "--here", "--only", name, "--ways", way]
            command += ["--divide", str(args.divide), "--threads", str(args.threads), "--device", args.device]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                said = done.stderr.strip().splitlines()  # killed for its memory, it says nothing
                row.append(said[-1][:80] if said else f"ended with {done.returncode}")
                continue
            *_, size, seconds = done.stdout.split()
            row.append(f"{float(size) / 1024:.2f} ({float(seconds):.0f} s)")
            print(name, way, row[-1], flush=True)
        rows.append([f"{name}, {case.batch} × {case.channels} × {side}²", *row[1:]])
    print(f"\nPeak in GiB above the model, and seconds\n\n{markdown(['case', *args.ways], rows)}", flush=True)
    return 0


def _here(name: str, way: str, args: argparse.Namespace) -> tuple[float, float]:
    """Peak over the loaded model in MiB, and CPU seconds."""
    torch.set_num_threads(args.threads)
    call = WAYS[way]
    small = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    call(small.eval(), noise((1, 1, 16, 16)))
    torch.manual_seed(0)
    case = CASES[name]
    model = case.make().eval().requires_grad_(False).to(args.device)
    side = case.side // args.divide
    x = noise((case.batch, case.channels, side, side), device=args.device)
    before, start = mark(args.device), time.process_time()
    call(model, x)
    return peak(args.device) - before, time.process_time() - start


if __name__ == "__main__":
    sys.exit(main())
