"""The tables of coverage.py: what closes, what is refused and on which operator, and the verdict.

python benchmarks/coverage_report.py out/coverage-float32-cpu --docs docs    # the two pages, from kept results
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import relprop
from benchmarks.architectures import entries
from benchmarks.common import markdown

__all__ = ["models_page", "page", "read", "report", "silently_wrong"]

# Rounding, generously: a wrong rule is off by far more. The ledger has its own, stricter limits.
FORWARD = {"float32": 1e-5, "float64": 1e-13}
GRADIENT = {"float32": 1e-3, "float64": 1e-9}
#: Where a network is coarser than that: how much further from float64's output relprop's may be than PyTorch's.
COARSER = 4
GROWTH = 1e4  # a warning: such a map is made of cancellation, whether its ledger closes or not

LIBRARIES = (
    "torchvision", "timm", "transformers", "segmentation-models-pytorch", "monai", "pytorchvideo", "onnx2torch",
)  # fmt: skip

Record = dict[str, Any]

INTRODUCTION = """\
# Coverage

Will relprop explain your network? Ask it: `relprop inspect --model torchvision:resnet50`, or
`relprop.inspect(model, x)` for a module of your own, answers within seconds. This page says what came of it for
the public architectures of many libraries.

**How to read it.** A network *closes* when relprop accounts for all of the relevance: in every operator what
came in equals what went out plus what ended there, up to a millionth of the sum of |relevance| in float32 and
1e-13 in float64. It is *refused* when relprop says by name what it can't explain. It is *silently wrong* when
anything else happens: an account that doesn't close, an output or a gradient unlike PyTorch's, LRP-0 that isn't
gradient × input on a piecewise linear network, or another library's traceback. A network was *not measured*
when its library didn't build it, or its time or memory ran out.

**How it was measured.** `benchmarks/coverage.py` takes the smallest member of each architecture, at the
smallest input that it takes; some have fewer repetitions of the same block. Each runs in a process of its own,
as its library gives it: relprop finds the logits. Weights are random, and so are biases, the parameters and
statistics of norms, and layer scales, so that nothing cancels by luck. The explained class is the top class of
an input of noise. Random weights show that the accounts balance. They don't show what a trained network's maps
look like.

Numbers for every single network: [Coverage: every model](coverage-models.md).
"""

MODELS = """\
# Coverage: every model

What the columns mean, and how it was measured: [Coverage](coverage.md). Differences are relative. *forward*: of
the output, to the model's own. *gradient*: of the input's gradient, to PyTorch's. *LRP-0 = g×x*: of LRP-0, to
gradient × input, where the network is piecewise linear. A method's column: the largest error of its account at
any operator, as a share of the sum of |relevance| there.
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


def main(argv: Sequence[str] | None = None) -> int:
    """Print the pages for folders or files of kept results, or write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="folders of kept results, or files in them")
    parser.add_argument(
        "--docs", type=Path, metavar="FOLDER", help="write coverage.md and coverage-models.md here"
    )
    args = parser.parse_args(argv)
    records = [record for path in args.results for record in read(path)]
    pages = {"coverage.md": page(records), "coverage-models.md": models_page(records)}
    pages["coverage.md"] += f"\n\nMeasured up to {_day(args.results)} with {_versions()}."
    left = sorted({entry.key for entry in entries()} - {record["model"] for record in records})
    if left:
        pages["coverage.md"] += f"\n\nListed but not measured in this run: {', '.join(left)}."
    for name, text in pages.items():
        if args.docs:
            (args.docs / name).write_text(text + "\n", encoding="utf-8")
        else:
            print(text)
    return 0


def _day(paths: Iterable[Path]) -> date:
    """The day of the latest result."""
    files = [file for path in paths for file in (path.glob("*.json") if path.is_dir() else [path])]
    return date.fromtimestamp(max(file.stat().st_mtime for file in files))


def _versions() -> str:
    """The libraries that are installed here, which should be those that were measured."""
    found = [f"relprop {relprop.__version__}"]
    for name in ("torch", *LIBRARIES):
        try:
            found.append(f"{name} {version(name).partition('+')[0]}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


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
    """The documentation's page: an introduction, then a section per precision and device.

    Args:
        records: as measured; where a model is there twice, the later counts.
    """
    parts = [INTRODUCTION.rstrip()]
    for (dtype, device), rows in _sections(records):
        parts += [f"## {dtype}, {device}", report(rows, _methods(rows), before=True)[0]]
        states = {r["code"] for r in rows}
        if len(states) > 1:
            parts.append(f"Measured with {len(states)} states of the code.")
    return "\n\n".join(parts)


def models_page(records: Sequence[Record]) -> str:
    """The page of every model, a table per precision and device."""
    parts = [MODELS.rstrip()]
    for (dtype, device), rows in _sections(records):
        run = [r for r in rows if "methods" in r]
        parts += [f"## {dtype}, {device}", _errors(run, _methods(rows))]
    return "\n\n".join(parts)


def _sections(records: Sequence[Record]) -> list[tuple[tuple[str, str], list[Record]]]:
    """Records by precision and device; of a model in several folders, the last."""
    sections: dict[tuple[str, str], list[Record]] = {}
    for record in {(r["model"], r["dtype"], r["device"]): r for r in records}.values():
        sections.setdefault((record["dtype"], record["device"]), []).append(record)
    return sorted(sections.items(), key=lambda item: item[0])


def _methods(records: Iterable[Record]) -> list[str]:
    return list(dict.fromkeys(m for r in records for m in r.get("methods", {})))


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
    coarse = [
        f"{r['model']} (PyTorch {_small(r['own forward error'] / r['output'])}, "
        f"relprop {_small(r['forward error'] / r['output'])})"
        for r in records
        if "own forward error" in r and not silently_wrong(r)
    ]
    if coarse:
        parts.append(
            "With these weights some networks are too coarse in float32 to be held to a difference of "
            f"{FORWARD['float32']:g}. Their outputs are this far, relatively, from those in float64, and "
            f"relprop's may be {COARSER} times as far: {', '.join(coarse)}."
        )
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
    if not (record["forward difference"] <= limit or _as_exact(record)):
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


def _as_exact(record: Record) -> bool:
    """Whether relprop's output is about as near to float64's as PyTorch's own is."""
    own = record.get("own forward error")
    return own is not None and bool(record["forward error"] <= COARSER * own)


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
    sys.exit(main())
