"""Results: explanations of many pictures on the disk, kept as they come: a run goes on where it stopped."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.explanation.folder import jsonable, version
from relprop.explanation.warned import verdict
from relprop.files import read_text, shown_path
from relprop.graph import capture_lock
from relprop.kept import Kept
from relprop.many.batches import Answered, Batches
from relprop.many.pictures import OWN, Failure, Given, Preprocess, digest
from relprop.models.state import weights_digest
from relprop.paths import named_path
from relprop.registry import slug
from relprop.storage import check_room, write_file
from relprop.viz.file import save_figure
from relprop.viz.labels import class_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLUMNS",
    "Results",
    "Saved",
    "as_text",
    "model_digest",
    "preprocess_digest",
    "same_settings",
    "settings_of",
]

_SETTINGS, _KEPT, _SUMMARY, _SHEET = "settings.json", "pictures.jsonl", "summary.csv", "sheet.png"

COLUMNS = (
    "index", "picture", "method", "target", "name", "output", "adds_up", "largest_error", "start", "arrived",
    "bias", "stabiliser", "lost", "warnings", "folder", "problem",
)  # fmt: skip
"""Of the summary: a row a picture, method and target; sums of relevance are in the unit of the output."""


@dataclass(frozen=True)
class Saved:
    """What was done for a folder of explanations.

    Attributes:
        folder: where they are.
        rows: of the summary, by column: a row a picture, method and target, in the order of the pictures.
        failures: the pictures that could not be explained.
        computed: how many pictures this call explained; `kept` were there already.
        kept: see `computed`.
        seconds: that this call took.
    """

    folder: Path
    rows: tuple[Mapping[str, Any], ...]
    failures: tuple[Failure, ...]
    computed: int
    kept: int
    seconds: float = 0.0

    def __repr__(self) -> str:
        counts = f"computed {self.computed}, kept {self.kept}, failed {len(self.failures)}"
        return f"Saved({str(self.folder)!r}, {counts})"


@dataclass(eq=False)
class Results:
    """A folder of explanations: a folder a picture, in it a folder a method, and a summary of all.

    Every picture's files are written whole before the picture counts as done.

    Attributes:
        out: the folder.
        settings: what the results depend on besides the pictures, by name, as JSON holds it.
        methods: their names.
        drawing: how explanations are drawn: arguments of `Explanation.save`.
        sheet: draws a picture's contact sheet; None: none is drawn.
        labels: class names by index.

    Raises:
        InputError: the folder holds results of other settings.
        OutputError: it can't be written to.
    """

    out: Path
    settings: Mapping[str, Any]
    methods: Sequence[str]
    drawing: Mapping[str, Any] = field(default_factory=dict)
    sheet: Callable[[Answered], Figure] | None = None
    labels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        self.out = named_path(self.out)
        check_room(self.out)
        same_settings(self.out, self.settings)
        self._kept = Kept(self.out / _KEPT)
        self._names: dict[str, int] = {}
        self._rows: dict[int, list[dict[str, Any]]] = {}
        self._folders: dict[int, tuple[Path, Any]] = {}
        self.failures: list[Failure] = []
        self.kept = self.computed = 0
        self.open = False

    def missing(self, listed: Iterable[Given]) -> Iterator[Given]:
        """The pictures that are still to be explained."""
        for one in listed:
            folder = self._folder(one)
            try:
                key = [
                    folder.as_posix(),
                    digest(one.what),
                    None if one.target is OWN else jsonable(one.target),
                ]
            except Exception:  # reading it anew says what is wrong with it
                key = None
            self._folders[one.index] = folder, key
            if key is not None and key in self._kept and self._whole(folder):
                del self._folders[one.index]
                rows = self._kept[key]["rows"]
                self._rows[one.index] = [{**row, "index": one.index} for row in rows]
                self.open = self.open or any(row["adds_up"] == "NO" for row in rows)
                self.kept += 1
            else:
                yield one

    def _folder(self, one: Given) -> Path:
        stem = Path(one.name).stem or "picture"
        count = self._names[stem] = self._names.get(stem, 0) + 1
        return Path(stem if count == 1 else f"{stem}-{count}")

    def _whole(self, folder: Path) -> bool:
        """Whether a picture's files are there: each is written in one step."""
        files = [folder / slug(name) / "manifest.json" for name in self.methods]
        files += [] if self.sheet is None else [folder / _SHEET]
        return all((self.out / file).is_file() for file in files)

    def add(self, found: Answered | Failure) -> None:
        """Write a picture's files, or note why there are none.

        Raises:
            OutputError: they can't be written; what was written before stays.
        """
        if isinstance(found, Failure):
            self.failures.append(found)
            row = dict.fromkeys(COLUMNS, None)
            row |= {"index": found.index, "picture": found.name, "problem": found.text}
            self._rows[found.index] = [row]
            return
        folder, key = self._folders.pop(found.given.index)
        rows = []
        for name, explanation in found.explanations.items():
            explanation.save(self.out / folder / slug(name), overwrite=True, **self.drawing)
            rows += _rows(explanation, found.given, name, (folder / slug(name)).as_posix(), self.labels)
        if self.sheet is not None:
            save_figure(self.sheet(found), self.out / folder / _SHEET)
        if key is not None:
            self._kept.add(key, {"rows": [jsonable(row) for row in rows]})
        self._rows[found.given.index] = rows
        self.open = self.open or any(row["adds_up"] == "NO" for row in rows)
        self.computed += 1

    def finish(self) -> Saved:
        """Write the summary of what is there so far."""
        rows = [row for _, several in sorted(self._rows.items()) for row in several]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(row[name]) for name in COLUMNS} for row in rows)
        write_file(self.out / _SUMMARY, text.getvalue().encode())
        return Saved(self.out, tuple(rows), tuple(self.failures), self.computed, self.kept)


