"""The tables of coverage.py: what closes, what is refused and on which operator, and the verdict.

python benchmarks/coverage_report.py out/coverage-float32-cpu > docs/coverage.md    # a page from kept results
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.architectures import entries
from benchmarks.common import markdown

__all__ = ["page", "read", "report", "silently_wrong"]

# Rounding, generously: a wrong rule is off by far more. The ledger has its own, stricter limits.
FORWARD = {"float32": 1e-5, "float64": 1e-13}
GRADIENT = {"float32": 1e-3, "float64": 1e-9}
GROWTH = 1e4  # a warning: such a map is made of cancellation, whether its ledger closes or not

Record = dict[str, Any]

INTRODUCTION = """\
# Coverage

Public architectures of many libraries, explained by several methods. The page is written by
`benchmarks/coverage.py` and `benchmarks/coverage_report.py`; only the figures of before, at commit f3637d8, were
taken by another script.

**How it was measured.** The smallest member of each architecture, some with fewer repetitions of the same block,
at the smallest input that it takes. Random weights (seeded); biases N(0, 0.02), γ of norms U(0.3, 1.2), β
N(0, 0.3), layer scales U(0.3, 1.2), what else is constant N(0, 0.02) or U(0.3, 1.2); batch norm statistics from
noise. The input is noise, clamped to ±3. The explained class is the top class, and relevance starts as its score.
Models come as they are: relprop finds their logits. Each runs in a process of its own with limits on time and
memory. Random weights say that the accounts balance, not what a trained network's maps look like.

**Words.** *closes*: the ledger accounts for all relevance, up to 1e-6 of the sum of |R| at any operator in
float32 and 1e-13 in float64. *refused*: relprop names what it can't explain. *not built*: the library isn't there
or didn't make the model. *silently wrong*: anything else, such as another library's traceback, an open ledger, an
output or a gradient unlike torch's, or LRP-0 that isn't gradient × input on a piecewise linear network.
"""

BEFORE: dict[str, tuple[int, int]] = {
    "timm": (142, 60),
    "transformers": (38, 7),
    "torchvision segmentation": (9, 6),
    "torchvision detection": (12, 5),
    "segmentation-models-pytorch": (12, 10),
    "monai": (14, 11),
    "pytorchvideo": (9, 5),
    "onnx2torch": (14, 9),
}
"""Models and those that closed under LRP-ε and lrp-composite at commit f3637d8, before attention had rules; of
transformers by hand-written wrappers only."""

MODULES_BEFORE = (98, 32)
"""timm's modules, and those that LRP explained altogether at f3637d8."""

AIMED = ("lrp-epsilon", "lrp-composite")


