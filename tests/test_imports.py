"""What a module lends to others stands in its `__all__` (that what stands there exists, ruff sees)."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import relprop
from relprop.methods.package import CallableMethods

ROOT = Path(relprop.__file__).parent
REPOSITORY = Path(__file__).parents[1]


def name_of(path: Path) -> str:
    parts = ["relprop", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {name_of(p): ast.parse(p.read_text(encoding="utf-8")) for p in sorted(ROOT.rglob("*.py"))}
STUBS = {name_of(p): ast.parse(p.read_text(encoding="utf-8")) for p in sorted(ROOT.rglob("*.pyi"))}


def exported(module: str) -> set[str]:
    """The names of `__all__`, or of the stub that it is made from; others that are computed aren't known."""
    if module in STUBS:
        return {name for _, name in imports(STUBS[module])}
    for node in TREES[module].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value)) if isinstance(node.value, ast.List) else set()
    return set()


def imports(tree: ast.Module) -> list[tuple[str, str]]:
    """(module, name) of every name taken from another module of the package, wherever it stands."""
    return [
        (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("relprop")
        for alias in node.names
    ]


def test_imported_names_are_exported() -> None:
    seen, hidden = 0, []
    for taker, tree in TREES.items():
        for giver, name in imports(tree):
            if f"{giver}.{name}" in TREES or giver == "relprop":
                continue  # a module itself, or the package's front door
            seen += 1
            if name not in exported(giver):
                hidden.append(f"{taker} takes {name} from {giver}")
    assert hidden == []
    assert seen > 500


def test_stubs_tell_the_truth() -> None:
    """What a package gives on first use is what its stub, and the module named there, say."""
    seen = 0
    for package, tree in STUBS.items():
        for giver, name in imports(tree):
            seen += 1
            known = f"{giver}.{name}" in TREES if giver == package else name in exported(giver)
            assert known, f"the stub of {package} takes {name} from {giver}"
    assert seen > 100


def test_names_stay_when_modules_of_that_name_are_imported() -> None:
    """`relprop.reports.affine` is the function, though Python hangs the module of that name in its place."""
    code = "import relprop.reports.affine, relprop.benchmark.run as m; import relprop\n"
    code += (
        "print(callable(relprop.reports.affine), callable(relprop.benchmark.run), callable(relprop.methods))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True True"


def test_type_checkers_see_all_names_of_the_package_that_can_be_called() -> None:
    listed = [name for name in vars(CallableMethods) if not name.startswith("_")]
    assert sorted(listed) == sorted(relprop.methods.__all__)
    assert all(getattr(CallableMethods, name) is getattr(relprop.methods, name) for name in listed)


def test_scripts_take_what_is_there() -> None:
    """Scripts that no test runs: benchmarks, examples, training."""
    seen, missing = 0, []
    for path in (
        p for folder in ("benchmarks", "examples", "scripts") for p in (REPOSITORY / folder).rglob("*.py")
    ):
        for giver, name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            seen += 1
            known = giver == "relprop" or f"{giver}.{name}" in TREES
            if not known and (giver not in TREES or name not in exported(giver)):
                missing.append(f"{path.name} takes {name} from {giver}")
    assert missing == []
    assert seen > 50


def test_a_class_name_means_one_thing() -> None:
    found = Counter(
        node.name
        for name, tree in TREES.items()
        if not name.startswith(
            "relprop.captum."
        )  # bears captum's names, so that an import is all that changes
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(found) > 150
    # A method that is nothing but one rule; a table of a benchmark, and one of a report.
    assert {name for name, count in found.items() if count > 1} == {"Gradient", "Table"}


def test_importing_brings_no_warning_filters_of_others() -> None:
    """`torch.export` imports sympy when it first runs, whose filter is taken away there: not before."""
    code = "import sys, relprop.cli.app, relprop.reports, relprop.graph; print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_app_names_its_extra() -> None:
    """Where gradio is missing; a module that reads it on import would fail before anything could say so."""
    code = "import sys; sys.modules['gradio'] = None; from relprop.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "app"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith('pip install "relprop[app]".')