def same_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Note in a folder what its results depend on, or hold that against what an earlier run noted.

    Raises:
        InputError: the folder holds results of other settings.
    """
    file = out / _SETTINGS
    now = json.loads(json.dumps(jsonable({name: as_text(value) for name, value in settings.items()})))
    if not file.exists():
        write_file(file, (json.dumps(now, indent=1, ensure_ascii=False) + "\n").encode())
        return
    try:
        before = json.loads(read_text(file, "settings of an earlier run"))
        if not isinstance(before, dict):
            raise ValueError("no settings")
    except (ValueError, RecursionError):
        raise InputError(
            f"Expected settings of an earlier run in '{shown_path(file)}' but it holds something else. "
            "Take another folder, or move it away."
        ) from None
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            raise InputError(
                f"Expected results of the same {name} in '{shown_path(out)}' but they were made with "
                f"another ({_short(before.get(name))}, now {_short(now.get(name))}). Take another folder, "
                "or remove this one."
            )


def _rows(
    e: Explanation, of: Given, method: str, folder: str, labels: Sequence[str] | None
) -> list[dict[str, Any]]:
    """A row a target of an explanation of one picture."""
    found = []
    targets = e.targets.reshape(-1).tolist()
    books = None if e.ledger is None else e.ledger.balances
    for k, index in enumerate(targets):
        row: dict[str, Any] = dict.fromkeys(COLUMNS, None)
        scores = e.outputs if isinstance(e.outputs, torch.Tensor) and e.outputs.ndim == 2 else None
        own = not e.asked and scores is not None and 0 <= index < scores.shape[1]
        row |= {
            "index": of.index,
            "picture": of.source,
            "method": method,
            "target": index,
            "name": e.asked[k] if e.asked else class_name(index, labels),
            "output": float(scores[0, index]) if own and scores is not None else None,
            "adds_up": verdict(e.ledger, e.relevance, e.targets),
            "warnings": " ".join(e.warnings),
            "folder": folder,
        }
        if e.ledger is not None:
            row["largest_error"] = e.ledger.max_error
        if books is not None and len(books) == len(targets):
            b = books[k][0]
            row |= {
                "start": b.start,
                "arrived": b.end,
                "bias": b.bias,
                "stabiliser": b.stabiliser,
                "lost": b.lost,
            }
        found.append(row)
    return found


def settings_of(
    batches: Batches, preprocess: Preprocess | None, target: Any, **others: Any
) -> dict[str, Any]:
    """What explanations depend on besides the pictures, as far as it can be seen.

    Args:
        batches: the model and what is asked of it.
        preprocess: what makes pictures inputs: known by what it makes of one.
        target: of all pictures.
        others: more of it, by name.
    """
    methods = {
        name: {"name": asking.method.name, **asking.method.settings()}
        for name, asking in batches.askings.items()
    }
    asking = next(iter(batches.askings.values()))
    found = {
        "version": version(),
        "model": model_digest(batches.model),
        "method": methods,
        "target": target,
        "layers": list(asking.layers),
        "versus": asking.versus,
        "region": asking.region,
        "start": asking.start,
        "output": batches.output,
        "channel_axis": batches.channel_axis,
        "preprocess": preprocess_digest(preprocess),
        **others,
    }
    return {name: as_text(value) for name, value in found.items()}


def as_text(value: Any) -> Any:
    """As JSON holds it: functions by their names, since their addresses change."""
    if callable(value) and not isinstance(value, type):
        return getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, (list, tuple)):
        return [as_text(one) for one in value]
    if isinstance(value, Mapping):
        return {str(key): as_text(one) for key, one in value.items()}
    if isinstance(value, (torch.Tensor, np.ndarray)):
        values = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
        return f"{values.shape} {hashlib.sha256(values.tobytes()).hexdigest()[:16]}"
    return jsonable(value)


def model_digest(model: nn.Module) -> str:
    """Changes with the model's modules and weights."""
    with capture_lock:
        text = f"{model!r}{weights_digest(model)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def preprocess_digest(preprocess: Preprocess | None) -> str | None:
    """Changes with what a preparation makes of one picture; None without one."""
    if preprocess is None:
        return None
    rows, columns = np.mgrid[:61, :97]
    pixels = np.stack([rows * 4, columns * 2, (rows * columns) % 256], -1).astype(np.uint8)
    try:
        return digest(preprocess(Image.fromarray(pixels)))[:16]
    except Exception:
        return "unknown"


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
