"""Summary: a finished benchmark in words, and as one document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relprop.benchmark.formats import to_json, to_text
from relprop.benchmark.run import Finished
from relprop.benchmark.table import Table

__all__ = ["document", "lines"]

_MOST = 20  # problems that are printed


def lines(done: Finished, table: Table, folder: Path, files: Sequence[Path]) -> list[str]:
    """The table, how long it took, what couldn't be done, and what was written."""
    written = [f"  {path.name}" for path in files]
    return [
        to_text(table).rstrip(), "", _rate(done), *_problems(done), "", f"Written to {folder}:", *written,
        "  results.sqlite",
    ]  # fmt: skip


def document(done: Finished, table: Table, files: Sequence[Path]) -> dict[str, Any]:
    """The same as plain values."""
    return {
        **json.loads(to_json(table)),
        "recipe": done.recipe.plain(),
        "pictures": done.pictures,
        "computed": done.computed,
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
    return f"{done.computed} pictures{before} in {done.seconds:.1f} s, {each:.2f} s each, all methods and metrics."


def _problems(done: Finished) -> list[str]:
    if not done.problems:
        return []
    found = ["", f"Problems ({len(done.problems)}), the rest of the run is unharmed:"]
    found += [f"  {p.image} ({p.where}): {p.text}" for p in done.problems[:_MOST]]
    if len(done.problems) > _MOST:
        found.append(f"  … and {len(done.problems) - _MOST} more; --json lists all.")
    return found
