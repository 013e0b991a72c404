"""Speed of the affine form, as multiples of one input-gradient of the same model.

    python benchmarks/affine_speed.py                                   # VGG-16 and ResNet-18 at 64²
    python benchmarks/affine_speed.py --models resnet50 --size 224 --batches 1 8 --threads 2

Random weights. In each round every case runs once, with a gradient by autograd timed before and after it; a
case's cost is the median over the rounds of its time over the mean of those two gradients.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.cases import Work, gradient
from benchmarks.common import build, markdown, noise
from benchmarks.ratio import begin, costs, timing_options
from relprop.piecewise import affine_by_layer, crossing

Case = Callable[[nn.Module, Tensor, Tensor], object]
CASES: dict[str, tuple[str, Case]] = {
    "form": ("W and b", lambda m, x, t: relprop.affine(m, x, t)),
    "owners": ("W, b and its owners", lambda m, x, t: relprop.affine(m, x, t, owners=True)),
    "layers": ("W and b at every block output", lambda m, x, t: affine_by_layer(m, x, t)),
    "crossing": ("distance to the border along one direction", lambda m, x, _: crossing(m, x, x)),
    "five": (
        "W, b and its owners for 5 classes",
        lambda m, x, _: relprop.affine(m, x, [*range(5)], owners=True),
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet18"], metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--size", type=int, default=64, help="height and width of the input")
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), metavar="CASE", help=", ".join(CASES))
    timing_options(parser, repeats=15, threads=1, clock="cpu")
    args = parser.parse_args(argv)
    begin(args)
    for name in args.models:
        for batch in args.batches:
            rows = _measured(name, batch, args)
            head = ["case", "gradients", "seconds"]
            print(f"\n{name}, batch {batch}\n\n{markdown(head, rows)}", flush=True)
    return 0


def _measured(name: str, batch: int, args: argparse.Namespace) -> list[list[str]]:
    size = (3, args.size, args.size)
    model = build(name, size, device=args.device)
    x = noise((batch, *size), seed=9, device=args.device)
    with torch.no_grad():
        target = model(x).argmax(1)
    calls = {k: lambda case=CASES[k][1]: case(model, x, target) for k in (args.only or CASES)}
    found, _ = costs(gradient(Work(name, model, x, target, ExitStack())), calls, args)
    return [[CASES[k][0], f"{cost.gradients:.2f}", f"{cost.seconds:.3f}"] for k, cost in found.items()]


if __name__ == "__main__":
    sys.exit(main())
