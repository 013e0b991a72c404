"""Separations on disk: a folder with the films' numbers and a manifest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.explanation.saved import SavedLedger, jsonable, version
from relprop.storage import new_folder

if TYPE_CHECKING:
    from relprop.video.separation import MotionSeparation

__all__ = ["load", "save"]

FORMAT = "relprop-separation"
VERSION = 1
_MANIFEST, _NUMBERS = "manifest.json", "films.safetensors"
_FILMS = ("original", "spatial", "temporal")


def save(s: MotionSeparation, path: str | Path, overwrite: bool, facts: dict[str, Any]) -> Path:
    """Write the folder; see `relprop.video.separation.MotionSeparation.save`."""
    from safetensors.torch import save as to_bytes

    path = Path(path).expanduser().absolute()
    tensors = {name: getattr(s, name) for name in (*_FILMS, "outputs", "targets")}
    tensors |= {f"relevance.{name}": value for name, value in s.relevance.items()}
    if s.frozen_outputs is not None:
        tensors["frozen_outputs"] = s.frozen_outputs
    plain = {name: t.detach().to("cpu").contiguous().clone() for name, t in tensors.items()}
    manifest = {
        "format": FORMAT,
        "format_version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"relprop": version(), "torch": torch.__version__},
        "method": s.method,
        "mode": s.mode,
        "settings": jsonable(s.settings),
        "shapes": {name: list(t.shape) for name, t in plain.items()},
        "ledgers": {name: jsonable(ledger.summary()) for name, ledger in s.ledgers.items()},
        "facts": jsonable(facts),
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    with new_folder(path, overwrite, _why_not_ours) as folder:
        (folder / _NUMBERS).write_bytes(to_bytes(plain, {"format": FORMAT, "version": str(VERSION)}))
        (folder / _MANIFEST).write_text(text + "\n", encoding="utf-8")
    return path


def _why_not_ours(folder: Path) -> str | None:
    others = sorted({p.name for p in folder.iterdir()} - {_MANIFEST, _NUMBERS})
    if others:
        return f"{str(folder)!r} also holds {others[0]!r}"
    try:
        _manifest(folder)
    except InputError:
        return f"{str(folder)!r} holds other things" if any(folder.iterdir()) else None
    return None


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"Expected a separation saved by relprop but {str(folder)!r} has no readable {_MANIFEST} ({error})."
        ) from error
    if not isinstance(found, dict) or (found.get("format"), found.get("format_version")) != (FORMAT, VERSION):
        raise InputError(
            f"Expected a manifest of format {FORMAT!r}, version {VERSION}, but {str(folder)!r} holds another one."
        )
    return found


def load(path: str | Path) -> MotionSeparation:
    """Read the folder; see `relprop.video.separation.MotionSeparation.load`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from relprop.video.separation import MotionSeparation

    folder = Path(path).expanduser()
    manifest = _manifest(folder)
    try:
        tensors: dict[str, Tensor] = load_file(folder / _NUMBERS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"Expected {_NUMBERS} in {str(folder)!r} but it can't be read ({error}).") from error
    missing = sorted({*_FILMS, "outputs", "targets"} - set(tensors))
    if missing:
        raise InputError(f"Expected {missing[0]!r} in {_NUMBERS} of {str(folder)!r} but it is not there.")
    prefix = "relevance."
    return MotionSeparation(
        **{name: tensors[name] for name in _FILMS},
        relevance={n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)},
        outputs=tensors["outputs"],
        frozen_outputs=tensors.get("frozen_outputs"),
        targets=tensors["targets"],
        method=manifest["method"],
        mode=manifest["mode"],
        settings=manifest["settings"],
        ledgers={name: SavedLedger(values) for name, values in manifest["ledgers"].items()},
    )
