"""Cost of explaining and splitting a clip through C3D of full size, in input-gradients, and its peak memory.

    python benchmarks/motion_speed.py --threads 1 --clock cpu
    python benchmarks/motion_speed.py --only memory --chunks 1 4 16

Random weights, 16 × 112 × 112, batch 1, 487 classes, deep Taylor. In each round every case runs once, with a
gradient timed before and after it; a case's cost is the median over rounds of its time over the mean of those two.
The naive split explains 17 clips, so it stands beside 17 gradients too. Memory is the peak over what the loaded
model holds, one process a case, after a small clip through a small network, so that lazy imports don't count.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.common import markdown, noise
from benchmarks.memory import mark, peak
from benchmarks.ratio import Call, begin, costs, timing_options
from relprop.video import C3D

BOUNDS = (-102.0, 165.0)  # 0..255 less the published means, in any order of the channels
AIMS = {"deep Taylor": 1.9, "naive split": 17 * 1.6, "conserving split": 9.0}


def calls(model: nn.Module, x: Tensor, chunk: int) -> dict[str, Call]:
    """The timed cases; the gradient comes first."""
    method = relprop.DeepTaylor(bounds=BOUNDS, seed="one")

    def gradient() -> None:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(model(leaf)[0, 7], leaf)

    def split(mode: str, **settings: Any) -> Call:
        return lambda: relprop.separate_motion(model, x, 7, method, mode=mode, chunk=chunk, **settings)

    moved = torch.tensor([[t % 5, (2 * t) % 7] for t in range(16)])
    angles = 0.01 * torch.arange(16.0)
    turned = torch.stack([angles.cos(), -angles.sin(), 0 * angles, angles.sin(), angles.cos(), 0 * angles], 1)

    return {
        "gradient": gradient,
        "deep Taylor": lambda: relprop.explain(model, x, 7, method),
        "naive split": split("naive"),
        "conserving split": split("conserving"),
        "conserving split, shaking camera": split("conserving", camera=moved[: x.shape[2]]),
        "conserving split, turning camera": split(
            "conserving", camera=turned.reshape(16, 2, 3)[: x.shape[2]]
        ),
        "selective split": split("selective"),
    }


def network(args: argparse.Namespace) -> tuple[nn.Module, Tensor]:
    """C3D with random weights, and a clip in 0..255 less the means."""
    torch.manual_seed(0)
    model = C3D(487).eval().requires_grad_(False).to(args.device)
    x = noise((1, 3, 16, 112, 112), seed=3).mul(60).clamp(*BOUNDS)
    return model, x.to(args.device)


def speed(args: argparse.Namespace) -> None:
    """Print the table of costs."""
    model, x = network(args)
    made = calls(model, x, args.chunks[0])
    gradient = made.pop("gradient")
    found, yardstick = costs(gradient, made, args)
    rows = []
    for name, (cost, _) in found.items():
        runs = 17 if name == "naive split" else 1
        aim = f"{AIMS[name] / runs:g}" if name in AIMS else ""
        verdict = "" if name not in AIMS else "met" if cost <= AIMS[name] else "missed"
        rows.append([name, f"{cost:.2f}", f"{cost / runs:.2f}" if runs > 1 else "", aim, verdict])
    head = ["case", "gradients", "of 17 gradients", "aim", ""]
    print(f"\nA gradient takes {yardstick:.2f} s ({args.clock}).\n\n{markdown(head, rows)}", flush=True)


def memory(args: argparse.Namespace) -> None:
    """Print the table of peaks, each from a process of its own."""
    rows = []
    for name in calls(nn.Identity(), torch.zeros(1, 1, 1), 1):
        for chunk in args.chunks if name.startswith(("naive", "conserving")) else args.chunks[:1]:
            command = [sys.executable, __file__, "--peak", name, "--chunks", str(chunk)]
            command += ["--threads", str(args.threads), "--device", args.device]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append([name, str(chunk) if "split" in name else "", f"{float(out.split()[-1]):.0f}"])
    print(f"\n{markdown(['case', 'frozen clips at once', 'peak, MiB'], rows)}", flush=True)


def peak_of(name: str, args: argparse.Namespace) -> float:
    """The peak of one case over the loaded model, MiB."""
    small = C3D(8, widths=(2,) * 5, hidden=2, size=16).eval().requires_grad_(False)
    calls(small, torch.randn(1, 3, 16, 16, 16), 2)[name]()
    model, x = network(args)
    call = calls(model, x, args.chunks[0])[name]
    before = mark(args.device)
    call()
    return peak(args.device) - before


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["speed", "memory"])
    parser.add_argument("--chunks", nargs="+", type=int, default=[4, 1, 16], help="frozen clips at once")
    timing_options(parser, repeats=3)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.peak is not None:
        torch.set_num_threads(args.threads)
        print(peak_of(args.peak, args))
        return 0
    begin(args)
    if args.only != "memory":
        speed(args)
    if args.only != "speed":
        memory(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
