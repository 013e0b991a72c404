"""Every public class, function and method is described, by itself or by what it overrides."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import relprop

MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(relprop.__path__, "relprop.")
    if not m.name.startswith("relprop.cli")
)


def undescribed(module: object, name: str) -> Iterator[str]:
    for key, thing in vars(module).items():
        if key.startswith("_") or getattr(thing, "__module__", None) != name:
            continue
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and not inspect.getdoc(thing):
            yield f"{name}.{key}"
        if inspect.isclass(thing):
            for own, member in vars(thing).items():
                plain = inspect.unwrap(member.__func__ if isinstance(member, classmethod) else member)
                if own.startswith("_") or not (inspect.isfunction(plain) or isinstance(plain, property)):
                    continue
                # What a class doesn't say of an overriding method its base classes say.
                said = [inspect.getdoc(vars(base)[own]) for base in thing.__mro__ if own in vars(base)]
                if not any(said):
                    yield f"{name}.{key}.{own}"


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_described(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(str(error))
    assert list(undescribed(module, name)) == []


def test_what_is_missing_is_found() -> None:
    class Base:
        def told(self) -> None:
            """Told."""

        def untold(self) -> None:
            pass

    class Sub(Base):
        def told(self) -> None:
            pass

        def mine(self) -> None:
            pass

    made = type("made", (), {"Base": Base, "Sub": Sub})
    Base.__module__ = Sub.__module__ = "made"
    found = set(undescribed(made, "made"))
    assert found == {"made.Base", "made.Base.untold", "made.Sub", "made.Sub.mine"}


def test_no_description_only_points_at_another() -> None:
    trees = [ast.parse(p.read_text(encoding="utf-8")) for p in Path(relprop.__file__).parent.rglob("*.py")]
    kinds = (ast.FunctionDef, ast.ClassDef)
    said = [ast.get_docstring(n) or "" for tree in trees for n in ast.walk(tree) if isinstance(n, kinds)]
    assert len(said) > 1000
    assert [text for text in said if re.fullmatch(r"(See|As) `[\w.]+`\.", text)] == []
