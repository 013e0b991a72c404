"""What an answer costs, in input-gradients of the same network.

    python benchmarks/answer_cost.py --threads 1 --clock cpu
    RELPROP_ASSETS=... python benchmarks/answer_cost.py --models torchvision:squeezenet1_1 --threads 1

One picture, its likeliest class; each call is timed between two gradients by autograd, medians of the ratios.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL import Image

import relprop
from benchmarks.answers import asked_of
from benchmarks.common import markdown
from benchmarks.ratio import begin, costs, timing_options
from relprop.datasets import Scenes
from relprop.errors import RelpropError, RelpropWarning

METHODS = (
    "agreement", "agreement:of=lrp-composite", "rsp", "margin-rsp", "contrastive-rsp", "lrp-composite",
    "lrp-gamma", "clrp", "contrastive-excitation-backprop", "grad-cam", "gradient-x-input",
    "integrated-gradients",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["scenes-resnet", "scenes-vgg", "scenes-vit"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    timing_options(parser)
    given = parser.parse_args(argv)
    warnings.simplefilter("ignore", RelpropWarning)
    begin(given)
    rows: dict[str, list[str]] = {method: [] for method in given.methods}
    seconds = []
    for name in given.models:
        asked = asked_of(name, "confirming")
        model, facts = asked.loaded.module.requires_grad_(False), asked.loaded.facts
        x = asked.geometry.input(Image.fromarray(Scenes(n=1, seed=3, split="test")[0].image))
        target = int(model(x).argmax())

        def gradient(model: torch.nn.Module = model, x: torch.Tensor = x, target: int = target) -> None:
            leaf = x.clone().requires_grad_()
            torch.autograd.grad(model(leaf)[0, target], leaf)

        def called(method: str, model: torch.nn.Module, x: torch.Tensor, target: int) -> Callable[[], object]:
            return lambda: relprop.explain(model, x, target, method, facts=facts)  # noqa: B023

        calls: dict[str, Callable[[], object]] = {}
        for method in given.methods:
            call = called(method, model, x, target)
            try:
                call()
            except RelpropError:
                continue
            calls[method] = call
        found, yardstick = costs(gradient, calls, given)
        seconds.append(f"{1000 * yardstick:.0f} ms")
        for method in given.methods:
            rows[method].append(f"{found[method].gradients:.1f}" if method in found else "refuses")
    print(markdown(["in gradients", *given.models], [[m, *cells] for m, cells in rows.items()]))
    print(f"\nOne gradient: {', '.join(seconds)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
