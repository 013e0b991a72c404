"""Coverage: public architectures of many libraries, explained by several methods.

    python benchmarks/coverage.py                                  # whatever of the libraries is installed
    python benchmarks/coverage.py --only 'timm/*' 'transformers/Swin*' --methods lrp-epsilon
    python benchmarks/coverage.py --only 'torchvision/*' --all     # all that fit in memory
    python benchmarks/coverage.py --list

The libraries: `pip install -r benchmarks/requirements-coverage.txt`; what isn't there is reported as not
built. Random weights, biases, norm parameters and norm statistics; see benchmarks/README.md.

Each model is measured in a process of its own, with a limit on time and memory, and has a file of its own in
the folder of kept results: an interrupted run goes on where it stopped, unless the settings or relprop's code
have changed. The exit code is 1 if anything is silently wrong: neither closed nor refused by relprop, outputs
or gradients that differ from the model's, or LRP-0 on a piecewise linear network that is not gradient × input.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import faulthandler
import json
import multiprocessing
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.architectures import BOUND, Case, Entry, NotBuiltError, entries
from benchmarks.common import DTYPES, code_digest, progress
from benchmarks.coverage_report import FORWARD, read, report
from relprop.errors import RelpropError, UnsupportedOperatorError
from relprop.explanation.running import run_of
from relprop.methods.method import Method
from relprop.propagate.composite import Composite
from relprop.propagate.trace import Trace
from relprop.rules import Epsilon, Slope
from relprop.tracing.view import Packing

ROOT = Path(__file__).resolve().parents[1]

METHODS: dict[str, Method | str] = {
    "lrp-0": "lrp-0",
    "lrp-epsilon": "lrp-epsilon",
    "lrp-composite": "lrp-composite",
    "excitation-backprop": "excitation-backprop",
    "attnlrp": "attnlrp",
    "lrp-gamma": relprop.LRP(rule="gamma"),
    "deep-taylor": relprop.DeepTaylor(bounds=(-BOUND, BOUND)),
    "lrp-alpha-beta": relprop.LRP(rule="alpha-beta"),
    "lrp-composite:lower=gamma": relprop.LRP(composite="epsilon-gamma-box", bounds=(-BOUND, BOUND)),
}
"""Methods by the name that `--methods` takes."""

SURE = 1e-4
"""Where the gradient differs from autograd's by more, a batch of two in double precision says who is right."""

