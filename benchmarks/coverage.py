"""Coverage: every torchvision classifier and video model under every family of rules.

    python benchmarks/coverage.py                       # float32; most of an hour on two slow cores
    python benchmarks/coverage.py --dtype float64
    python benchmarks/coverage.py --only 'resnet*' --rules lrp-0 deep-taylor
    python benchmarks/coverage.py --huge                # the largest constructors too

Random weights, biases, norm parameters and batch norm statistics; see benchmarks/README.md for the
columns. Results are kept model by model in a JSON lines file: an interrupted run goes on where it
stopped, unless the settings or relprop's code have changed. The exit code is 1 if anything is silently
wrong: not refused, and yet the ledger does not close, the outputs differ from the model's, or LRP-0 on a
piecewise linear network is not gradient × input.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import re
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.common import DTYPES, HUGE, build, code_digest, constructors, noise, progress
from benchmarks.coverage_report import read, report
from relprop.errors import CaptureError, RelpropError, UnsupportedOperatorError
from relprop.methods.method import Method
from relprop.propagate.composite import Composite
from relprop.propagate.trace import Trace
from relprop.rules import Epsilon, Slope

ROOT = Path(__file__).resolve().parents[1]
BOUND = 3.0  # inputs are noise clamped to ±BOUND: the box that deep Taylor is told

RULES: dict[str, Method] = {
    "lrp-0": relprop.LRP(rule="zero"),
    "lrp-epsilon": relprop.LRP(rule="epsilon"),
    "lrp-gamma": relprop.LRP(rule="gamma"),
    "deep-taylor": relprop.DeepTaylor(bounds=(-BOUND, BOUND)),
    "lrp-alpha-beta": relprop.LRP(rule="alpha-beta"),
    "lrp-composite:lower=gamma": relprop.LRP(composite="epsilon-gamma-box", bounds=(-BOUND, BOUND)),
}
"""Rule sets by the name that `--rules` takes."""

# (channels, *spatial) where 64² doesn't do.
SIZES: list[tuple[str, tuple[int, ...]]] = [
    ("inception_v3", (3, 96, 96)),
    ("vit_*", (3, 224, 224)),
    ("maxvit_t", (3, 224, 224)),
    ("s3d", (3, 14, 224, 224)),
    ("mvit_*", (3, 16, 224, 224)),
    ("swin3d_*", (3, 4, 64, 64)),
    ("*3d_18", (3, 8, 64, 64)),
    ("mc3_18", (3, 8, 64, 64)),
    ("r2plus1d_18", (3, 8, 64, 64)),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; 1 if anything is silently wrong."""
    args = _arguments(argv)
    torch.set_num_threads(args.threads)
    names = [n for n in constructors() if not args.only or any(fnmatchcase(n, p) for p in args.only)]
    if not names:
        raise SystemExit(f"No torchvision constructor matches {' '.join(args.only)}.")
    here = Path(__file__)
    code = code_digest(ROOT / "src" / "relprop", here, here.with_name("common.py"))
    setting = {"dtype": args.dtype, "device": args.device, "code": code}
    kept = _read(args.out, setting, args.rules)
    records = []
    with progress(20) as bar, args.out.open("a", encoding="utf-8") as file:
        task = bar.add_task("", total=len(names))
        for name in names:
            bar.update(task, description=name)
            if name in kept:
                record = kept[name]
            elif name in HUGE and not args.huge:
                record = {"model": name, "not run": HUGE[name]} | setting
            else:
                record = measure(name, args.rules, args.dtype, args.device) | setting
                file.write(json.dumps(record) + "\n")
                file.flush()
            records.append(record)
            bar.advance(task)
    text, wrong = report(records, args.rules)
    print(json.dumps(records, indent=1) if args.json else text)
    if args.table:
        args.table.write_text(text + "\n", encoding="utf-8")
    return 1 if wrong else 0