def main(paths: Sequence[str]) -> int:
    """Print the page for these folders or files of kept results."""
    if not paths or paths[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if paths else 2
    records = [record for path in paths for record in read(Path(path))]
    print(page(records))
    left = sorted({entry.key for entry in entries()} - {record["model"] for record in records})
    if left:
        print(f"\nListed but not measured in this run: {', '.join(left)}.")
    return 0


def read(path: Path) -> list[Record]:
    """Kept results of a folder or a file."""
    found = []
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        try:
            found.append(json.loads(file.read_text(encoding="utf-8")))
        except json.JSONDecodeError:
            continue  # the run was stopped while it wrote
    return found


def page(records: Sequence[Record]) -> str:
    """The documentation page: introduction, then a section per precision and device.

    Args:
        records: as measured; where a model is there twice, the later counts.
    """
    sections: dict[tuple[str, str], list[Record]] = {}
    latest = {
        (r["model"], r["dtype"], r["device"]): r for r in records
    }  # of a model in several folders, the last
    for record in latest.values():
        sections.setdefault((record["dtype"], record["device"]), []).append(record)
    parts = [INTRODUCTION]
    for (dtype, device), rows in sorted(sections.items(), key=lambda item: item[0]):
        methods = list(dict.fromkeys(m for r in rows for m in r.get("methods", {})))
        parts += [f"## {dtype}, {device}", report(rows, methods, before=True)[0]]
        states = {r["code"] for r in rows}
        if len(states) > 1:
            parts.append(f"Measured with {len(states)} states of the code.")
    return "\n\n".join(parts)


def report(
    records: Sequence[Record], methods: Sequence[str], *, before: bool = False
) -> tuple[str, list[str]]:
    """The tables as Markdown, and everything that is silently wrong.

    Args:
        records: as measured.
        methods: which, in the order of the columns.
        before: say what closed at f3637d8 too.
    """
    wrong = [w for r in records for w in silently_wrong(r)]
    parts = [f"**{_verdict(records, methods)}**"]
    if wrong:
        parts.append("\n".join(f"- {w}" for w in wrong))
    parts += ["### By family", _families(records, methods, before=before)]
    modules = _modules(records)
    if modules:
        was = f" At f3637d8 it was {MODULES_BEFORE[1]} of {MODULES_BEFORE[0]}." if before else ""
        parts.append(modules + was)
    grown = [
        f"{r['model']} {method} ({row['growth']:.0e})"
        for r in records
        for method, row in r.get("methods", {}).items()
        if row.get("growth", 0) > GROWTH
    ]
    if grown:
        parts.append(
            f"Growth above {GROWTH:g} (the largest sum of |R| at any operator over the start's): maps of "
            f"cancellation, though their accounts balance: {', '.join(grown)}."
        )
    refused = _refusals(records, methods)
    if refused:
        head = ["what", "models", "where, and how it is said"]
        parts += ["### Refused, by what is refused", markdown(head, refused)]
    for word, title in (("not built", "Not built"), ("died", "Out of time or memory")):
        lines = [[r["model"], r[word]] for r in records if word in r]
        if lines:
            parts += [f"### {title}", markdown(["model", "why"], lines)]
    run = [r for r in records if "methods" in r]
    if run:
        parts += ["### Every model: largest ledger error", _errors(run, methods)]
    return "\n\n".join(parts), wrong


def silently_wrong(record: Record) -> list[str]:
    """Everything about a model that is neither right nor refused, one sentence each."""
    name = record["model"]
    if "failed" in record:
        return [f"{name}: {record['failed']}"]
    if "methods" not in record:
        return []
    dtype = record["dtype"]
    found = []
    limit = FORWARD[dtype] * max(record["output"], 1.0)
    if not record["forward difference"] <= limit:
        found.append(f"{name}: outputs differ from the model's by {record['forward difference']:.1e}")
    if not _gradient_error(record) <= GRADIENT[dtype]:
        found.append(f"{name}: the gradient differs from torch's by {_gradient_error(record):.1e}")
    against = record.get("gradient x input")
    if against is not None and not against <= GRADIENT[dtype]:
        found.append(f"{name}: LRP-0 differs from gradient × input by {against:.1e}")
    for method, row in record["methods"].items():
        if "refused" in row:
            continue
        if "failed" in row:
            found.append(f"{name}, {method}: {row['failed']}")
        elif not row["finite"]:
            found.append(f"{name}, {method}: relevance is not finite")
        elif not row["closes"]:
            found.append(f"{name}, {method}: the ledger does not close, {row['error']:.1e} at {row['worst']}")
    return found


def _unsure(record: Record) -> bool:
    """Whether autograd's gradient by a single sample was found wrong."""
    return "gradient of two" in record and record["gradient of two"] < record["gradient difference"]


def _gradient_error(record: Record) -> float:
    """Of the gradient: beside autograd's, by the sample alone or by one of two where those disagree."""
    found: float = record["gradient of two"] if _unsure(record) else record["gradient difference"]
    return found


def _closes(record: Record, methods: Iterable[str]) -> bool:
    rows = record.get("methods", {})
    return not silently_wrong(record) and all(
        m in rows and bool(rows[m].get("closes")) for m in methods if m in rows or m in AIMED
    )


def _is_refused(record: Record) -> bool:
    return "refused" in record or any("refused" in row for row in record.get("methods", {}).values())


def _measured(records: Iterable[Record]) -> list[Record]:
    return [r for r in records if "not built" not in r and "died" not in r]


def _verdict(records: Sequence[Record], methods: Sequence[str]) -> str:
    run = _measured(records)
    wrong = [r for r in run if silently_wrong(r)]
    closed = [r for r in run if r not in wrong and not _is_refused(r)]
    refused = [
        r for r in run
        if r not in wrong and ("refused" in r or all("refused" in row for row in r["methods"].values()))
    ]  # fmt: skip
    partly = len(run) - len(wrong) - len(closed) - len(refused)
    text = f"{len(closed)} close under all {len(methods)} methods, {len(refused)} are refused by name, "
    if partly:
        text += f"{partly} are refused under some methods and close under the others, "
    return text + f"{len(records) - len(run)} were not measured, {len(wrong)} are silently wrong."


def _families(records: Sequence[Record], methods: Sequence[str], *, before: bool) -> str:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record["family"], []).append(record)
    lines = []
    for family, all_rows in [*found.items(), ("all", list(records))]:
        rows = _measured(all_rows)
        line: list[object] = [family, len(rows)]
        line += [sum(bool(r.get("methods", {}).get(m, {}).get("closes")) for r in rows) for m in methods]
        line += [
            sum(_is_refused(r) for r in rows),
            sum(bool(silently_wrong(r)) for r in rows),
            len(all_rows) - len(rows),
        ]
        if before:
            past = BEFORE.get(family)
            line.append("–" if past is None else f"{past[1]} of {past[0]}")
        lines.append(line)
    head = ["family", "models", *methods, "refused by a method", "silently wrong", "not measured"]
    return markdown([*head, *(["closed under ε and composite before"] if before else [])], lines)


