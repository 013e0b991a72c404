"""What a release says of itself, in several files that have to agree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import relprop

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PYPROJECT["project"]["version"]


def _yaml(path: str) -> dict[str, object]:
    found = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_one_version() -> None:
    assert relprop.__version__ == VERSION
    cited = _yaml("CITATION.cff")
    assert cited["version"] == VERSION
    head = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert head is not None
    assert head.groups() == (VERSION, cited["date-released"])


def test_the_four_papers_are_cited() -> None:
    cited = _yaml("CITATION.cff")
    bibtex = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8").split("```bibtex")[1].split("```")[0]
    titles = {" ".join(t.split()).lower() for t in re.findall(r"\btitle\s*= \{(.*?)\}", bibtex, re.S)}
    assert len(titles) == 4
    assert {" ".join(r["title"].split()).lower() for r in cited["references"]} == titles  # type: ignore[attr-defined]


def test_the_archive_holds_what_a_build_needs() -> None:
    include = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert all((ROOT / name).exists() for name in include)
    hooks = re.findall(r"scripts/\w+\.py", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert hooks
    assert "scripts" in include


def test_the_workflow_does_what_ci_does() -> None:
    steps = [step for job in _yaml(".github/workflows/ci.yml")["jobs"].values() for step in job["steps"]]  # type: ignore[attr-defined]
    ran = [step["run"] for step in steps if "run" in step]
    assert "bash .ci/run" in ran
    assert "make docs" in ran
    assert "python scripts/dist.py" in ran


def test_hooks_are_local_and_are_those_of_make_lint() -> None:
    (repo,) = _yaml(".pre-commit-config.yaml")["repos"]  # type: ignore[misc]
    assert repo["repo"] == "local"  # type: ignore[index]
    linted = (ROOT / "Makefile").read_text(encoding="utf-8")
    for hook in repo["hooks"]:  # type: ignore[index]
        tool = hook["entry"].removeprefix(".venv/bin/").split(" --")[0]
        assert f"$(BIN)/{tool}" in linted


def test_forms_for_issues_are_read() -> None:
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = _yaml(f".github/ISSUE_TEMPLATE/{path.name}")
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)


CODE = """
import relprop
from relprop.methods import Facts, Method

number: str = relprop.__version__
listed: dict[str, str] = relprop.methods()
kinds: list[type[Method]] = [relprop.methods.METHODS["rsp"]]
facts: Facts = relprop.methods.Facts(classes=["cat", "dog"])
e: relprop.Explanation = relprop.explain("no module", None)  # error
"""


@pytest.mark.nightly
def test_types_are_seen_from_outside(tmp_path: Path) -> None:
    """mypy on somebody's script, against the package as it is installed from a wheel."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    (tmp_path / "script.py").write_text(CODE)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", "script.py"],
        cwd=tmp_path,
        env={"MYPYPATH": "", "PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "missing library stubs or py.typed marker" not in done.stdout
    said = [line for line in done.stdout.splitlines() if line.startswith("script.py") and ": error:" in line]
    assert len(said) == 1, done.stdout
    assert ':9: error: No overload variant of "explain" matches' in said[0]
