"""Seconds a picture for all methods of a recipe: one by one, and in one call.

    python benchmarks/many_methods.py
    python benchmarks/many_methods.py --models resnet50 --targets 2 --each
    git worktree add ../before COMMIT && python benchmarks/many_methods.py --before ../before

The methods are those of a recipe of `relprop benchmark` (by default RSP's Table 1; `--methods` names others). The
networks have random weights: time doesn't depend on them. One thread, the process's own CPU time, in multiples of
one input-gradient of the same network, timed before and after each; medians over rounds. "one by one" is a call of
`relprop.explain` a method, "one call" is `relprop.explain(..., method=[...])`. With `--before` another checkout
explains one by one, too, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.common import build, environment, markdown, noise, randomise

NETWORKS = ("vgg16", "resnet50", "efficientnet-lite0")
TABLE = "rsp-table1-voc07"
FIRST = 12
"""Entries of the recipe's list that were there when its time was first measured: the center and eleven methods."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--recipe", default=TABLE, help="whose methods")
    parser.add_argument(
        "--first", type=int, default=FIRST, help="entries of the recipe that are taken; 0: all"
    )
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="in place of a recipe's")
    parser.add_argument("--targets", nargs="+", type=int, default=[1, 2], help="classes a picture")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--each", action="store_true", help="list every method's part, and what is kept")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="root of another checkout")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    methods = args.methods or _methods(args.recipe, args.first)
    if args.serve:
        (name,), (count,) = args.models, args.targets
        print(json.dumps(_one_by_one(_network(name), methods, count, args)))
        return
    print(f"{len(methods)} methods: {', '.join(methods)}\n{environment('cpu')}\n", flush=True)
    rows = []
    for name in args.models:
        net = _network(name)
        for count in args.targets:
            rows.append(_row(name, net, methods, count, args))
            if args.each:
                print(_each(name, net, methods, count, args), flush=True)
    head = ["network", "targets", "one by one", "one call", "ratio", "s a picture", "kept, MiB"]
    if args.before:
        head.insert(2, "before")
    print(markdown(head, rows))


def _methods(recipe: str, first: int) -> list[str]:
    from relprop.benchmark.baselines import BASELINES
    from relprop.benchmark.recipe import read_recipe

    entries = read_recipe(recipe).methods
    return [e.method for e in entries[: first or None] if e.method not in BASELINES]


def _network(name: str) -> nn.Module:
    if name != "efficientnet-lite0":
        return build(name, (3, 64, 64))
    from relprop.models.efficientnet_lite import EfficientNetLite0

    torch.manual_seed(0)
    net = EfficientNetLite0()
    randomise(net, (3, 64, 64))
    return net.eval().requires_grad_(False)


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def _gradients(net: nn.Module, x: Tensor, call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """What a call takes in input-gradients, and in seconds: medians."""

    def gradient() -> None:
        leaf = x.clone().requires_grad_()
        net(leaf)[0, 0].backward()

    gradient()
    call()  # the first one captures
    ratios, seconds = [], []
    for _ in range(repeats):
        before = _seconds(gradient)
        taken = _seconds(call)
        ratios.append(2 * taken / (before + _seconds(gradient)))
        seconds.append(taken)
    return median(ratios), median(seconds)


def _one_by_one(
    net: nn.Module, methods: Sequence[str], count: int, args: argparse.Namespace
) -> tuple[float, float]:
    x, targets = _asked(count, args.size)
    return _gradients(net, x, lambda: [relprop.explain(net, x, targets, m) for m in methods], args.repeats)


def _asked(count: int, size: int) -> tuple[Tensor, list[int]]:
    return noise((1, 3, size, size), seed=5), list(range(3, 3 + count))


def _row(name: str, net: nn.Module, methods: list[str], count: int, args: argparse.Namespace) -> list[str]:
    x, targets = _asked(count, args.size)
    alone, alone_seconds = _one_by_one(net, methods, count, args)
    together, seconds = _gradients(
        net, x, lambda: relprop.explain(net, x, targets, method=methods), args.repeats
    )
    kept = _kept(net, methods, count, args)
    row = [name, str(count), f"{alone:.2f}", f"{together:.2f}", f"{together / alone:.2f}"]
    if args.before:
        before, alone_seconds = _before(name, methods, count, args)
        row[2:2] = [f"{before:.2f}"]
        row[-1] = f"{together / before:.2f}"
    return [*row, f"{alone_seconds:.2f} → {seconds:.2f}", f"{kept >> 20}"]


def _before(name: str, methods: list[str], count: int, args: argparse.Namespace) -> tuple[float, float]:
    paths = os.pathsep.join([str(args.before.resolve() / "src"), os.environ.get("PYTHONPATH", "")])
    words = [
        sys.executable, __file__, "--serve", "--models", name, "--targets", str(count), "--size", str(args.size),
        "--repeats", str(args.repeats), "--methods", *methods,
    ]  # fmt: skip
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    ratio, seconds = json.loads(done.stdout.splitlines()[-1])
    return ratio, seconds


def _kept(net: nn.Module, methods: list[str], count: int, args: argparse.Namespace) -> int:
    """Bytes that are kept for further methods when all have answered."""
    from relprop.explanation.inquiry import Inquiry

    x, targets = _asked(count, args.size)
    with Inquiry(net, x, targets, several=True) as inquiry:
        for method in methods:
            inquiry.answer(relprop.methods.resolve(method), last=False)
        return inquiry.kept


def _each(name: str, net: nn.Module, methods: list[str], count: int, args: argparse.Namespace) -> str:
    """Every method's part of the call, beside a call of its own, in gradients."""
    from relprop.explanation.inquiry import Inquiry

    x, targets = _asked(count, args.size)
    yard = 1 / _gradients(net, x, lambda: net(x), args.repeats)[0]  # of a forward run
    forward = min(_seconds(lambda: net(x)) for _ in range(args.repeats)) * yard
    rows = []
    with Inquiry(net, x, targets, several=True) as inquiry:
        for method in methods:
            alone, _ = _gradients(net, x, lambda m=method: relprop.explain(net, x, targets, m), 1)  # type: ignore[misc]
            recipe = relprop.methods.resolve(method)
            taken = _seconds(lambda r=recipe: inquiry.answer(r, last=False)) / forward  # type: ignore[misc]
            rows.append([method, f"{alone:.2f}", f"{taken:.2f}", f"{inquiry.kept >> 20}"])
    return f"### {name}, {count} targets\n\n" + markdown(
        ["method", "alone", "in the call", "kept, MiB"], rows
    )


if __name__ == "__main__":
    main()