def measure(name: str, rules: Sequence[str], dtype: str, device: str) -> dict[str, Any]:
    """Everything about one constructor, as plain values."""
    begin = time.perf_counter()
    size = next((s for pattern, s in SIZES if fnmatchcase(name, pattern)), (3, 64, 64))
    big = len(size) == 4 and size[-1] > 64
    record: dict[str, Any] = {"model": name, "size": list(size)}
    try:
        model = build(name, size, batch=2 if big else 4, dtype=DTYPES[dtype], device=device)
        x = noise((1 if big else 2, *size), seed=7, dtype=DTYPES[dtype], device=device).clamp(-BOUND, BOUND)
        record["parameters"] = sum(p.numel() for p in model.parameters())
        record |= _captured(model, x)
        if "refused" not in record:
            record["rules"] = {rule: _rule(model, x, rule) for rule in rules}
    finally:
        model = x = None  # type: ignore[assignment]
        relprop.clear_cache()
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        record["seconds"] = round(time.perf_counter() - begin, 1)
    return record


def _captured(model: nn.Module, x: Tensor) -> dict[str, Any]:
    try:
        begin = time.perf_counter()
        trace = relprop.trace(model, x)
        taken = time.perf_counter() - begin
    except CaptureError as error:
        return {"refused": _clause(error)}
    with torch.no_grad():
        expected = model(x)
    found: dict[str, Any] = {
        "capture": round(taken, 2),
        "operators": sum(1 for n in trace.graph.nodes if n.target is not None and n.dependent),
        "forward difference": float((trace.output - expected).abs().max()),
        "output": float(expected.abs().max()),
    }
    if _piecewise_linear(trace):
        found["gradient x input"] = _against_gradient(model, x, trace)
    return found


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


def _against_gradient(model: nn.Module, x: Tensor, trace: Trace) -> float | None:
    """LRP-0 beside autograd's gradient × input: largest difference over largest element."""
    composite = Composite([("activation", Slope()), ("linear", Epsilon(0.0))], "value", name="LRP-0, slopes")
    target = trace.output.argmax(1, keepdim=True)
    seed = torch.zeros_like(trace.output).scatter_(1, target, trace.output.gather(1, target))
    try:
        mine = trace.run(seed, composite, ledger=False).relevance
    except UnsupportedOperatorError:
        return None
    leaf = x.clone().requires_grad_()
    score = model(leaf).gather(1, target).sum()
    expected = torch.autograd.grad(score, leaf)[0] * x
    return float((mine - expected).abs().max() / expected.abs().max())


def _rule(model: nn.Module, x: Tensor, rule: str) -> dict[str, Any]:
    begin = time.perf_counter()
    try:
        explanation = relprop.explain(model, x, method=RULES[rule])
    except UnsupportedOperatorError as error:
        return {"refused": _clause(error)}
    except RelpropError as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    except Exception as error:  # a raw error is a finding, and must not end the run
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"}
    ledger = explanation.ledger
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
        "finite": bool(explanation.relevance.isfinite().all()),
        "seconds": round(time.perf_counter() - begin, 2),
    }


def _clause(error: Exception) -> str:
    """The first sentence of a refusal: what is refused, and where, without the name of the composite."""
    text = re.split(r"\. (?=[A-Z])", str(error))[0].rstrip(".")
    return text.rpartition(" under ")[0] or text


def _read(path: Path, setting: dict[str, str], rules: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Records of earlier runs that are still good: same settings, same code, all rule sets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {}
    for record in read(path) if path.is_file() else []:
        same = all(record.get(key) == value for key, value in setting.items())
        if same and ("refused" in record or all(rule in record["rules"] for rule in rules)):
            found[record["model"]] = record
    return found


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PATTERN", help="constructors, such as 'resnet*'"
    )
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES), metavar="RULES")
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: torch's own")
    parser.add_argument("--huge", action="store_true", help=f"run {', '.join(HUGE)} too")
    parser.add_argument("--json", action="store_true", help="print all numbers instead of the tables")
    parser.add_argument("--table", type=Path, help="write the tables here (Markdown)")
    parser.add_argument("--out", type=Path, help="kept results (default: out/coverage-DTYPE-DEVICE.jsonl)")
    args = parser.parse_args(argv)
    if args.out is None:
        args.out = Path("out") / f"coverage-{args.dtype}-{args.device.replace(':', '')}.jsonl"
    return args


if __name__ == "__main__":
    sys.exit(main())
