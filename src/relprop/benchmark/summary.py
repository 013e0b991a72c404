"""Summary: a finished benchmark in words, and as one document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relprop.benchmark.formats import to_json, to_text
from relprop.benchmark.maps import beside_results
from relprop.benchmark.run import Finished
from relprop.benchmark.store import RESULTS
from relprop.benchmark.table import Table

__all__ = ["document", "lines", "problem_lines"]

_MOST = 20  # problems that are printed


def lines(done: Finished, table: Table, folder: Path, files: Sequence[Path]) -> list[str]:
    """The table, how long it took, what couldn't be done, and what was written."""
    written = [f"  {path.name}" for path in files]
    names = (RESULTS, beside_results(Path(RESULTS)).name)
    kept = [f"  {name}" for name in names if (folder / name).exists()]
    return [
        to_text(table).rstrip(), "", _rate(done), *problem_lines(done), "", f"Written to {folder}:", *written,
        *kept,
    ]  # fmt: skip


def document(done: Finished, table: Table, files: Sequence[Path]) -> dict[str, Any]:
    """The same as plain values."""
    return {
        **json.loads(to_json(table)),
        "recipe": done.recipe.plain(),
        "pictures": done.pictures,
        "computed": done.computed,
        "explained": done.explained,
        "seconds": done.seconds,
        "problems": [{"image": p.image, "where": p.where, "text": p.text} for p in done.problems],
        "files": [str(path) for path in files],
    }


def _rate(done: Finished) -> str:
    there = done.pictures - done.computed
    if not done.computed:
        return f"All {done.pictures} pictures were there already; nothing was computed."
    before = f" ({there} were there already)" if there else ""
    each = done.seconds / done.computed
    by_kept = done.computed - done.explained
    how = "all methods and metrics" if not by_kept else "what was missing"
    told = f"{done.computed} pictures{before} in {done.seconds:.1f} s, {each:.2f} s each, {how}."
    return f"{told} {by_kept} of them needed no explaining." if by_kept else told


def problem_lines(done: Finished) -> list[str]:
    """What couldn't be done, as far as there is room."""
    if not done.problems:
        return []
    found = ["", f"Problems ({len(done.problems)}), the rest of the run is unharmed:"]
    found += [f"  {p.image} ({p.where}): {p.text}" for p in done.problems[:_MOST]]
    if len(done.problems) > _MOST:
        found.append(f"  … and {len(done.problems) - _MOST} more; --json lists all.")
    return found