DEFAULT = ("lrp-0", "lrp-epsilon", "lrp-composite", "excitation-backprop")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; 1 if anything is silently wrong."""
    args = _arguments(argv)
    found = [e for e in entries(every=args.all) if _asked(e, args.only)]
    if not found:
        raise SystemExit(f"No architecture matches {' '.join(args.only)}. See --list.")
    if args.list:
        print("\n".join(e.key for e in found))
        return 0
    torch.set_num_threads(args.threads)
    here = Path(__file__)
    code = code_digest(
        ROOT / "src" / "relprop", here, here.with_name("common.py"), here.with_name("architectures")
    )
    setting = {"dtype": args.dtype, "device": args.device, "code": code}
    args.out.mkdir(parents=True, exist_ok=True)
    records: dict[str, dict[str, Any]] = {}
    waiting = []
    for entry in found:
        kept = _kept(_file(args.out, entry), setting, args.methods)
        if kept is None:
            waiting.append(entry)
        else:
            records[entry.key] = kept

    measured = (
        _run(waiting, args)
        if args.jobs
        else ((e, measure(e, args.methods, args.dtype, args.device)) for e in waiting)
    )
    with progress(40) as bar:
        task = bar.add_task("", total=len(found), completed=len(records))
        for entry, record in measured:
            record |= setting
            _file(args.out, entry).write_text(json.dumps(record) + "\n", encoding="utf-8")
            records[entry.key] = record
            bar.update(task, description=entry.key[-40:], advance=1)
    ordered = [records[entry.key] for entry in found]
    text, wrong = report(ordered, args.methods)
    print(json.dumps(ordered, indent=1) if args.json else text)
    if args.table:
        args.table.write_text(text + "\n", encoding="utf-8")
    return 1 if wrong else 0


def _asked(entry: Entry, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(entry.key, p) or fnmatchcase(entry.name, p) for p in patterns)


def _file(folder: Path, entry: Entry) -> Path:
    return folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', entry.key)}.json"


def _kept(path: Path, setting: dict[str, str], methods: Sequence[str]) -> dict[str, Any] | None:
    """The record of an earlier run, if it is still good: same settings, same code, all methods."""
    if not path.is_file():
        return None
    for record in read(path):  # one, or none where the run was stopped while it wrote
        same = all(record.get(key) == value for key, value in setting.items())
        if same and ("methods" not in record or all(m in record["methods"] for m in methods)):
            return record
    return None


def _run(waiting: Sequence[Entry], args: argparse.Namespace) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Each entry's record as it is ready, `--jobs` processes at a time."""
    run_of(nn.Linear(1, 1).eval(), torch.zeros(1, 1))  # what capture imports is then there in every process
    context = multiprocessing.get_context(
        "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    )
    left = list(reversed(waiting))
    running: list[tuple[Entry, Any, Path, float]] = []
    while left or running:
        while left and len(running) < args.jobs:
            entry = left.pop()
            path = _file(args.out, entry).with_suffix(".part")
            path.unlink(missing_ok=True)
            job = (path, entry.key, args.methods, args.dtype, args.device, args.memory, args.threads)
            process = context.Process(target=_child, args=job, daemon=True)
            process.start()
            running.append((entry, process, path, time.monotonic()))
        time.sleep(0.02)
        for item in list(running):
            entry, process, path, since = item
            late = time.monotonic() - since > args.time
            if process.is_alive() and not late:
                continue
            if late:
                process.kill()
            process.join()
            running.remove(item)
            if path.is_file():
                record = json.loads(path.read_text(encoding="utf-8"))
                path.unlink()
            else:
                why = f"took more than {args.time} s" if late else _ending(process.exitcode)
                record = entry.names() | {"died": f"The process {why}."}
            yield entry, record


def _ending(code: int | None) -> str:
    return f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"


def _child(
    path: Path, key: str, methods: Sequence[str], dtype: str, device: str, memory: float, threads: int
) -> None:
    """Measure one architecture in a process of its own."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    faulthandler.disable()
    torch.set_num_threads(threads)
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (int(memory * 2**30),) * 2)
    entry = next(e for e in entries(every=True) if e.key == key)
    record = measure(entry, methods, dtype, device)
    whole = path.with_suffix(".whole")
    whole.write_text(json.dumps(record), encoding="utf-8")
    whole.replace(path)


def measure(entry: Entry, methods: Sequence[str], dtype: str, device: str) -> dict[str, Any]:
    """Everything about one architecture, as plain values."""
    begin = time.perf_counter()
    record: dict[str, Any] = entry.names()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            case = entry.build().to(DTYPES[dtype], device)
        except Exception as error:  # of another library: what can't be built isn't measured
            record["not built"] = str(error) if isinstance(error, NotBuiltError) else _first_line(error)
            return record
        record["input"] = case.shapes
        record["parameters"] = sum(p.numel() for p in case.model.parameters())
        versions = _versions(case.model)
        record |= _forward(case)
        if "refused" not in record and "failed" not in record:
            record["methods"] = {name: _method(case, name) for name in methods}
        if _versions(case.model) != versions:
            record["failed"] = "the model was changed"
    record["seconds"] = round(time.perf_counter() - begin, 1)
    return record


def _forward(case: Case) -> dict[str, Any]:
    """What has an exact answer: the outputs, the gradient, and LRP-0 of a piecewise linear network."""
    try:
        begin = time.perf_counter()
        trace = _trace(case)
        taken = time.perf_counter() - begin
        gradient = relprop.explain(case.model, case.x, method="gradient", output=case.output)
    except RelpropError as error:
        return {"refused": _clause(error), "kind": type(error).__name__}
    except Exception as error:  # a raw error is a finding, and must not end the run
        return {"failed": _first_line(error)}
    expected, leaves = case.scores()
    target = (
        _each(gradient)[0].targets.reshape(-1, *[1] * (expected.ndim - 1)).expand(-1, 1, *expected.shape[2:])
    )
    score = expected.gather(1, target).sum()
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(score, list(leaves))])
    mine = torch.cat([e.relevance.flatten() for e in _each(gradient)])
    found: dict[str, Any] = {
        "capture": round(taken, 2),
        "operators": sum(1 for n in trace.graph.nodes if n.target is not None and n.dependent),
        "forward difference": float((trace.output.reshape(expected.shape) - expected).abs().max()),
        "gradient difference": float((mine - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)),
        "output": float(expected.abs().max()),
    }
    dtype = str(expected.dtype).removeprefix("torch.")
    if not found["forward difference"] <= FORWARD[dtype] * max(found["output"], 1.0):
        # Some networks are coarse in 32 bits: what is asked is who is further from what 64 bits say.
        truth = copy.deepcopy(case).to(torch.float64, str(expected.device)).scores()[0].detach()
        found["forward error"] = float((trace.output.reshape(expected.shape) - truth).abs().max())
        found["own forward error"] = float((expected - truth).abs().max())
    if not found["gradient difference"] <= SURE:
        # In double precision: what is asked is who is right, not what either rounds.
        exact = copy.deepcopy(case).to(torch.float64, str(wanted.device))
        again = relprop.explain(exact.model, exact.x, method="gradient", output=exact.output)
        mine = torch.cat([e.relevance.flatten() for e in _each(again)])
        right = _of_two(exact, target)
        found["gradient of two"] = float((mine - right).abs().max() / right.abs().max().clamp(min=1e-30))
        product = right * torch.cat([v.detach().flatten() for v in exact.inputs])
        trace = _trace(exact)
    else:
        product = wanted * torch.cat([v.detach().flatten() for v in leaves])
    if _piecewise_linear(trace):
        found["gradient x input"] = _against_gradient(trace, target, product)
    return found


def _trace(case: Case) -> Trace:
    many = case.x if isinstance(case.x, (tuple, dict)) else None
    packing = None if many is None else Packing(many)
    return run_of(case.model, case.x if packing is None else packing.packed, case.output, packing).trace


def _versions(model: nn.Module) -> list[tuple[str, int, bool]]:
    """Changes when a parameter or a buffer does."""
    return [
        (name, t._version, t.requires_grad) for name, t in (*model.named_parameters(), *model.named_buffers())
    ]


def _piecewise_linear(trace: Trace) -> bool:
    """Whether the network is affine wherever no unit switches: nothing but affine maps, ReLUs and maxima."""
    for node in trace.graph.nodes:
        if (
            node.target is None
            or not node.dependent
            or node.kind in ("symbol", "shape", "pass", "add", "linear")
        ):
            continue
        if node.kind in ("batch_norm", "avg_pool", "max_pool") or node.op in ("relu", "hardtanh"):
            continue
        if node.kind == "multiply" and len(node.signals()) == 1:
            continue
        return False
    return True


def _against_gradient(trace: Trace, target: Tensor, expected: Tensor) -> float | None:
    """LRP-0 beside autograd's gradient × input: largest difference over largest element."""
    composite = Composite([("activation", Slope()), ("linear", Epsilon(0.0))], "value", name="LRP-0, slopes")
    target = target.reshape(trace.output[:, :1].shape)
    seed = torch.zeros_like(trace.output).scatter_(1, target, trace.output.gather(1, target))
    try:
        mine = trace.run(seed, composite, ledger=False).relevance.flatten()
    except UnsupportedOperatorError:
        return None
    return float((mine - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def _of_two(case: Case, target: Tensor) -> Tensor:
    """Autograd's gradient by a sample that isn't alone in its batch.

    Torch 2.13 has a fault of its own: batch norm's backward pass in evaluation on the CPU misreads gradients of a
    single sample whose strides don't fit.
    """
    many = tuple(torch.cat([t, t.flip(-1)]) for t in case.inputs)
    pair = replace(case, x=many if isinstance(case.x, tuple) else many[0])
    expected, leaves = pair.scores()
    score = expected[: len(target)].gather(1, target).sum()
    found = torch.autograd.grad(score, list(leaves))
    return torch.cat([g[: len(g) // 2].flatten() for g in found])


def _each(found: Any) -> list[Any]:
    """The explanations of all inputs."""
    if isinstance(found, dict):
        return list(found.values())
    return list(found) if isinstance(found, tuple) else [found]


def _method(case: Case, name: str) -> dict[str, Any]:
    begin = time.perf_counter()
    try:
        found = relprop.explain(case.model, case.x, method=METHODS[name], output=case.output)
    except RelpropError as error:
        return {"refused": _clause(error), "kind": type(error).__name__}
    except Exception as error:  # a raw error is a finding, and must not end the run
        return {"failed": _first_line(error)}
    parts = _each(found)
    ledger = parts[0].ledger
    if ledger is None:
        return {"failed": "no ledger"}
    start = ledger.start
    worst = max(ledger.rows, key=lambda r: r.error)
    gap = start - ledger.end - ledger.bias - ledger.stabiliser - ledger.lost
    scale = max(row.absolute for row in ledger.rows)

    def share(part: float) -> float:
        return part / start if start else 0.0

    return {
        "error": ledger.max_error,
        "closes": bool(ledger.closes),
        "worst": f"{worst.operator} in {worst.module} ({worst.rule})",
        "start": start,
        "input": share(ledger.end),
        "bias": share(ledger.bias),
        "stabiliser": share(ledger.stabiliser),
        "lost": share(ledger.lost),
        "growth": ledger.growth,
        "gap": abs(gap) / scale if scale else abs(gap),
        "finite": all(bool(e.relevance.isfinite().all()) for e in parts),
        "at": parts[0].at,
        "seconds": round(time.perf_counter() - begin, 2),
    }


def _clause(error: Exception) -> str:
    """The first sentence of a refusal: what is refused, and where, without the name of the composite."""
    text = re.split(r"\. (?=[A-Z])", str(error))[0].rstrip(".")
    return text.rpartition(" under ")[0] or text


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:200] if text else ''}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="architectures, such as 'timm/*' or 'resnet*'",
    )
    parser.add_argument(
        "--all", action="store_true", help="all listed members of timm and constructors of torchvision"
    )
    parser.add_argument("--list", action="store_true", help="print what would be measured")
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=list(DEFAULT), metavar="METHOD"
    )
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of each process (default: 1)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes at a time; 0: all in this one, without limits"
    )
    parser.add_argument("--time", type=float, default=300, help="seconds that one architecture may take")
    parser.add_argument(
        "--memory", type=float, default=12, help="GiB of addresses that one architecture may take"
    )
    parser.add_argument("--json", action="store_true", help="print all numbers instead of the tables")
    parser.add_argument("--table", type=Path, help="write the tables here (Markdown)")
    parser.add_argument(
        "--out", type=Path, help="folder of kept results (default: out/coverage-DTYPE-DEVICE)"
    )
    args = parser.parse_args(argv)
    if args.out is None:
        args.out = Path("out") / f"coverage-{args.dtype}-{args.device.replace(':', '')}"
    return args


if __name__ == "__main__":
    sys.exit(main())
