"""Speed and memory of relevance propagation, as multiples of one input-gradient of the same model.

    python benchmarks/speed.py                          # everything; about 20 minutes on two idle cores
    python benchmarks/speed.py --quick --models resnet50 --batches 1 --no-memory
    python benchmarks/speed.py --profile z-plus --models vgg16 --batches 8
    python benchmarks/speed.py --models vit_b_16 --batches 1 --threads 1 --clock cpu
    python benchmarks/speed.py --device cuda            # float32 without TF32, synchronised, peak memory

VGG-16 and ResNet-50 with random weights at 224². In each round every case runs once, with a gradient
timed before and after it; a case's cost is the median over the rounds of its time over the mean of those
two gradients, so that drift of the machine hits all cases alike. Memory is the peak above the loaded
model, each case in its own process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import relprop
from benchmarks.cases import CASES, Work, gradient
from benchmarks.common import DTYPES, build, environment, markdown, noise, progress, synchronise
from benchmarks.memory import mark, peak
from benchmarks.ratio import STEADY

MEMORY_CASES = (
    "gradient", "epsilon", "z-plus", "epsilon-plus", "zennit-epsilon-plus", "alpha-beta", "zennit-alpha-beta"
)  # fmt: skip
FIRST_CALL_AIM = 1.5  # seconds
MEMORY_AIM = 2 / 3  # of zennit's peak, for z+
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    args = _arguments(argv)
    torch.set_num_threads(args.threads)
    # On a GPU, 32 bits mean 32 bits, for all alike: TensorFloat-32 keeps 10 of the 23 behind the point.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if args.memory_case:
        print(json.dumps(_memory_here(args.models[0], args.batches[0], args.memory_case, args)))
        return 0
    if args.first_call:
        print(json.dumps(_first_call_here(args.models[0], args)))
        return 0
    if args.profile:
        _profile(args)
        return 0
    report: dict[str, Any] = {
        "settings": {k: getattr(args, k) for k in ("repeats", "size", "dtype", "device", "threads", "clock")},
        "environment": environment(args.device),
    }
    text = [_head(report)]

    def add(section: str) -> None:
        text.append(section)
        print(f"\n{section}", flush=True)

    print(text[0], flush=True)
    report["speed"] = []
    for name in args.models:
        for batch in args.batches:
            rows = _speed(name, batch, args)
            report["speed"] += rows
            add(_speed_table(name, batch, rows))
    if not args.no_first:
        report["first call"] = [_first_call(name, args) for name in args.models]
        add(_first_table(report["first call"]))
    if not args.no_memory:
        report["memory"] = _memory(args)
        add(_memory_table(report["memory"]))
    report["environment"]["load average at the end"] = environment(args.device).get("load average", "?")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    if args.out:
        args.out.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["vgg16", "resnet50"], metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8], metavar="N")
    parser.add_argument("--size", type=int, default=224, help="height and width of the input")
    parser.add_argument("--only", nargs="+", choices=sorted(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--repeats", type=int, help="rounds (default 5; with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, for a first look")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=sorted(CLOCKS),
        default="wall",
        help="cpu: time of this process on the CPU, which other load disturbs less (use --threads 1 with it)",
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES))
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory table")
    parser.add_argument("--no-first", action="store_true", help="leave out the first call and overhead")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--out", type=Path, help="write the Markdown tables here")
    parser.add_argument(
        "--profile", choices=["gradient", *CASES], metavar="CASE", help="profile a case instead"
    )
    parser.add_argument("--memory-case", help=argparse.SUPPRESS)  # the process that measures one case
    parser.add_argument("--first-call", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.repeats = args.repeats or (3 if args.quick else 5)
    return args


# -- speed ---------------------------------------------------------------------------------------------


def _work(name: str, batch: int, args: argparse.Namespace, stack: ExitStack) -> Work:
    size = (3, args.size, args.size)
    model = build(name, (3, 64, 64), dtype=DTYPES[args.dtype], device=args.device)
    x = noise((batch, *size), seed=5, dtype=DTYPES[args.dtype], device=args.device)
    with torch.no_grad():
        target = model(x).argmax(1)
    return Work(name, model, x, target, stack)


def _timed(call: Callable[[], Any], args: argparse.Namespace) -> float:
    clock = CLOCKS[args.clock]
    synchronise(args.device)
    begin = clock()
    call()
    synchronise(args.device)
    return clock() - begin


def _speed(name: str, batch: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    chosen = {key: c for key, c in CASES.items() if c.applies(name, batch) and key in (args.only or CASES)}
    with ExitStack() as stack:
        work = _work(name, batch, args, stack)
        yardstick = gradient(work)
        yardstick()
        bar = stack.enter_context(progress())
        task = bar.add_task(f"{name}, batch {batch}", total=len(chosen) * (args.repeats + 1))
        calls: dict[str, Callable[[], Any]] = {}
        missing: dict[str, str] = {}
        for key, case in chosen.items():
            try:
                calls[key] = case.prepare(work)
                for _ in range(STEADY):  # the first calls capture and fill caches; they are timed elsewhere
                    calls[key]()
            except ImportError as error:
                missing[key] = str(error)
            except relprop.errors.RelpropError as error:
                missing[key] = f"{type(error).__name__}: {error}"
            bar.advance(task)
        calls = {key: call for key, call in calls.items() if key not in missing}
        seconds: dict[str, list[float]] = {key: [] for key in calls}
        ratios: dict[str, list[float]] = {key: [] for key in calls}
        gradients: list[float] = []
        for _ in range(args.repeats):
            before = _timed(yardstick, args)
            gradients.append(before)
            for key, call in calls.items():
                taken = _timed(call, args) / chosen[key].targets
                after = _timed(yardstick, args)
                seconds[key].append(taken)
                ratios[key].append(2 * taken / (before + after))
                gradients.append(after)
                before = after
                bar.advance(task)
    base = {"model": name, "batch": batch}
    rows = [
        {**base, "case": "gradient", "label": "one input-gradient (autograd)", "seconds": median(gradients)}
    ]
    for key, case in chosen.items():
        row = {**base, "case": key, "label": case.label, "aim": case.aim}
        if key in missing:
            rows.append({**row, "missing": missing[key]})
            continue
        cost = median(ratios[key])
        met = None if case.aim is None else cost <= case.aim
        rows.append(
            {**row, "seconds": median(seconds[key]), "gradients": cost, "met": met, "all": ratios[key]}
        )
    return rows


def _speed_table(name: str, batch: int, rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        if "missing" in row:
            lines.append([row["label"], "not run", row["missing"][:80], "", "", ""])
            continue
        spread = f"{min(row['all']):.2f}–{max(row['all']):.2f}" if "all" in row else ""
        cost = f"{row['gradients']:.2f}" if "gradients" in row else "1"
        aim = "" if row.get("aim") is None else f"≤ {row['aim']:g}"
        label = (
            row["label"] if row["label"].startswith(("relprop", "one", "forward")) else f"*{row['label']}*"
        )
        lines.append([label, f"{row['seconds'] * 1e3:.0f}", cost, spread, aim, _verdict(row.get("met"))])
    head = ["case", "ms", "gradients", "least–most", "aim", ""]
    return f"### {name}, batch {batch}\n\n{markdown(head, lines)}"


def _verdict(met: bool | None) -> str:
    return "" if met is None else "met" if met else "missed"


# -- first call and overhead -----------------------------------------------------------------------------


def _first_call(name: str, args: argparse.Namespace) -> dict[str, Any]:
    return _in_process(["--models", name, "--first-call"], args)


def _first_call_here(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """First call in this process, first call on another model, and where a later call's time goes."""
    method = relprop.LRP(rule="z-plus")
    with ExitStack() as stack:
        work = _work(name, 1, args, stack)
        gradient(work)()
        fresh_process = _timed(lambda: relprop.explain(work.model, work.x, work.target, method), args)
        again = []
        for seed in range(3):
            model = build(name, (3, 64, 64), seed=seed + 10, dtype=DTYPES[args.dtype], device=args.device)
            model(work.x)
            again.append(
                _timed(lambda m=model: relprop.explain(m, work.x, work.target, method), args)  # type: ignore[misc]
            )
            del model
        later, overhead = [], []
        for _ in range(max(5, args.repeats)):
            with _stopwatch(args) as inside:
                total = _timed(lambda: relprop.explain(work.model, work.x, work.target, method), args)
            later.append(total)
            overhead.append(total - inside[0] if inside[1] else float("nan"))
    return {
        "model": name,
        "first in process": fresh_process,
        "first on a model": median(again),
        "later": median(later),
        "overhead": median(overhead),
    }


