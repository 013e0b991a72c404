"""The tables of coverage.py: what closes, where relevance goes, what is refused, and the verdict.

python benchmarks/coverage_report.py out/coverage-*.jsonl > docs/coverage.md    # a page from kept results
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import HUGE, constructors, markdown

__all__ = ["page", "read", "report", "silently_wrong"]

# Rounding, generously: a wrong rule is off by far more. The ledger has its own, stricter limits.
FORWARD = {"float32": 1e-5, "float64": 1e-13}
GRADIENT = {"float32": 1e-3, "float64": 1e-9}
GROWTH = 1e4  # a warning: such a map is made of cancellation, whether its ledger closes or not

Record = dict[str, Any]

INTRODUCTION = """\
# Coverage

Every classification and video constructor of torchvision, explained under six families of rules. The page is
written by `benchmarks/coverage.py` and `benchmarks/coverage_report.py`; no number is typed by hand.

**How it was measured.** Random weights (seeded). Biases of convolutions and products N(0, 0.02); γ of norms
U(0.3, 1.2), β N(0, 0.3); batch norm statistics learned from batches of noise; layer scales U(0.3, 1.2). The
input is noise, clamped to ±3, which is also the box that the z-box rule is told. The explained class is each
sample's top class, and relevance starts as its score. Random weights say that the accounts balance, not what
a trained network's maps look like.

**Columns.**

- *forward*: largest difference between the traced output and `model(x)`. Where it isn't 0, torch takes a fused
  fast path in `model(x)` that rounds otherwise.
- *lrp-0* … *lrp-composite:lower=gamma*: the ledger's largest error. It closes up to 1e-6 of the sum of |R| at
  an operator in float32 and 1e-13 in float64; bold where it does not.
- *LRP-0 = g×x*: on piecewise linear networks (ReLU6 by its slope), largest difference between LRP-0 and
  autograd's gradient × input, over the largest element. A dash: the network is not piecewise linear, the two
  differ by definition.
- *share to bias · lost share · growth*: relevance absorbed by biases and relevance that found nowhere to go,
  each as a share of the start (they may exceed 1 where contributions cancel); and the largest sum of |R| at any
  operator over the start's. Large growth means strong cancellation: read such maps with care.
"""


def main(paths: Sequence[str]) -> int:
    """Print the page for these files of kept results."""
    if not paths or paths[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if paths else 2
    print(page([record for path in paths for record in read(Path(path))]))
    return 0


def read(path: Path) -> list[Record]:
    """Kept results, in the order in which they were measured."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # the run was stopped while it wrote this line
    return found


def page(records: Sequence[Record]) -> str:
    """The documentation page: introduction, then a section per precision and device, newest results."""
    sections: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records:
        sections.setdefault((record["dtype"], record["device"]), {})[record["model"]] = record
    parts = [INTRODUCTION]
    for (dtype, device), latest in sorted(sections.items(), key=lambda item: item[0]):
        rules = list(dict.fromkeys(rule for r in latest.values() for rule in r.get("rules", {})))
        everything = [
            latest.get(name) or {"model": name, "not run": HUGE.get(name, "not measured in this run")}
            for name in constructors()
        ]
        parts += [f"## {dtype}, {device}", report(everything, rules)[0]]
        states = {r["code"] for r in latest.values()}
        if len(states) > 1:
            parts.append(
                f"Measured with {len(states)} states of the code; run coverage.py once more for one."
            )
    return "\n\n".join(parts)


def report(records: Sequence[Record], rules: Sequence[str]) -> tuple[str, list[str]]:
    """The tables as Markdown, and everything that is silently wrong."""
    run = [r for r in records if "rules" in r]
    wrong = [w for r in records for w in silently_wrong(r)]
    seconds = sum(r.get("seconds", 0.0) for r in records)
    parts = [
        f"{len(records)} constructors, measured in {seconds / 60:.0f} minutes.",
        f"**{_verdict(records, rules)}**",
    ]
    if wrong:
        parts.append("\n".join(f"- {w}" for w in wrong))
    grown = [
        f"{r['model']} {rule} ({row['growth']:.0e})"
        for r in run
        for rule, row in r["rules"].items()
        if row.get("growth", 0) > GROWTH
    ]
    if grown:
        parts.append(f"Growth above {GROWTH:g}, maps of cancellation: {', '.join(grown)}.")
    closing = [r for r in run if any("refused" not in row for row in r["rules"].values())]
    if closing:
        parts += [
            "### Does it close? Largest ledger error",
            _errors(closing, rules),
            "### Where relevance goes: share to bias · lost share · growth",
            _shares(closing, rules),
        ]
    refused = _refusals(records, rules)
    if refused:
        parts += ["### Refused, by name", markdown(["model", "rules", "refusal"], refused)]
    skipped = [[r["model"], r["not run"]] for r in records if "not run" in r]
    if skipped:
        parts += ["### Not run", markdown(["model", "why"], skipped)]
    return "\n\n".join(parts), wrong


