"""Random networks over the whole table of operators, each held against what has to be true of it.

    python scripts/fuzz.py                    # 2,000 networks; some twenty minutes on one core
    python scripts/fuzz.py --graphs 10000
    python scripts/fuzz.py --seed 17          # the network of one number: its code, and what came of it

Results are kept network by network in a JSON lines file: an interrupted run goes on where it stopped, unless
relprop's code or the fuzzer's has changed. What is wrong is made as small as it gets and written as a script
that runs by itself. The exit code is 1 if anything is wrong. `tests/fuzz` holds the table and the properties.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from benchmarks.common import code_digest, progress
from tests.fuzz.generator import GROUPS, Recipe, Unfit, draw, write
from tests.fuzz.minimise import minimised
from tests.fuzz.operators import OPERATORS
from tests.fuzz.properties import METHODS, Invalid, check, refused_operator

import relprop

ROOT = Path(__file__).resolve().parents[1]
Record = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Judge as many networks as the command line asks for; 1 if anything is wrong."""
    args = _arguments(argv)
    torch.set_num_threads(args.threads)
    if args.seed is not None:
        return _one(args.seed, args.small)
    code = code_digest(ROOT / "src" / "relprop", ROOT / "tests" / "fuzz")
    kept = _read(args.out, code)
    records = []
    with progress(12) as bar, args.out.open("a", encoding="utf-8") as file:
        task = bar.add_task("", total=args.graphs)
        for seed in range(args.first, args.first + args.graphs):
            record = kept.get(seed)
            if record is None:
                record = _record(seed) | {"code": code}
                if record["wrong"] and not args.large:
                    record["script"] = _smallest(seed, record["wrong"], args.out.with_suffix(""))
                file.write(json.dumps(record) + "\n")
                file.flush()
            records.append(record)
            wrong = sum(bool(r["wrong"]) for r in records)
            bar.update(task, advance=1, description=f"{wrong} wrong" if wrong else "all right")
            if seed % 200 == 0:
                relprop.clear_cache()
    print(report(records))
    return 1 if any(r["wrong"] for r in records) else 0


def report(records: Sequence[Record]) -> str:
    """How many were right, refused (by which operator) and wrong, and the smallest scripts of those."""
    done = [r for r in records if not r["invalid"]]
    held = {name for r in done for name in r["operators"]}
    outcome = Counter(_outcome(r) for r in done)
    lines = [
        f"{len(done)} networks of {len(held)} operators and idioms (of {len(OPERATORS)} in the table)",
        *(f"{count:>7}  {what}" for what, count in outcome.most_common()),
        "",
        f"{'method':<24}{'explained':>10}{'refused':>9}",
    ]
    for method in ("gradient", *METHODS):
        answers = sum(method in r["explained"] for r in done)
        lines.append(f"{method:<24}{answers:>10}{sum(method in r['refusals'] for r in done):>9}")
    for method in ("gradient", "lrp-0"):
        by = Counter(refused_operator(r["refusals"][method]) for r in done if method in r["refusals"])
        lines += ["", f"refused under {method}, by operator or reason:"]
        lines += [", ".join(f"{name} {count}" for name, count in by.most_common())]
    for r in records:
        lines += [
            f"\nseed {r['seed']} ({r.get('script', '')}): {w['property']}: {w['text']}" for w in r["wrong"]
        ]
    return "\n".join(lines)


def _outcome(record: Record) -> str:
    if record["wrong"]:
        return "wrong"
    if "lrp-0" in record["explained"]:
        return "right, LRP and its ledgers included"
    return "right under gradients, LRP refused by name" if record["explained"] else "refused by name"


def _record(seed: int) -> Record:
    recipe = draw(seed)
    record: Record = {"seed": seed, "operators": recipe.operators, "invalid": "", "wrong": []}
    try:
        verdict = check(recipe)
    except (Invalid, Unfit) as error:
        return record | {"invalid": str(error), "explained": [], "refusals": {}}
    record["wrong"] = [{"property": f.property, "text": f.text} for f in verdict.findings]
    return record | {"explained": verdict.explained, "refusals": verdict.refusals}


def _smallest(seed: int, wrong: Iterable[Record], folder: Path) -> str:
    """Write the smallest network that fails in the first of these ways; the file's name."""
    first = next(iter(wrong))
    small = minimised(draw(seed), lambda recipe: _fails(recipe, first["property"]))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed{seed}.py"
    text = write(small).source
    named = first["text"].partition(":")[0]
    method = named if named in METHODS else first["property"] if first["property"] in METHODS else "gradient"
    calls = f"\nprint(model(x))\nprint(relprop.explain(model, x, [0, 1, 2], {method!r}))\n"
    note = "".join(f"# {line}\n" for line in f"{first['property']}: {first['text']}".splitlines())
    path.write_text(note + text.replace("import torch\n", "import relprop\nimport torch\n", 1) + calls)
    return str(path)


def _fails(recipe: Recipe, name: str) -> bool:
    try:
        return name in check(recipe, {name}).wrong
    except (Invalid, Unfit):
        return False


def _one(seed: int, small: bool) -> int:
    recipe = draw(seed)
    verdict = check(recipe)
    if small and verdict.findings:
        name = verdict.findings[0].property
        recipe = minimised(recipe, lambda r: _fails(r, name))
        verdict = check(recipe)
    print(write(recipe).source)
    for finding in verdict.findings:
        print(f"# WRONG {finding.property}: {finding.text}")
    for method, text in verdict.refusals.items():
        print(f"# {method} refused: {text}")
    print(f"# explained: {', '.join(verdict.explained) or 'nothing'}")
    return 1 if verdict.findings else 0


def _read(path: Path, code: str) -> dict[int, Record]:
    """Records of earlier runs with this code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # the line that an interruption cut off
            continue
        if record.get("code") == code:
            found[record["seed"]] = record
    return found


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--graphs", type=int, default=2000, help="how many networks (default: 2000)")
    parser.add_argument(
        "--first", type=int, default=0, help=f"first seed; {len(GROUPS)} go through the table"
    )
    parser.add_argument("--seed", type=int, help="show the network of one seed")
    parser.add_argument("--small", action="store_true", help="with --seed: as small as it fails")
    parser.add_argument("--large", action="store_true", help="leave what is wrong as large as it is")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--out", type=Path, default=Path("out/fuzz.jsonl"), help="default: out/fuzz.jsonl")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
