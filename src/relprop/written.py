"""Written: what a class of ours says of itself, read from its source without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from inspect import Parameter
from pathlib import Path
from typing import Any

__all__ = ["own_settings", "own_summary"]

_ROOT = Path(__file__).parent

_BARE = ("ABC", "object")  # what has no settings of its own


def own_summary(module: str, name: str) -> str | None:
    """The `summary` that a class is given; None where it can't be read.

    >>> own_summary("relprop.methods.crp", "CRP")
    'Contrastive Relevance Propagation: a class or box offset against the mean of the classes'
    """
    for place, found in _lineage(module, name):
        for line in found.body:
            if isinstance(line, (ast.Assign, ast.AnnAssign)) and line.value is not None:
                targets = line.targets if isinstance(line, ast.Assign) else [line.target]
                if any(isinstance(t, ast.Name) and t.id == "summary" for t in targets):
                    return str(_value(place, line.value))
    return None


def own_settings(module: str, name: str) -> dict[str, Any] | None:
    """Setting -> its default, or `Parameter.empty`, of a class; None where its source doesn't say them plainly.

    >>> own_settings("relprop.methods.lrp", "LRPEpsilon")
    {'epsilon': 0.001, 'attention': 'constant', 'seed': 'score'}
    """
    bases: list[str] = ["unknown"]
    try:
        for place, found in _lineage(module, name):
            bases = [ast.unparse(base) for base in found.bases]
            if any("dataclass" in ast.unparse(one) for one in found.decorator_list):
                return None  # whose fields may be of its bases
            for line in found.body:
                if isinstance(line, ast.FunctionDef) and line.name == "__init__":
                    return _defaults(place, line.args)
    except ValueError:
        return None
    return {} if set(bases) <= set(_BARE) else None


def _defaults(module: str, given: ast.arguments) -> dict[str, Any]:
    plain = [*given.posonlyargs, *given.args]
    values = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    pairs = list(zip(plain, values, strict=True))[1:]  # without self
    pairs += zip(given.kwonlyargs, given.kw_defaults, strict=True)
    return {own.arg: Parameter.empty if value is None else _value(module, value) for own, value in pairs}


def _lineage(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """The class and those that it is made from, each with its module, the next in line first.

    Bases beyond the first hold no settings of ours.
    """
    while True:
        found = _statement(module, name)
        if isinstance(found, ast.ImportFrom) and (found.module or "").startswith("relprop"):
            module = str(found.module)
            continue
        if not isinstance(found, ast.ClassDef):
            return
        yield module, found
        if not found.bases or not isinstance(found.bases[0], ast.Name):
            return
        name = found.bases[0].id


def _value(module: str, value: ast.expr) -> Any:
    """A literal, or a constant of the module.

    Raises:
        ValueError: it is anything else.
    """
    while isinstance(value, ast.Name):
        found = _statement(module, value.id)
        if not isinstance(found, (ast.Assign, ast.AnnAssign)) or found.value is None:
            raise ValueError(f"Expected a constant but {value.id} is something else.")
        value = found.value
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div):  # 1 / 56 says more than 0.018
        above, below = _value(module, value.left), _value(module, value.right)
        if all(isinstance(part, (int, float)) for part in (above, below)) and below:
            return above / below
    return ast.literal_eval(value)


def _statement(module: str, name: str) -> ast.stmt | None:
    """What gives a module's name its meaning."""
    for line in _tree(module).body:
        if isinstance(line, (ast.ClassDef, ast.FunctionDef)) and line.name == name:
            return line
        if isinstance(line, ast.ImportFrom) and any((a.asname or a.name) == name for a in line.names):
            return line
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return line
    return None


@cache
def _tree(module: str) -> ast.Module:
    path = _ROOT.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except OSError:  # only compiled files were installed
        return ast.Module(body=[], type_ignores=[])
