"""Provenance: what a benchmark's numbers were made from, with what, on which machine and when."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import relprop
from relprop.benchmark.recipe import Recipe
from relprop.benchmark.run import Finished
from relprop.benchmark.table import Table
from relprop.own_file import code_of, without_folder

__all__ = ["NAME", "provenance"]

NAME = "provenance.json"

_ABOUT = (
    "What the tables and figures beside this file were made from. A run tells of the process that computed "
    "pictures or, where none were computed, first wrote this file; workers of a cluster may be others."
)
_PACKAGES = ("relprop", "torch", "torchvision", "numpy", "scipy", "pillow", "captum", "quantus")


def provenance(done: Finished, table: Table, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything that a reader needs to make the numbers again, and nothing about who made them.

    Of paths only the last part is kept; neither the user's nor the machine's name is asked for.

    Args:
        done: the benchmark.
        table: of it.
        before: what an earlier call wrote of the same results: its runs are kept. Without one, or when more
            was computed, this call is added: a benchmark may have been computed in several sittings, on several
            machines.
    """
    facts = done.worker.facts()
    runs = list((before or {}).get("runs", ())) if (before or {}).get("results") == facts else []
    if done.computed or not runs:
        runs.append(
            {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "pictures_computed": done.computed,
                "seconds": round(done.seconds, 3),
                "machine": machine(done.worker.device),
                "versions": versions(),
            }
        )
    return {
        "about": _ABOUT,
        "recipe": bare(replace(done.recipe, folder="").plain()),
        "seeds": {"recipe": done.recipe.seed, "bootstrap": table.seed},
        "bootstrap": {
            "draws": table.replicates,
            "level": table.level,
            "draws_of_comparisons": table.comparisons[0].draws if table.comparisons else 0,
        },
        "results": facts,
        "code": _own_code(done.recipe),
        "pictures": done.pictures,
        "seconds_of_work": round(done.work, 3),
        "runs": runs,
    }


def _own_code(recipe: Recipe) -> dict[str, str]:
    """Files that the recipe names by `file.py:Name`, and the SHA-256 of each."""
    named = [
        recipe.model.spec,
        str(recipe.data["name"]),
        *(entry.method for entry in recipe.rows),
        *(entry.name for entry in recipe.metrics),
        *(v for entry in recipe.metrics for v in entry.settings.values() if isinstance(v, str)),
    ]
    found = {}
    for text in named:
        if code := code_of(recipe.located(text)):
            found[without_folder(text).partition(":")[0]] = code
    return found


def bare(value: Any) -> Any:
    r"""Plain values with every path in their texts cut to its last part.

    >>> bare({"folder": "/home/ann/VOC", "about": "a/b of c", "methods": ["/home/ann/m.py:Mine:w=/tmp/w.pth,n=2"]})
    {'folder': 'VOC', 'about': 'a/b of c', 'methods': ['m.py:Mine:w=w.pth,n=2']}
    """
    if isinstance(value, Mapping):
        return {key: bare(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [bare(inner) for inner in value]
    return _cut(value) if isinstance(value, str) else value


_PATH = re.compile(
    r"(?:(?<=[=:,\s'\"])|^)(?<!http:)(?<!https:)(?:(?:~|\.\.)?/|~|[A-Za-z]:[\\/]|\\\\)[^,:='\"\s][^,:='\"]*"
)


def _cut(text: str) -> str:
    return _PATH.sub(lambda found: re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)


def machine(device: str) -> dict[str, Any]:
    """The processor, the system and the device that the model ran on."""
    found: dict[str, Any] = {
        "cpu": _processor(),
        "cores": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "device": device,
    }
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
    return found


def versions() -> dict[str, str]:
    """Python, the packages that numbers depend on, and the commit of relprop where it is known."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if commit := _commit():
        found["relprop_commit"] = commit
    return found


def _commit() -> str:
    """Of the checkout or the installed package, "" where neither tells; "+changes" where files differ from it."""
    own = Path(relprop.__file__).parent
    try:  # PEP 610: installed from a repository
        told = json.loads(distribution("relprop").read_text("direct_url.json") or "{}")
        if commit := told.get("vcs_info", {}).get("commit_id"):
            return str(commit)
    except (PackageNotFoundError, ValueError):
        pass
    # A package below somebody else's repository is no file of that repository.
    if not _git(own, "ls-files", "--error-unmatch", "__init__.py"):
        return ""
    changed = _git(own, "status", "--porcelain", "--untracked-files=no", ".")
    return (_git(own, "rev-parse", "HEAD") or "") + ("+changes" if changed else "")


def _git(folder: Path, *words: str) -> str:
    """What git says; "" where it fails or isn't there."""
    command = ["git", "-C", str(folder), *words]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