def _modules(records: Sequence[Record]) -> str:
    groups: dict[str, list[bool]] = {}
    for record in _measured(r for r in records if r["family"] == "timm"):
        groups.setdefault(record["group"], []).append(_closes(record, AIMED))
    if not groups:
        return ""
    left = sorted(name for name, closed in groups.items() if not all(closed))
    text = (
        f"Of timm's modules, {len(groups) - len(left)} of {len(groups)} close under LRP-ε and lrp-composite"
    )
    return text + (f"; not {', '.join(left)}." if left else ".")


def _errors(records: Sequence[Record], methods: Sequence[str]) -> str:
    lines = []
    for r in records:
        against = r.get("gradient x input")
        lines.append(
            [
                r["model"],
                r["input"],
                r["operators"],
                _small(r["forward difference"] / max(r["output"], 1.0)),
                _small(_gradient_error(r)) + (" *" if _unsure(r) else ""),
                "–" if against is None else _small(against),
                *[_error(r["methods"].get(method)) for method in methods],
            ]
        )
    head = ["model", "input", "operators", "forward", "gradient", "LRP-0 = g×x", *methods]
    text = markdown(head, lines)
    if any(_unsure(r) for r in records):
        text += (
            "\n\n\\* Beside autograd's for two samples, in double precision: for one alone, batch norm's "
            "backward pass in torch 2.13 on the CPU misreads gradients with unusual strides."
        )
    return text


def _small(number: float) -> str:
    return f"{number:.0e}" if number else "0"


def _error(row: Record | None) -> str:
    if row is None:
        return "–"
    if "refused" in row:
        return "refused"
    if "failed" in row:
        return "**FAILED**"
    return f"{row['error']:.0e}" if row["closes"] and row["finite"] else f"**{row['error']:.0e}**"


def _refusals(records: Sequence[Record], methods: Sequence[str]) -> list[list[object]]:
    """One line an operator or reason, the most frequent first."""
    found: dict[str, dict[str, tuple[str, list[str]]]] = {}
    for record in records:
        rows = record.get("methods", {})
        said = [(record["refused"], list(methods))] if "refused" in record else []
        said += [(row["refused"], [method]) for method, row in rows.items() if "refused" in row]
        for text, which in said:
            models = found.setdefault(_subject(text), {})
            models.setdefault(record["model"], (text, []))[1].extend(which)
    lines: list[list[object]] = []
    for subject, models in sorted(found.items(), key=lambda item: -len(item[1])):
        text = next(iter(models.values()))[0]
        names = [
            name if len(which) == len(methods) else f"{name} ({', '.join(which)})"
            for name, (_, which) in models.items()
        ]
        lines.append([subject, len(models), f"{', '.join(names)}: {text}"])
    return lines


def _subject(text: str) -> str:
    named = re.search(r"operator '([^']+)'", text)
    return named.group(1) if named else " ".join(text.split()[:6])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
