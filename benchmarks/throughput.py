"""Pictures a second of `relprop.explain_many`, beside one-by-one `relprop.explain` and other libraries' batches.

    python benchmarks/throughput.py                             # ResNet-50, 224², batches of 1 to 32, two threads
    python benchmarks/throughput.py --models vgg16 --method epsilon
    python benchmarks/throughput.py --threads 1 --clock cpu     # on a machine that others use as well
    python benchmarks/throughput.py --sizes                     # memory over 2,000 pictures of changing sizes
    python benchmarks/throughput.py --sizes --distinct 100

Random weights. In every round each case explains the same number of pictures, with one-by-one `relprop.explain`
before and after it; a case's gain is the median over the rounds of its rate over the mean of those two, and beside
it stands that of the fastest rounds, which other load disturbs least. Where a peer can't run a network, the table
says what it said.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

import relprop
from benchmarks.cases import CASES, Work
from benchmarks.common import build, environment, markdown, noise, progress, synchronise
from benchmarks.memory import resident
from relprop.graph.capture import capture

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
METHODS = {
    "z-plus": (lambda: relprop.LRP(rule="z-plus"), ("zennit-epsilon-plus",)),
    "epsilon": (lambda: relprop.LRP(rule="epsilon"), ("captum",)),
    "alpha-beta": (lambda: relprop.LRP(rule="alpha-beta"), ("zennit-alpha-beta",)),
    "lrp-composite": (relprop.LRPComposite, ()),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    args = _arguments(argv)
    torch.set_num_threads(args.threads)
    print(", ".join(f"{k} {v}" for k, v in environment(args.device).items()), flush=True)
    if args.sizes:
        _sizes(args)
        return 0
    for name in args.models:
        print(f"\n### {name}, {args.size}², {args.method}\n\n{_rates(name, args)}", flush=True)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["resnet50"], metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32], metavar="N")
    parser.add_argument("--method", choices=METHODS, default="z-plus")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=0, help="a round (default: the largest batch)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--sizes", action="store_true", help="memory over pictures of changing sizes")
    parser.add_argument("--distinct", type=int, default=36, help="with --sizes: how many sizes")
    parser.add_argument("--count", type=int, default=2000, help="with --sizes: how many pictures")
    return parser.parse_args(argv)


def _rates(name: str, args: argparse.Namespace) -> str:
    model = build(name, (3, 64, 64), device=args.device)
    make, peers = METHODS[args.method]
    method = make()
    count = args.pictures or max(args.batches)
    x = noise((count, 3, args.size, args.size), seed=5, device=args.device)
    with torch.no_grad():
        target = torch.cat([model(x[i : i + 1]).argmax(1) for i in range(count)])
    given = [(x[i], int(target[i])) for i in range(count)]

    def one_by_one() -> None:
        for i in range(count):
            relprop.explain(model, x[i : i + 1], target[i : i + 1], method)

    def many(batch: int | str) -> Callable[[], None]:
        def call() -> None:
            for _ in relprop.explain_many(model, given, method=method, batch=batch):
                pass

        return call

    rows: list[list[str]] = []
    with ExitStack() as stack:
        calls: dict[str, Callable[[], Any]] = {f"explain_many, batch {b}": many(b) for b in args.batches}
        calls["explain_many, batch auto"] = many("auto")
        missing: dict[str, str] = {}
        for peer in [] if args.no_peers else peers:
            for batch in args.batches:
                label = f"{CASES[peer].label}, batch {batch}"
                try:
                    works = [
                        CASES[peer].prepare(Work(name, model, x[i : i + batch], target[i : i + batch], stack))
                        for i in range(0, count - batch + 1, batch)
                    ][:1]
                    works[0]()
                except (ImportError, RuntimeError, AssertionError, AttributeError, TypeError) as error:
                    missing[label] = " ".join(f"{type(error).__name__}: {error}".split())[:90]
                    continue
                calls[label] = _repeated(works[0], count // batch)
        one_by_one()
        bar = stack.enter_context(progress())
        task = bar.add_task(name, total=len(calls) * (args.repeats + 1))
        for call in calls.values():
            call()
            bar.advance(task)
        alone: list[float] = []
        rates: dict[str, list[float]] = {label: [] for label in calls}
        gains: dict[str, list[float]] = {label: [] for label in calls}
        for _ in range(args.repeats):
            before = _rate(one_by_one, count, args)
            alone.append(before)
            for label, call in calls.items():
                rate = _rate(call, count, args)
                after = _rate(one_by_one, count, args)
                rates[label].append(rate)
                gains[label].append(2 * rate / (before + after))
                alone.append(after)
                before = after
                bar.advance(task)
    rows = [["explain, one by one", f"{median(alone):.2f}", "1", "", f"{max(alone):.2f}", "1"]]
    for label in calls:
        spread = f"{min(gains[label]):.2f}–{max(gains[label]):.2f}"
        best = max(rates[label])
        rows.append(
            [
                label, f"{median(rates[label]):.2f}", f"{median(gains[label]):.2f}", spread, f"{best:.2f}",
                f"{best / max(alone):.2f}",
            ]
        )  # fmt: skip
    rows += [[label, "not run", why, "", "", ""] for label, why in missing.items()]
    return markdown(
        ["case", "pictures/s", "of one by one", "least–most", "fastest round", "of the fastest"], rows
    )


def _repeated(call: Callable[[], Any], times: int) -> Callable[[], None]:
    def several() -> None:
        for _ in range(times):
            call()

    return several


def _rate(call: Callable[[], Any], count: int, args: argparse.Namespace) -> float:
    clock = CLOCKS[args.clock]
    synchronise(args.device)
    begin = clock()
    call()
    synchronise(args.device)
    return count / (clock() - begin)


def _sizes(args: argparse.Namespace) -> None:
    """Print resident memory and kept graphs over pictures of many sizes in random order."""
    model = build("resnet18", (3, 64, 64), device=args.device)
    drawn = random.Random(0)
    every = [(h, w) for h in range(64, 225, 8) for w in range(64, 225, 8)]
    sizes = drawn.sample(every, args.distinct)
    order = [drawn.choice(sizes) for _ in range(args.count)]

    def pictures() -> Iterator[Tensor]:
        for seed, (height, width) in enumerate(order):
            yield noise((3, height, width), seed=seed, device=args.device)

    graphs = sys.modules[capture.__module__]._CACHE  # type: ignore[attr-defined]
    print(f"\n### resnet18, {args.count} pictures of {args.distinct} sizes from 64² to 224²\n")
    print("| pictures | resident MiB | graphs kept | seconds |\n| --- | --- | --- | --- |")
    gc.collect()
    print(f"| 0 | {resident():.0f} | 0 | |", flush=True)
    last = time.perf_counter()
    for e in relprop.explain_many(model, pictures(), method=relprop.LRP(rule="z-plus")):
        done = (e.index or 0) + 1
        if done % max(1, args.count // 10) == 0:
            now = time.perf_counter()
            kept = len(graphs[model])
            print(f"| {done} | {resident():.0f} | {kept} | {now - last:.0f} |", flush=True)
            last = now


if __name__ == "__main__":
    sys.exit(main())
