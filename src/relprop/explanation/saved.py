"""Explanations on disk: a folder with a picture, the numbers and a manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.storage import new_folder

if TYPE_CHECKING:
    from relprop.explanation import Explanation

__all__ = ["SavedLedger", "SavedPlan", "SavedRow", "jsonable", "load", "save", "version"]

FORMAT = "relprop-explanation"
VERSION = 1
_MANIFEST, _NUMBERS, _PICTURE = "manifest.json", "relevance.safetensors", "explanation.png"


@dataclass(frozen=True)
class SavedRow:
    """One row of a plan: which rule crossed which operator."""

    node: str
    module: str
    operator: str
    rule: str


@dataclass(frozen=True)
class SavedPlan:
    """A plan read back from disk; prints as a table."""

    rows: tuple[SavedRow, ...]

    def __str__(self) -> str:
        head = SavedRow("node", "module", "operator", "rule")
        table = [dataclasses.astuple(row) for row in (head, *self.rows)]
        widths = [max(len(line[c]) for line in table) for c in range(4)]
        return "\n".join(
            "  ".join(f"{v:<{w}}" for v, w in zip(line, widths, strict=True)).rstrip() for line in table
        )


@dataclass(frozen=True)
class SavedLedger:
    """The summary of a ledger read back from disk; the rows per operator are not saved."""

    values: dict[str, float | bool]

    @property
    def closes(self) -> bool:
        """Whether every operator's balance was kept."""
        return bool(self.values["closes"])

    @property
    def max_error(self) -> float:
        """The largest relative imbalance of any operator."""
        return float(self.values["max_error"])

    @property
    def rows(self) -> tuple[()]:
        """Empty: only the summary was saved."""
        return ()

    def summary(self) -> dict[str, float | bool]:
        """The totals, as the ledger itself gave them."""
        return dict(self.values)


def save(
    e: Explanation,
    path: str | Path,
    labels: Sequence[str] | Mapping[int, str] | None,
    drawing: dict[str, Any],
    overwrite: bool,
) -> Path:
    """Write the folder; see :meth:`relprop.explanation.Explanation.save`."""
    from safetensors.torch import save as to_bytes

    from relprop.viz.file import png_bytes

    path = Path(path).expanduser().absolute()
    with new_folder(path, overwrite, _why_not_ours) as folder:
        files: dict[str, bytes] = {}
        drawing_or_none = drawing if e._drawable else None
        if drawing_or_none is not None:
            files[_PICTURE] = png_bytes(e.show(labels=labels, **drawing))
        tensors, kind = _tensors(e)
        files[_NUMBERS] = to_bytes(tensors, {"format": FORMAT, "version": str(VERSION)})
        for name, data in files.items():
            (folder / name).write_bytes(data)
        manifest = _manifest(e, labels, drawing_or_none, kind, files)
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / _MANIFEST).write_text(text + "\n", encoding="utf-8")
    return path


def _why_not_ours(folder: Path) -> str | None:
    """Why a folder must not be replaced: it holds what we did not write."""
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()}
    if not present:
        return None
    try:
        listed = set(_read_manifest(folder)["files"])
    except InputError:
        return f"{str(folder)!r} holds other things"
    others = sorted(present - listed - {_MANIFEST})
    return f"{str(folder)!r} also holds {others[0]!r}" if others else None


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu").contiguous().clone()


def _tensors(e: Explanation) -> tuple[dict[str, Tensor], str]:
    """Every tensor by its name in the file, and how the outputs were packed."""
    tensors = {"relevance": e.relevance, "input": e.input, "targets": e.targets}
    if e.relevance.dim() - e.targets.dim() + 1 == e.input.dim():
        tensors["heatmap"] = e.heatmap()
    kind = "none"
    if isinstance(e.outputs, Tensor):
        tensors["outputs"], kind = e.outputs, "tensor"
    elif isinstance(e.outputs, Mapping) and all(isinstance(v, Tensor) for v in e.outputs.values()):
        tensors |= {f"outputs.{key}": value for key, value in e.outputs.items()}
        kind = "mapping"
    elif isinstance(e.outputs, (tuple, list)) and all(isinstance(v, Tensor) for v in e.outputs):
        tensors |= {f"outputs.{i}": value for i, value in enumerate(e.outputs)}
        kind = "sequence"
    tensors |= {f"layers.{name}": value for name, value in e.layers.items()}
    tensors |= {f"extras.{name}": value for name, value in e.extras.items() if isinstance(value, Tensor)}
    return {name: _plain(value) for name, value in tensors.items()}, kind


def _manifest(
    e: Explanation,
    labels: Sequence[str] | Mapping[int, str] | None,
    drawing: dict[str, Any] | None,
    outputs: str,
    files: dict[str, bytes],
) -> dict[str, Any]:
    plan = None
    if e.plan is not None:
        plan = [
            {key: str(getattr(row, key)) for key in ("node", "module", "operator", "rule")}
            for row in e.plan.rows
        ]
    picture = None
    if drawing is not None:
        picture = jsonable(drawing) | {"limits": _limits(e, drawing)}
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"relprop": version(), "torch": torch.__version__, "python": platform.python_version()},
        "method": e.method,
        "settings": jsonable(e.settings),
        "at": e.at,
        "signed": e.signed,
        "shapes": {"input": list(e.input.shape), "relevance": list(e.relevance.shape)},
        "dtype": str(e.relevance.dtype).removeprefix("torch."),
        "targets": _targets(e, labels),
        "top_outputs": _top(e, labels),
        "outputs": outputs,
        "extras": jsonable({k: v for k, v in e.extras.items() if not isinstance(v, Tensor)}),
        "plan": plan,
        "ledger": None if e.ledger is None else jsonable(e.ledger.summary()),
        "picture": picture,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in files.items()
        },
    }


