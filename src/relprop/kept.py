"""Kept: results by key in a file of JSON lines, so that a long study goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from relprop.errors import InputError
from relprop.files import read_text
from relprop.storage import write_file

__all__ = ["Kept"]


class Kept:
    """Results by key; a line that was cut off is dropped.

    Args:
        path: of the file, made with the first result; None keeps them in memory alone.

    >>> kept = Kept(None)
    >>> kept.add(["net", "a.png"], {"score": 1.5})
    >>> ["net", "a.png"] in kept, kept[["net", "a.png"]]["score"]
    (True, 1.5)
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._held: dict[str, Any] = {}
        if path is not None and path.exists():
            text = read_text(path, "numbers of an earlier run")
            for number, line in enumerate(text.splitlines(keepends=True), start=1):
                if not line.endswith("\n"):
                    break
                try:
                    entry = json.loads(line)
                    self._held[json.dumps(entry["key"])] = entry
                except (ValueError, KeyError, TypeError, RecursionError):
                    raise InputError(
                        f"Expected numbers of an earlier run but line {number} of '{path}' holds something else. "
                        "Move the file away, or use another --out."
                    ) from None
            whole = "".join(json.dumps(entry) + "\n" for entry in self._held.values())
            if whole != text:
                write_file(path, whole.encode())

    def __contains__(self, key: Any) -> bool:
        return json.dumps(key) in self._held

    def __getitem__(self, key: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._held[json.dumps(key)]
        return found

    def add(self, key: Any, values: dict[str, Any]) -> None:
        """Keep it, on the disk too."""
        entry = {"key": key, **values}
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        self._held[json.dumps(key)] = entry