@contextmanager
def _stopwatch(args: argparse.Namespace) -> Any:
    """Adds up the time inside the forward run and the walk: the work proper of a call."""
    from relprop.propagate import trace, walk

    inside = [0.0, 0]
    clock = CLOCKS[args.clock]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            synchronise(args.device)
            begin = clock()
            result = function(*given, **named)
            synchronise(args.device)
            inside[0] += clock() - begin
            inside[1] += 1
            return result

        return call

    parts = [(trace.Trace, "_forward"), (walk._Walk, "go")]
    kept = [(owner, name, getattr(owner, name)) for owner, name in parts if hasattr(owner, name)]
    try:
        for owner, name, function in kept:
            setattr(owner, name, timed(function))
        yield inside
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def _first_table(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        for key, what in (
            ("first in process", "first call in a fresh process (capture and lazy imports included)"),
            ("first on a model", "first call on another model object (capture included)"),
        ):
            met = row[key] <= FIRST_CALL_AIM if row["model"] == "resnet50" else None
            aim = "" if met is None else f"≤ {FIRST_CALL_AIM:g} s"
            lines.append([row["model"], what, f"{row[key]:.2f} s", aim, _verdict(met)])
        lines.append([row["model"], "later calls", f"{row['later'] * 1e3:.0f} ms", "", ""])
        lines.append(
            [
                row["model"],
                "of it outside the forward run and the walk",
                f"{row['overhead'] * 1e3:.1f} ms",
                "",
                "",
            ]
        )
    return "### First and later calls, z⁺, batch 1\n\n" + markdown(
        ["model", "what", "time", "aim", ""], lines
    )


# -- memory ----------------------------------------------------------------------------------------------


def _memory(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    batch = max(args.batches)
    jobs = [(name, key) for name in args.models for key in MEMORY_CASES]
    with progress() as bar:
        for name, key in bar.track(jobs, description=f"memory, batch {batch}"):
            row = {"model": name, "batch": batch, "case": key}
            row |= _in_process(["--models", name, "--batches", str(batch), "--memory-case", key], args)
            rows.append(row)
    return rows


def _memory_here(name: str, batch: int, key: str, args: argparse.Namespace) -> dict[str, Any]:
    """Peak above the loaded model over two calls, in MiB: the first one captures, the second is steady."""
    with ExitStack() as stack:
        work = _work(name, batch, args, stack)
        tiny = torch.nn.Sequential(
            torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.LazyLinear(2)
        ).eval()
        tiny = tiny.to(args.device, DTYPES[args.dtype])
        with torch.no_grad():
            tiny(work.x[:1, :, :8, :8])
        # Libraries that are imported on first use are no part of the computation.
        relprop.explain(tiny, work.x[:1, :, :8, :8], 0, "lrp-0")
        call = gradient(work) if key == "gradient" else CASES[key].prepare(work)
        if key.startswith(("zennit", "captum")):
            work.model.to("meta")  # it works on its own copy
        before = mark(args.device)
        call()
        first = peak(args.device) - before
        held = mark(args.device) - before
        call()
        return {"first": first, "later": held + peak(args.device) - (before + held), "held": held}


def _memory_table(rows: list[dict[str, Any]]) -> str:
    # Our larger peak over zennit's first one: the comparison that is hardest on us.
    peaks = {
        (r["model"], r["case"]): r["first"] if r["case"].startswith("zennit") else max(r["first"], r["later"])
        for r in rows
    }
    lines = []
    for row in rows:
        label = CASES[row["case"]].label if row["case"] in CASES else "one input-gradient (autograd)"
        peak = peaks[row["model"], row["case"]]
        rival = "zennit-alpha-beta" if row["case"] == "alpha-beta" else "zennit-epsilon-plus"
        ours = row["case"] in ("z-plus", "epsilon-plus", "alpha-beta")
        share = peak / peaks[row["model"], rival] if ours else None
        aimed = ours and row["case"] != "alpha-beta"
        lines.append(
            [
                row["model"], label, f"{row['first']:.0f}", f"{row['later']:.0f}", f"{row['held']:.0f}",
                "" if share is None else f"{share:.2f}", f"≤ {MEMORY_AIM:.2f}" if aimed else "",
                _verdict(share <= MEMORY_AIM if aimed and share is not None else None),
            ]
        )  # fmt: skip
    head = ["model", "case", "peak, first call", "peak, later call", "held between", "of zennit's", "aim", ""]
    batch = rows[0]["batch"] if rows else 0
    return f"### Peak memory above the loaded model, batch {batch}, MiB\n\n{markdown(head, lines)}"


# -- the rest ----------------------------------------------------------------------------------------------


def _in_process(extra: list[str], args: argparse.Namespace) -> dict[str, Any]:
    command = [
        sys.executable, str(Path(__file__).resolve()), *extra, "--size", str(args.size), "--device", args.device,
        "--dtype", args.dtype, "--threads", str(args.threads), "--repeats", str(args.repeats),
        "--clock", args.clock,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _profile(args: argparse.Namespace) -> None:
    """Which operators a case spends its time in."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    order = "self_cpu_time_total"
    if torch.device(args.device).type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        order = "self_cuda_time_total"
    for name in args.models:
        for batch in args.batches:
            with ExitStack() as stack:
                work = _work(name, batch, args, stack)
                call = gradient(work) if args.profile == "gradient" else CASES[args.profile].prepare(work)
                call()
                call()
                with profile(activities=activities) as seen:
                    for _ in range(args.repeats):
                        call()
            print(f"\n{args.profile} on {name}, batch {batch}, {args.repeats} calls")
            print(seen.key_averages().table(sort_by=order, row_limit=18, max_name_column_width=45))


def _head(report: dict[str, Any]) -> str:
    s, e = report["settings"], report["environment"]
    facts = ", ".join(f"{k} {v}" for k, v in e.items())
    return (
        f"## Speed and memory\n\n{s['size']}² inputs, {s['dtype']}, medians of {s['repeats']} interleaved rounds "
        f"({s['clock']} clock); random weights. Cost in input-gradients of the same model, "
        f"batch and machine.\n\n{facts}."
    )


if __name__ == "__main__":
    sys.exit(main())
