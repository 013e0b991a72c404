"""Ratios: what a call costs in input-gradients, each call timed between two of them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.common import environment, synchronise
from relprop.tracing.channels import USES

__all__ = ["STEADY", "Call", "Cost", "begin", "costs", "timing_options"]

STEADY = USES + 1
"""Calls after which relprop has everything that it keeps of a network's weights."""

Call = Callable[[], object]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Cost(NamedTuple):
    """Medians over rounds: time over the mean of the gradients before and after, and the time in seconds."""

    gradients: float
    seconds: float


def timing_options(
    parser: argparse.ArgumentParser, *, repeats: int = 5, threads: int = 2, clock: str = "wall"
) -> None:
    """Add --repeats, --threads, --clock and --device."""
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default=clock)
    parser.add_argument("--device", default="cpu")


def begin(args: argparse.Namespace) -> None:
    """Set the threads and print the machine."""
    torch.set_num_threads(args.threads)
    print(", ".join(f"{k} {v}" for k, v in environment(args.device).items()), flush=True)


def costs(
    gradient: Call, calls: Mapping[str, Call], args: argparse.Namespace, *, warm_up: int = 1
) -> tuple[dict[str, Cost], float]:
    """The cost of every call, and the median seconds of a gradient.

    Gradient and calls run `warm_up` times first, so that what is done at first calls isn't timed.
    """
    clock = CLOCKS[args.clock]

    def timed(call: Call) -> float:
        synchronise(args.device)
        start = clock()
        call()
        synchronise(args.device)
        return clock() - start

    for _ in range(warm_up):
        for call in (gradient, *calls.values()):
            call()
    ratios: dict[str, list[float]] = {key: [] for key in calls}
    seconds: dict[str, list[float]] = {key: [] for key in calls}
    yardsticks = [timed(gradient)]
    for _ in range(args.repeats):
        for key, call in calls.items():
            seconds[key].append(timed(call))
            yardsticks.append(timed(gradient))
            ratios[key].append(2 * seconds[key][-1] / sum(yardsticks[-2:]))
    return {key: Cost(median(ratios[key]), median(seconds[key])) for key in calls}, median(yardsticks)
