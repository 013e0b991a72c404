"""Speed of RSP and RAP, as multiples of one input-gradient of the same model.

    python benchmarks/rsp_speed.py                                   # VGG-16 and ResNet-50, batch 1 and 8
    python benchmarks/rsp_speed.py --models vgg16 --batches 1 --clock cpu --threads 1

Random weights at 224². In each round every case runs once, with a gradient timed before and after it; a
case's cost is the median over the rounds of its time over the mean of those two gradients. "autograd" is
the same rule with ν from autograd's weight derivatives, sample by sample and section by section: eight
convolutions a layer. It is the yardstick for the closed form, and must give the same map.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

import relprop
from benchmarks.cases import Work, gradient
from benchmarks.common import build, markdown, noise
from benchmarks.ratio import begin, costs, timing_options
from relprop.errors import RelpropWarning
from relprop.methods.method import Method
from relprop.rules import section
from relprop.tracing.flow import safe_divide
from relprop.tracing.site import Site

CASES: dict[str, tuple[str, Callable[[], Method], bool]] = {
    "rsp": ("RSP", relprop.RSP, False),
    "rsp-hostile": ("RSP, two hostile classes", lambda: relprop.RSP(hostile="top-3"), False),
    "rsp-autograd": ("RSP, autograd", relprop.RSP, True),
    "released": ("RSP, released", lambda: relprop.RSP(mode="released"), False),
    "released-autograd": ("RSP, released, autograd", lambda: relprop.RSP(mode="released"), True),
    "contrastive": ("contrastive RSP", relprop.ContrastiveRSP, False),
    "rap": ("RAP", relprop.RAP, False),
    "z-plus": ("LRP z⁺, for comparison", lambda: relprop.LRP(rule="z-plus"), False),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet50"], metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8], metavar="N")
    parser.add_argument("--size", type=int, default=224, help="height and width of the input")
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), metavar="CASE", help=", ".join(CASES))
    timing_options(parser)
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore", RelpropWarning)
    begin(args)
    for name in args.models:
        for batch in args.batches:
            rows = _measured(name, batch, args)
            head = ["case", "gradients", "seconds", "images per second", "difference from autograd"]
            print(f"\n{name}, batch {batch}\n\n{markdown(head, rows)}", flush=True)
    return 0


def _measured(name: str, batch: int, args: argparse.Namespace) -> list[list[str]]:
    size = (3, args.size, args.size)
    model = build(name, size, device=args.device)
    x = noise((batch, *size), seed=9, device=args.device)
    with torch.no_grad():
        target = model(x).argmax(1)
    cases = {k: CASES[k] for k in (args.only or CASES)}
    maps: dict[str, Tensor] = {}

    def call(key: str) -> None:
        _, method, by_autograd = cases[key]
        with _by_autograd() if by_autograd else ExitStack():
            maps[key] = relprop.explain(model, x, target, method()).relevance

    calls = {key: lambda key=key: call(key) for key in cases}
    found, _ = costs(gradient(Work(name, model, x, target, ExitStack())), calls, args)
    return [
        [
            cases[key][0], f"{cost.gradients:.2f}", f"{cost.seconds:.2f}",
            f"{batch / cost.seconds:.2f}", _difference(key, maps),
        ]
        for key, cost in found.items()
    ]  # fmt: skip


def _difference(key: str, maps: dict[str, Tensor]) -> str:
    other = maps.get(f"{key}-autograd")
    if other is None:
        return ""
    return f"{float((maps[key] - other).abs().max() / other.abs().max()):.0e}"


@contextmanager
def _by_autograd() -> Iterator[None]:
    ours = section._carried
    section._carried = _carried_by_autograd
    try:
        yield
    finally:
        section._carried = ours


def _carried_by_autograd(site: Site, x: Tensor, part: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """What `relprop.rules.section` computes in closed form, by weight derivatives (lost relevance aside)."""
    linear = site.linear
    out = part.new_zeros(part.shape[0], *x.shape)
    for k, one in enumerate(part):
        for n in range(x.shape[0]):
            value = x[n : n + 1]
            for message in (one[n : n + 1].clamp(min=0), one[n : n + 1].clamp(max=0)):
                if not bool(message.any()):
                    continue
                with torch.enable_grad():
                    weight = torch.zeros_like(linear.weight).requires_grad_()
                    (nu,) = torch.autograd.grad(linear.forward(value, weight), weight, message)
                    leaf = value.detach().requires_grad_()
                    shared = linear.forward(leaf, nu)
                    (slope,) = torch.autograd.grad(shared, leaf, safe_divide(message, shared.detach()))
                out[k, n] += (value * slope)[0] * scale
    return out, torch.zeros(part.shape[:2], dtype=torch.float64, device=part.device)


if __name__ == "__main__":
    sys.exit(main())
