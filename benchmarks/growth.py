"""How cost grows: input-gradients of one call against the picture's side, the batch, the targets, and the depth.

    python benchmarks/growth.py                                         # measure what is missing, and draw
    python benchmarks/growth.py --threads 1 --clock cpu                 # on a machine that others use as well
    python benchmarks/growth.py --only side targets --again             # measure these anew
    python benchmarks/growth.py --draw                                  # draw what was measured

Random weights; z+ everywhere and ε everywhere, relprop's whole calls with their ledgers. Each point is the cost
over a gradient of the same network and input, timed before and after it. Numbers go to a JSON file after every
point: an interrupted run goes on where it stopped. Points of other code, another machine, clock or number of
threads are measured again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from torch import Tensor

import relprop
from benchmarks.common import build, code_digest, environment, markdown, noise
from benchmarks.ratio import STEADY, costs, timing_options
from relprop.storage import write_file
from relprop.viz.canvas import (
    COLOURS,
    FAINT,
    MARGIN,
    MARKERS,
    NAME,
    POINT,
    RULE,
    SMALL,
    WORDS,
    Canvas,
    height,
    value_axis,
)
from relprop.viz.file import save_figure

ROOT = Path(__file__).resolve().parents[1]
METHODS = {"z⁺": "lrp:rule=z-plus", "ε": "lrp-epsilon"}
_PANEL, _TALL, _GAP = 440, 210, 64  # pixels, axes alone


class Point(NamedTuple):
    """One input: a torchvision network, pictures (batch, 3, side, side), and how many targets."""

    network: str
    side: int = 224
    batch: int = 1
    targets: int = 1


class Axis(NamedTuple):
    """What grows, and the points along it."""

    title: str
    points: tuple[tuple[float, Point], ...]


def _points(network: str, name: str, values: Sequence[int], **others: int) -> tuple[tuple[float, Point], ...]:
    return tuple((v, Point(network, **{name: v, **others})) for v in values)


_SIDES = (112, 160, 224, 320, 448, 640, 1024)
_BATCHES = (1, 2, 4, 8, 16, 32)
_TARGETS = (1, 2, 5, 10, 20, 50, 100)
_DEPTHS = (18, 34, 50, 101, 152)
AXES = {
    "side": Axis("side of the picture in pixels (ResNet-18)", _points("resnet18", "side", _SIDES)),
    "batch": Axis("pictures in a batch (ResNet-18, 112²)", _points("resnet18", "batch", _BATCHES, side=112)),
    "targets": Axis(
        "targets of one call, cost of each (ResNet-18, 112²)",
        _points("resnet18", "targets", _TARGETS, side=112),
    ),
    "depth": Axis("layers of a ResNet (112²)", tuple((d, Point(f"resnet{d}", 112)) for d in _DEPTHS)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--most", type=float, help="leave out points beyond this, on every axis")
    parser.add_argument("--again", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--draw", action="store_true", help="draw what was measured, and measure nothing")
    parser.add_argument("--json", type=Path, default=ROOT / "out" / "growth.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "assets" / "growth.png")
    timing_options(parser, repeats=3)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    measured = json.loads(args.json.read_text(encoding="utf-8")) if args.json.is_file() else {}
    if not args.draw:
        measured = _measured(measured, args)
    if not measured.get("points"):
        parser.error(f"Expected measured points in {args.json} but there are none. Leave --draw out")
    print(_table(measured), flush=True)
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    save_figure(drawn(measured), args.figure)
    return 0


def _measured(before: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """What was measured before, as far as it still holds, and the points that were missing."""
    machine = environment(args.device)
    machine.pop("load average", None)
    setting = {**machine, "clock": args.clock, "code": code_digest(ROOT / "src" / "relprop")}
    points = dict(before.get("points", {})) if before.get("setting") == setting else {}
    for name in args.only:
        for value, point in AXES[name].points:
            key = f"{name} {value:g}"
            if (key in points and not args.again) or (args.most is not None and value > args.most):
                continue
            points[key] = _costs(point, args)
            print(f"{key}: {points[key]}", flush=True)
            args.json.parent.mkdir(parents=True, exist_ok=True)
            write_file(args.json, json.dumps({"setting": setting, "points": points}, indent=1).encode())
    return {"setting": setting, "points": points}


def _costs(point: Point, args: argparse.Namespace) -> dict[str, float]:
    """Input-gradients of each method, and the seconds of a gradient."""
    torch.manual_seed(0)
    model = build(point.network, (3, 64, 64), batch=2, device=args.device)
    x = noise((point.batch, 3, point.side, point.side), seed=1, device=args.device)
    asked: Any = list(range(point.targets)) if point.targets > 1 else 1

    def gradient() -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]

    def call(method: str) -> Callable[[], object]:
        return lambda: relprop.explain(model, x, asked, method)

    gradient()
    start = time.perf_counter()
    gradient()
    quick = time.perf_counter() - start < 0.1
    own = argparse.Namespace(**{**vars(args), "repeats": args.repeats * (3 if quick else 1)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", relprop.errors.RelpropWarning)  # of random weights
        found, seconds = costs(gradient, {name: call(m) for name, m in METHODS.items()}, own, warm_up=STEADY)
    relprop.clear_cache(model)
    return {name: cost.gradients / point.targets for name, cost in found.items()} | {"seconds": seconds}


def _table(measured: Mapping[str, Any]) -> str:
    setting = measured["setting"]
    rows = [
        [key, *(f"{cost[m]:.2f}" for m in METHODS), f"{1000 * cost['seconds']:.0f}"]
        for key, cost in measured["points"].items()
    ]
    said = ", ".join(f"{k} {setting[k]}" for k in ("cpu", "torch", "threads", "clock"))
    return f"{said}\n\n{markdown(['point', *METHODS, 'gradient, ms'], rows)}"


def drawn(measured: Mapping[str, Any]) -> Figure:
    """Four panels, one an axis: cost in input-gradients, a line a method."""
    setting = measured["setting"]
    page = Canvas(
        2 * MARGIN + 2 * (_PANEL + _GAP), "What an explanation costs, in input-gradients of the same call"
    )
    x, placed = MARGIN + 28, []
    for i, name in enumerate(AXES):
        left, top = x + (i % 2) * (_PANEL + _GAP), page.top + (i // 2) * (_TALL + 92)
        page.words(left - 28, top, [AXES[name].title], NAME, "bold")
        placed.append((name, left, top + height(NAME) + 14))
    page.top += 2 * (_TALL + 92) + 8
    page.caption(
        [
            "relprop.explain with its ledger, random weights, float32; z⁺ everywhere and ε everywhere.",
            f"{setting['cpu']}, torch {setting['torch']}, threads {setting['threads']}, {setting['clock']} time.",
            "Horizontal axes are logarithmic.",
        ]
    )
    figure = page.figure()
    for name, left, top in placed:
        _panel(figure, page, name, measured["points"], left, top)
    return figure


def _panel(figure: Figure, page: Canvas, name: str, points: Mapping[str, Any], left: int, top: int) -> None:
    values = [value for value, _ in AXES[name].points if f"{name} {value:g}" in points]
    if not values:
        return
    wide = _PANEL - 60
    axes = page.axes(figure, left, top, wide, _TALL, name)
    costs_of = {method: [points[f"{name} {v:g}"][method] for v in values] for method in METHODS}
    axes.set_ylim(*value_axis(axes, "y", [cost for line in costs_of.values() for cost in line], None))
    axes.set_xscale("log")
    axes.set_xlim(values[0] / 1.06, values[-1] * 1.06)
    axes.xaxis.set_major_locator(FixedLocator([]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = math.log(values[0] / 1.06), math.log(values[-1] * 1.06)
    for v in values:
        axes.axvline(v, color=RULE, linewidth=0.6, zorder=0)
        at = left + wide * (math.log(v) - low) / (high - low)
        page.mark(figure, at, top + _TALL + 8 + SMALL * POINT, f"{v:g}", SMALL, align="center", colour=FAINT)
    bottom, most = axes.get_ylim()
    ends = {method: top + _TALL * (most - line[-1]) / (most - bottom) for method, line in costs_of.items()}
    order = sorted(ends, key=lambda method: ends[method])
    spots = dict(zip(order, _apart([ends[method] for method in order], height(NAME) * 0.8), strict=True))
    for (method, line), colour, marker in zip(costs_of.items(), COLOURS, MARKERS, strict=False):
        axes.plot(
            values, line, color=colour, linewidth=1.5, marker=marker, markersize=3.8, markeredgewidth=0,
            zorder=3, clip_on=False,
        )  # fmt: skip
        baseline = spots[method] + NAME * POINT * 0.36
        page.mark(figure, left + wide + 10, baseline, method, NAME, colour=WORDS)


def _apart(ends: Sequence[float], least: float) -> list[float]:
    """Ascending places, neighbours that are nearer than `least` moved from each other by the same.

    >>> _apart([10.0, 12.0], 6), _apart([10.0, 30.0], 6)
    ([8.0, 14.0], [10.0, 30.0])
    """
    spots = list(ends)
    for k in range(1, len(spots)):
        shift = max(0.0, least - (spots[k] - spots[k - 1])) / 2
        spots[k - 1] -= shift
        spots[k] += shift
    return spots


if __name__ == "__main__":
    sys.exit(main())
