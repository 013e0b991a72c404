"""Every text of an error that relprop raises: it says what was expected, in whole sentences."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from relprop import errors

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
ERRORS = {n for n in errors.__all__ if n.endswith("Error")}
GAP = "…"  # a value that is put in

# What is said where nothing was asked for: no rule, no capture, an extra that isn't installed, a run cut short.
OTHERS = (
    "Can't capture", "No rule for ", "MaxPool(", "Relevance at ",
    "Reading ", "Comparing maps needs ", "The dense CRF needs ",
    "A worker process died ", "The run failed ", "The disk of ", "Nothing could be measured ",
    f"'{GAP}' failed while ",
    GAP,
)  # fmt: skip


def said(node: ast.expr) -> str:
    """The text of an argument, with a gap for every value; conditional sentences by their first form."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(said(v) if isinstance(v, ast.Constant) else GAP for v in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return said(left) + said(right)
        case ast.IfExp(body=body):
            return said(body)
    return GAP


def texts(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name), args=[text, *_])) if name in ERRORS:
                yield node.lineno, said(text)


def test_texts_have_one_form() -> None:
    found = [(f"{p.relative_to(ROOT)}:{line}", text) for p in SOURCES for line, text in texts(p)]
    assert len(found) > 400
    assert [(at, text) for at, text in found if not text.startswith(("Expected ", *OTHERS))] == []
    assert [(at, text) for at, text in found if not text.endswith((".", ")", "?", GAP))] == []
