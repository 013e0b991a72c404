"""Folder: how a result lies on the disk, a manifest with numbers and perhaps pictures beside it."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.files import read_bytes, read_text, shown_path
from relprop.paths import named_path, tells_where
from relprop.storage import new_folder

__all__ = ["Format", "as_saved", "below", "jsonable", "version"]

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Format:
    """A kind of folder.

    Attributes:
        name: what the manifest calls it, such as "relprop-explanation".
        numbers: name of the file that holds the tensors, as safetensors.
        version: what is written.
        reads: versions that are read.
    """

    name: str
    numbers: str
    version: int
    reads: tuple[int, ...]

    @tells_where
    def write(
        self,
        path: str | Path,
        tensors: Mapping[str, Tensor],
        facts: Mapping[str, Any],
        files: Mapping[str, Callable[[], bytes]] | None = None,
        *,
        overwrite: bool,
    ) -> Path:
        """Write a folder: all of it, or nothing.

        Args:
            path: the folder; parents are made.
            tensors: by name.
            facts: what else the manifest says, as JSON can hold it.
            files: further files by name, made once the folder may be written.
            overwrite: replace a folder that was written so before; one that holds anything else is refused.

        Raises:
            InputError: the folder exists, or holds other files.
        """
        from safetensors.torch import save as to_bytes

        path = Path(path).absolute()
        with new_folder(path, overwrite, self.why_not_ours) as folder:
            plain = {name: t.detach().to("cpu").contiguous().clone() for name, t in tensors.items()}
            numbers = to_bytes(plain, {"format": self.name, "version": str(self.version)})
            whole = {**{name: make() for name, make in (files or {}).items()}, self.numbers: numbers}
            for name, data in whole.items():
                (folder / name).write_bytes(data)
            manifest = {
                "format": self.name,
                "format_version": self.version,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": {
                    "relprop": version(),
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                },
                **facts,
                "files": {
                    name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
                    for name, data in whole.items()
                },
            }
            text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
            (folder / _MANIFEST).write_text(text + "\n", encoding="utf-8")
        return path

    def read(self, path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The manifest of a folder and its tensors.

        Raises:
            InputError: no such folder, another format, a file that is missing or was changed.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load as from_bytes

        folder = named_path(path)
        manifest = self._manifest(folder)
        # Older separations list no files.
        listed: Any = manifest.get("files", {self.numbers: {}})
        if not _is_listing(listed) or self.numbers not in listed:
            raise InputError(
                f"Expected {_MANIFEST} in {str(folder)!r} to list files of the folder, {self.numbers} among them, "
                "but it has something else. It was changed: save the result anew."
            )
        data = b""
        for name, facts in listed.items():
            content = read_bytes(folder / name, f"{name} beside {_MANIFEST}")
            if "sha256" in facts and hashlib.sha256(content).hexdigest() != facts["sha256"]:
                raise InputError(
                    f"Expected {name} in {str(folder)!r} as it was saved but its checksum differs. "
                    "It was changed or damaged: save the result anew."
                )
            if name == self.numbers:
                data = content
        try:
            return manifest, from_bytes(data)
        except SafetensorError as error:
            raise InputError(
                f"Expected {self.numbers} in {str(folder)!r} but it can't be read ({error})."
            ) from error

    def _manifest(self, folder: Path) -> dict[str, Any]:
        kind = self.name.rpartition("-")[2]
        try:
            manifest = json.loads(read_text(folder / _MANIFEST, f"the manifest of a saved {kind}"))
        except InputError as error:
            raise InputError(
                f"Expected a saved {kind} but {shown_path(folder)!r} has no readable {_MANIFEST} ({error})"
            ) from error
        except (ValueError, RecursionError) as error:
            text = " ".join(str(error).split())[:160]
            raise InputError(
                f"Expected a saved {kind} but {shown_path(folder)!r} has no readable {_MANIFEST} ({text})."
            ) from error
        if not isinstance(manifest, dict) or manifest.get("format") != self.name:
            raise InputError(
                f"Expected a manifest of format {self.name!r} but {str(folder)!r} holds another one."
            )
        if manifest.get("format_version") not in self.reads:
            raise InputError(
                f"Expected format version {' or '.join(map(str, self.reads))} but {str(folder)!r} has "
                f"{manifest.get('format_version')!r}. Read it with the relprop version in its manifest."
            )
        return manifest

    def why_not_ours(self, folder: Path) -> str | None:
        """Why a folder must not be replaced: it holds what we did not write."""
        if not (folder / _MANIFEST).is_file():  # looked no further than to the first: it may be a whole disk
            first = next((p for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()), None)
            found = first and str(first.relative_to(folder))
            return None if found is None else f"{str(folder)!r} holds other things, {found!r} among them"
        present = {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()}
        if not present:
            return None
        try:
            listed = set(self._manifest(folder).get("files", {self.numbers: {}}))
        except InputError:
            return f"{str(folder)!r} holds other things, {sorted(present)[0]!r} among them"
        others = sorted(present - listed - {_MANIFEST})
        return f"{str(folder)!r} also holds {others[0]!r}" if others else None


def _is_listing(files: Any) -> bool:
    """Whether it is names of files of one folder with what is known of each."""
    return isinstance(files, dict) and all(
        isinstance(facts, dict) and name == PurePath(name).name == PureWindowsPath(name).name
        for name, facts in files.items()
    )


@contextmanager
def as_saved(path: str | Path) -> Iterator[None]:
    """What goes wrong inside is the fault of a manifest, or of tensors, that aren't as they were saved.

    Raises:
        InputError: with the folder and what is missing or of the wrong kind.
    """
    try:
        yield
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        text = "a part of them has another form"
        if isinstance(error, KeyError):
            text = f"{error} is missing"
        elif isinstance(error, (RuntimeError, ValueError)):
            text = " ".join(str(error).split())[:160]
        raise InputError(
            f"Expected a result as relprop saves it but {_MANIFEST} or the numbers in {shown_path(path)!r} don't "
            f"fit together: {text}. Save it anew."
        ) from error


def version() -> str:
    """The installed version of this package, or "unknown"."""
    try:
        return metadata.version("relprop")
    except metadata.PackageNotFoundError:
        return "unknown"


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def jsonable(value: Any) -> Any:
    """A value as JSON can hold it, which is what comes back from a file.

    Tensors and arrays of up to 64 elements become lists, larger ones their shape; tuples and sets lists; NaN and
    infinities words; anything else (a composite, a function) its text.

    >>> jsonable({"bounds": (0, torch.ones(2)), "rule": object, "limit": float("inf")})
    {'bounds': [0, [1.0, 1.0]], 'rule': "<class 'object'>", 'limit': 'inf'}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, (Tensor, np.ndarray)):
        small = math.prod(value.shape) <= 64
        return jsonable(value.tolist()) if small else f"tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.generic):
        return jsonable(value.item())
    return str(value) if isinstance(value, (PurePath, torch.dtype, torch.device)) else repr(value)
