"""What a bare machine relies on."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return found.group().lower().replace("_", "-")


def test_every_direct_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    wanted = [
        *PROJECT["dependencies"],
        *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
    ]
    missing = {_name(r) for r in wanted} - set(pinned) - {"relprop"}
    assert missing == set()
    assert pinned["torch"] == "2.13.0"
    assert pinned["torchvision"] == "0.28.0"


def test_ci_runs_make_test() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in script
    assert "make test" in script
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_make_test_checks_everything() -> None:
    dry = ["make", "--dry-run", "--always-make", "test"]
    plan = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for part in ("ruff check", "ruff format --check", "mypy", "mkdocs build --strict", "pytest"):
        assert part in plan
    assert "--quiet" not in plan  # it keeps mkdocs from counting warnings, and --strict from failing


def _imported(code: str) -> set[str]:
    probe = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_import_is_lazy() -> None:
    assert "torch" not in _imported("import relprop, relprop.cli.app")
    heavy = {"torchvision", "timm", "captum", "zennit", "matplotlib.pyplot"}
    assert not heavy & _imported("import relprop; relprop.explain")


def test_every_public_name_is_there() -> None:
    import relprop

    # The names of the contract, whatever else the stub lists.
    named = "explain explain_detection separate_motion affine inspect trace methods Explanation LRP RSP CRP"
    assert set(named.split()) <= set(relprop.__all__)
    for name in relprop.__all__:
        assert getattr(relprop, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = relprop.nonsense
    # The name of the package doubles as a function, whatever was imported before.
    assert relprop.methods() == relprop.methods.registry.methods()


def test_typed_and_licensed() -> None:
    assert (ROOT / "src" / "relprop" / "py.typed").is_file()
    assert PROJECT["license"] == "BSD-3-Clause"
    assert "The relprop authors" in (ROOT / "LICENSE").read_text(encoding="utf-8")
