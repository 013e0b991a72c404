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
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.common import environment, markdown, noise, synchronise
from benchmarks.memory import mark, peak
from relprop.video import C3D

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
BOUNDS = (-102.0, 165.0)  # 0..255 less the published means, in any order of the channels
AIMS = {"deep Taylor": 1.9, "naive split": 17 * 1.6}
Call = Callable[[], object]


def calls(model: nn.Module, x: Tensor, chunk: int) -> dict[str, Call]:
    """The timed cases; the gradient comes first."""
    method = relprop.DeepTaylor(bounds=BOUNDS, start="one")

    def gradient() -> None:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(model(leaf)[0, 7], leaf)

    def split(mode: str) -> Call:
        return lambda: relprop.separate_motion(model, x, 7, method, mode=mode, chunk=chunk)

    return {
        "gradient": gradient,
        "deep Taylor": lambda: relprop.explain(model, x, 7, method),
        "naive split": split("naive"),
        "conserving split": split("conserving"),
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
    clock = CLOCKS[args.clock]

    def timed(call: Call) -> float:
        synchronise(args.device)
        begin = clock()
        call()
        synchronise(args.device)
        return clock() - begin

    made = calls(model, x, args.chunks[0])
    gradient = made.pop("gradient")
    gradient()
    made["deep Taylor"]()  # captures, and fills caches
    ratios: dict[str, list[float]] = {name: [] for name in made}
    yardsticks = [timed(gradient)]
    for _ in range(args.repeats):
        for name, call in made.items():
            spent = timed(call)
            yardsticks.append(timed(gradient))
            ratios[name].append(2 * spent / sum(yardsticks[-2:]))
    rows = []
    for name, found in ratios.items():
        cost = median(found)
        runs = 17 if name == "naive split" else 1
        aim = f"{AIMS[name] / runs:g}" if name in AIMS else ""
        verdict = "" if name not in AIMS else "met" if cost <= AIMS[name] else "missed"
        rows.append([name, f"{cost:.2f}", f"{cost / runs:.2f}" if runs > 1 else "", aim, verdict])
    head = ["case", "gradients", "of 17 gradients", "aim", ""]
    print(
        f"\nA gradient takes {median(yardsticks):.2f} s ({args.clock}).\n\n{markdown(head, rows)}", flush=True
    )


def memory(args: argparse.Namespace) -> None:
    """Print the table of peaks, each from a process of its own."""
    rows = []
    for name in calls(nn.Identity(), torch.zeros(0), 1):
        for chunk in args.chunks if name in ("naive split", "conserving split") else args.chunks[:1]:
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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if args.peak is not None:
        print(peak_of(args.peak, args))
        return 0
    print(", ".join(f"{k} {v}" for k, v in environment(args.device).items()), flush=True)
    if args.only != "memory":
        speed(args)
    if args.only != "speed":
        memory(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