def version() -> str:
    """The installed version of this package, or "unknown"."""
    try:
        return metadata.version("relprop")
    except metadata.PackageNotFoundError:
        return "unknown"


def _limits(e: Explanation, drawing: dict[str, Any]) -> list[dict[str, Any]]:
    """The colour scale of each drawn map, as in the picture."""
    from relprop.viz.scale import limits

    maps = e.heatmap().detach().to("cpu").double().reshape(-1, *e.input.shape[:1], *e.input.shape[2:]).numpy()
    most = drawing["most"]
    where = [(k, n) for n in range(min(maps.shape[1], most)) for k in range(min(maps.shape[0], most))]
    found = limits([maps[k, n] for k, n in where], drawing["scale"], drawing["clip"])
    return [
        {"target": k, "sample": n, "limit": limit.value, "max": limit.peak}
        for (k, n), limit in zip(where, found, strict=True)
    ]


def _name(labels: Sequence[str] | Mapping[int, str] | None, index: int) -> str | None:
    if isinstance(labels, Mapping):
        return None if index not in labels else str(labels[index])
    return None if labels is None or not 0 <= index < len(labels) else str(labels[index])


def _targets(e: Explanation, labels: Sequence[str] | Mapping[int, str] | None) -> list[dict[str, Any]]:
    rows = e.targets.reshape(-1, e.targets.shape[-1])
    scores = e.outputs.detach() if _is_scores(e.outputs) else None
    found = []
    for k in range(rows.shape[0]):
        for n in range(rows.shape[1]):
            index = int(rows[k, n])
            value = None
            if scores is not None and 0 <= index < scores.shape[1]:
                value = jsonable(float(scores[n, index]))
            found.append(
                {"target": k, "sample": n, "index": index, "name": _name(labels, index), "output": value}
            )
    return found


def _top(e: Explanation, labels: Sequence[str] | Mapping[int, str] | None, most: int = 5) -> list[Any] | None:
    if not _is_scores(e.outputs):
        return None
    values, indices = e.outputs.detach().to("cpu").float().topk(min(most, e.outputs.shape[1]), dim=1)
    return [
        [
            {"index": int(i), "name": _name(labels, int(i)), "output": jsonable(float(v))}
            for v, i in zip(row_v, row_i, strict=True)
        ]
        for row_v, row_i in zip(values, indices, strict=True)
    ]


def _is_scores(outputs: object) -> bool:
    return isinstance(outputs, Tensor) and outputs.dim() == 2 and outputs.is_floating_point()


def jsonable(value: Any) -> Any:
    """A value as JSON can hold it: tensors of up to 64 elements as lists, NaN and infinities as words."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Tensor):
        return jsonable(value.tolist()) if value.numel() <= 64 else f"tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return jsonable(value.item())
    return str(value)


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"Expected a folder saved by relprop but {str(folder)!r} has no readable {_MANIFEST} ({error})."
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"Expected a manifest of format {FORMAT!r} but {str(folder)!r} holds another one.")
    if manifest.get("format_version") != VERSION:
        raise InputError(
            f"Expected format version {VERSION} but {str(folder)!r} has {manifest.get('format_version')!r}. "
            "Read it with the relprop version in its manifest."
        )
    return manifest


def load(path: str | Path) -> Explanation:
    """Read the folder; see :meth:`relprop.explanation.Explanation.load`."""
    from safetensors.torch import load as from_bytes

    from relprop.explanation import Explanation

    folder = Path(path).expanduser()
    manifest = _read_manifest(folder)
    data = b""
    for name, facts in manifest["files"].items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise InputError(f"Expected {name} in {str(folder)!r} but it can't be read ({error}).") from error
        if hashlib.sha256(content).hexdigest() != facts["sha256"]:
            raise InputError(f"Expected {name} in {str(folder)!r} as it was saved but its checksum differs.")
        if name == _NUMBERS:
            data = content
    tensors = from_bytes(data)
    plan = manifest["plan"]
    ledger = manifest["ledger"]
    return Explanation(
        relevance=tensors["relevance"],
        input=tensors["input"],
        outputs=_outputs(tensors, manifest["outputs"]),
        targets=tensors["targets"],
        method=manifest["method"],
        settings=manifest["settings"],
        plan=None if plan is None else SavedPlan(tuple(SavedRow(**row) for row in plan)),
        ledger=None if ledger is None else SavedLedger(ledger),
        layers=_under("layers.", tensors),
        at=manifest["at"],
        extras=manifest["extras"] | _under("extras.", tensors),
        signed=manifest["signed"],
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _outputs(tensors: Mapping[str, Tensor], kind: str) -> Any:
    if kind == "tensor":
        return tensors["outputs"]
    parts = _under("outputs.", tensors)
    if kind == "mapping":
        return parts
    if kind == "sequence":
        return tuple(parts[str(i)] for i in range(len(parts)))
    return None