def silently_wrong(record: Record) -> list[str]:
    """Everything about a model that is neither right nor refused, one sentence each."""
    if "rules" not in record:
        return []
    name, dtype = record["model"], record["dtype"]
    found = []
    limit = FORWARD[dtype] * max(record["output"], 1.0)
    if not record["forward difference"] <= limit:
        found.append(f"{name}: outputs differ from the model's by {record['forward difference']:.1e}")
    against = record.get("gradient x input")
    if against is not None and not against <= GRADIENT[dtype]:
        found.append(f"{name}: LRP-0 differs from gradient × input by {against:.1e}")
    for rule, row in record["rules"].items():
        if "refused" in row:
            continue
        if "failed" in row:
            found.append(f"{name}, {rule}: {row['failed']}")
        elif not row["finite"]:
            found.append(f"{name}, {rule}: relevance is not finite")
        elif not row["closes"]:
            found.append(f"{name}, {rule}: the ledger does not close, {row['error']:.1e} at {row['worst']}")
    return found


def _verdict(records: Sequence[Record], rules: Sequence[str]) -> str:
    closed = refused = partly = skipped = wrong = 0
    for record in records:
        if "not run" in record:
            skipped += 1
        elif silently_wrong(record):
            wrong += 1
        elif "refused" in record or all("refused" in r for r in record["rules"].values()):
            refused += 1
        elif any("refused" in r for r in record["rules"].values()):
            partly += 1
        else:
            closed += 1
    text = f"{closed} close under all {len(rules)} rule sets, {refused} are refused by name, "
    if partly:
        text += f"{partly} are refused under some rule sets and close under the others, "
    return text + f"{skipped} were not run, {wrong} are silently wrong."


def _errors(records: Sequence[Record], rules: Sequence[str]) -> str:
    lines = []
    for r in records:
        against = r.get("gradient x input")
        lines.append(
            [
                r["model"],
                "×".join(map(str, r["size"][1:])),
                r["operators"],
                f"{r['forward difference']:.0e}" if r["forward difference"] else "0",
                *[_error(r["rules"][rule]) for rule in rules],
                "–" if against is None else f"{against:.0e}",
                f"{r['seconds']:.0f}",
            ]
        )
    head = ["model", "input", "operators", "forward", *rules, "LRP-0 = g×x", "s"]
    return markdown(head, lines)


def _error(row: Record) -> str:
    if "refused" in row:
        return "refused"
    if "failed" in row:
        return "**FAILED**"
    return f"{row['error']:.0e}" if row["closes"] and row["finite"] else f"**{row['error']:.0e}**"


def _shares(records: Sequence[Record], rules: Sequence[str]) -> str:
    lines = [
        [r["model"], *[_share(r["rules"][rule]) for rule in rules]]
        for r in records
        if any("error" in row for row in r["rules"].values())
    ]
    return markdown(["model", *rules], lines)


def _share(row: Record) -> str:
    if "error" not in row:
        return "–"
    return f"{row['bias']:.2g} · {row['lost']:.2g} · {row['growth']:.2g}"


def _refusals(records: Sequence[Record], rules: Sequence[str]) -> list[list[str]]:
    lines = []
    for record in records:
        if "refused" in record:
            lines.append([record["model"], "all", record["refused"]])
            continue
        reasons: dict[str, list[str]] = {}
        for rule, row in record.get("rules", {}).items():
            if "refused" in row:
                reasons.setdefault(row["refused"], []).append(rule)
        for reason, which in reasons.items():
            lines.append([record["model"], "all" if len(which) == len(rules) else ", ".join(which), reason])
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
