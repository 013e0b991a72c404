"""Speed of CRP and other methods on torchvision's SSD300-VGG16, in input-gradients of the same detector.

    python benchmarks/crp_speed.py                                   # every level, centre and corner
    python benchmarks/crp_speed.py --levels 0 5 --cells centre --clock cpu --threads 1
    python benchmarks/crp_speed.py --methods margin-rsp agreement    # what a class costs by these

Random weights, 300², batch 1. A call explains one default box: the contrast of a class, or that and the
four offsets together (five maps). In each round a gradient of one class score is timed before and after
every call; a cell's cost is the median over the rounds of its time over the mean of those two.
Relevance fills what the box's head reads of the image: little on the finest level, all of it on coarse ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.common import markdown, noise, randomise
from benchmarks.ratio import STEADY, begin, costs, timing_options
from relprop.compat import load_torchvision
from relprop.detectors import DetectionUnit, Layout

CELLS = ("centre", "corner")
SIDES = (38, 19, 10, 5, 3, 1)
BOXES = (4, 6, 6, 6, 4, 4)


class Raw(nn.Module):
    """A torchvision SSD up to its raw outputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and offsets of every default box."""
        out = self.head(list(self.backbone(x).values()))
        return out["cls_logits"], out["bbox_regression"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--levels", nargs="+", type=int, choices=range(6), default=list(range(6)))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--classes", type=int, default=91)
    parser.add_argument("--methods", nargs="+", default=["crp"], help="for the class; crp with offsets, too")
    timing_options(parser)
    args = parser.parse_args(argv)
    begin(args)
    unit = _unit(args.classes).to(args.device)
    x = noise((1, 3, 300, 300), seed=9, device=args.device)
    rows = [_measured(unit, x, level, cell, args) for level in args.levels for cell in args.cells]
    several = ["class + 4 offsets"] if args.methods == ["crp"] else []
    head = ["level", "map", "cell", "gradient, s", *(f"class, {m}" for m in args.methods), *several]
    head.append("receptive field")
    print(f"\nSSD300-VGG16, {args.classes} classes; in input-gradients\n\n{markdown(head, rows)}", flush=True)
    return 0


def _unit(classes: int) -> DetectionUnit:
    torch.manual_seed(0)
    model = load_torchvision().models.detection.ssd300_vgg16(
        weights=None, weights_backbone=None, num_classes=classes
    )
    raw = Raw(model).eval().requires_grad_(False)
    randomise(raw, (3, 300, 300))
    return DetectionUnit(raw, Layout(classes, background=0))


def _measured(unit: DetectionUnit, x: Tensor, level: int, cell: str, args: argparse.Namespace) -> list[str]:
    side = SIDES[level]
    before = sum(s * s * b for s, b in zip(SIDES[:level], BOXES[:level], strict=True))
    y = side // 2 if cell == "centre" else 0
    unit = unit.at(before + (y * side + y) * BOXES[level])
    asked = [unit.layout.index("class", 1), *(unit.layout.index(o) for o in unit.layout.offsets)]

    def gradient() -> None:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(unit(leaf)[0, asked[0]], leaf)

    def called(target: int | list[int], method: str) -> Callable[[], relprop.Explanation]:
        return lambda: relprop.explain(unit, x, target, method)

    calls = {method: called(asked[0], method) for method in args.methods}
    if args.methods == ["crp"]:
        calls["all"] = called(asked, "crp")
    measured, yardstick = costs(gradient, calls, args, warm_up=STEADY)
    found = calls[list(calls)[-1]]()
    assert found.ledger is None or found.ledger.closes
    filled = float((found.relevance != 0).flatten(0, 2).any(0).double().mean())
    return [
        str(level + 1), f"{side}×{side}", cell, f"{yardstick:.2f}",
        *(f"{cost.gradients:.2f}" for cost in measured.values()), f"{100 * filled:.0f} %",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
