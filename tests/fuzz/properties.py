"""What holds of every network: refused by name, or right in all of it, and nothing that isn't ours is touched.

A network is right if its output is the model's, gradients are autograd's, LRP-0 is gradient x input where the
network is made of affine maps, ReLUs and maxima, the ledgers close, a sample alone and a target alone get what
they get in company, and the model, its containers, the input, the random numbers and stderr are as before.
"""

from __future__ import annotations

import linecache
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from tests.fuzz.generator import CLASSES, Recipe, write
from torch import Tensor, nn

import relprop
from relprop.errors import RelpropError, RelpropWarning, UnsupportedOperatorError

__all__ = ["METHODS", "Finding", "Verdict", "check", "judge", "made"]

METHODS = ("lrp-0", "lrp-epsilon", "lrp-composite", "excitation-backprop", "rsp")
"""Methods that keep a ledger."""

TARGETS = list(range(CLASSES))
_ROUNDING = 1e-8  # of the largest number: float64, with quotients on the way that amplify
_NARROW = 0.05  # where the network itself computes in half precision


@dataclass(frozen=True)
class Finding:
    """Something that is not as it has to be: which property, and how."""

    property: str
    text: str


@dataclass
class Verdict:
    """What came of one network.

    Attributes:
        findings: what is wrong.
        refusals: method -> the first words of the refusal.
        refused: operator -> refused under LRP-0 or at capture (the operator that the refusal names).
        explained: the methods that gave an answer.
    """

    findings: list[Finding] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    explained: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> set[str]:
        """The properties that don't hold."""
        return {f.property for f in self.findings}


class Invalid(Exception):
    """The network doesn't run by itself: nothing can be said about it."""


def check(recipe: Recipe, properties: set[str] | None = None) -> Verdict:
    """Write the network of a recipe, and judge it; see `judge`."""
    return judge(write(recipe).source, recipe.facts, properties)


def judge(source: str, facts: frozenset[str], properties: set[str] | None = None) -> Verdict:
    """Check every property of one network.

    Args:
        source: code that makes `model` and `x`.
        facts: see `tests.fuzz.operators`.
        properties: the properties that matter; others are left out where that saves time.

    Raises:
        Invalid: `model(x)` itself fails.
    """
    model, x = made(source)
    reference, _ = made(source)
    own: list[str] = []
    try:
        with _watched(own), torch.no_grad():
            expected = reference(x.clone())
    except Exception as error:
        raise Invalid(str(error)) from error
    gradients = None if "random" in facts else _autograd(made(source)[0], x)
    verdict, before = Verdict(), _state(model)
    kept, generator = x.clone(), torch.get_rng_state()
    said: list[str] = []

    def found(name: str, text: str) -> None:
        verdict.findings.append(Finding(name, text))

    unruled = False

    def explain(method: str, x: Tensor = x, target: Any = TARGETS) -> relprop.Explanation | None:
        try:
            return relprop.explain(model, x, target, method)
        except RelpropError as error:
            nonlocal unruled
            unruled = isinstance(error, UnsupportedOperatorError)
            verdict.refusals.setdefault(method, str(error))
        except Exception as error:
            found(f"raw exception ({type(error).__name__})", f"{method}: {_last(error)}")
        return None

    tolerance = _NARROW if "narrow" in facts else _ROUNDING
    ledgers = properties is None or any(p.startswith(("ledger", "finite", "raw")) for p in properties)
    wanted = METHODS if ledgers else METHODS[:1]
    with _watched(said):
        plain = explain("gradient")
        # What can't be captured for one method can't be for another.
        wanted = wanted if plain is not None or unruled else ()
        maps = {"gradient": plain} | {name: explain(name) for name in wanted}
        maps = {name: e for name, e in maps.items() if e is not None}
        alone = "lrp-0" if "lrp-0" in maps else "gradient"
        single = explain(alone, x[1:2]) if alone in maps and "mixes" not in facts else None
        one = explain(alone, x, 1) if alone in maps else None
    verdict.explained = list(maps)
    for name, e in maps.items():
        apart = _apart(e.outputs, expected)
        if apart > tolerance:
            found("output", f"{name}: outputs differ from model(x) by {apart:.1e} of the largest")
        if not bool(torch.isfinite(e.relevance).all()):
            found("finite", f"{name}: relevance is not finite")
        if e.ledger is not None and not e.ledger.closes and "narrow" not in facts:
            found("ledger", f"{name}: open by {e.ledger.max_error:.1e}\n{_open_rows(e)}")
    if gradients is not None:
        told = plain is not None and any("autograd's are others" in w for w in plain.warnings)
        if plain is not None and not told and (apart := _apart(plain.relevance, gradients)) > tolerance:
            found("gradient", f"gradient differs from autograd's by {apart:.1e} of the largest")
        if "exact" in facts and not facts & {"cuts"} and "lrp-0" in maps:
            apart = _apart(maps["lrp-0"].relevance, gradients * x)
            if apart > tolerance:
                found("lrp-0", f"LRP-0 differs from gradient x input by {apart:.1e} of the largest")
    if single is not None and not _same_alone(made(source)[0], x, expected, tolerance):
        single = None  # the model itself gives a sample alone another output
    if single is not None and (apart := _apart(single.relevance, maps[alone].relevance[:, 1:2])) > tolerance:
        found("rows", f"{alone}: sample 1 alone differs by {apart:.1e} of the largest")
    if one is not None and (apart := _apart(one.relevance, maps[alone].relevance[1])) > tolerance:
        found("targets", f"{alone}: target 1 alone differs by {apart:.1e} of the largest")
    for what in _changed(before, _state(model)):
        found("model", f"changed: {what}")
    if not torch.equal(x, kept):
        found("input", "x was written to")
    if not torch.equal(torch.get_rng_state(), generator):
        found("generator", "the global random state moved")
    for text in dict.fromkeys(said):
        if text not in own:
            found("stderr", text[:400])
    return verdict


def refused_operator(text: str) -> str:
    """The operator that a refusal speaks of, or its first words."""
    named = re.search(r"operator '([^']+)'", text)
    if named:
        return named[1]
    return re.sub(r"[^A-Za-z' ]+.*", "", text.split(":")[-1].strip())[:50] or text[:50]


_count = 0


def made(source: str) -> tuple[nn.Module, Tensor]:
    """Run the code; its lines can be shown in tracebacks."""
    global _count
    _count += 1
    name = f"<network {_count}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    names: dict[str, Any] = {"__name__": "network"}
    with torch.random.fork_rng(devices=[]):
        exec(compile(source, name, "exec"), names)  # our own text
    return names["model"], names["x"]


def _autograd(model: nn.Module, x: Tensor) -> Tensor | None:
    """Gradients of every class by autograd, (K, N, ...); None where autograd can't."""
    leaf = x.clone().requires_grad_()
    grads = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = model(leaf.clone())
            for k in TARGETS:
                if not out.requires_grad:
                    return torch.zeros(CLASSES, *x.shape, dtype=x.dtype)
                (g,) = torch.autograd.grad(out[:, k].sum(), leaf, retain_graph=True, allow_unused=True)
                grads.append(torch.zeros_like(x) if g is None else g)
    except (RuntimeError, NotImplementedError):
        return None
    found = torch.stack(grads)
    return found if bool(torch.isfinite(found).all()) else None


def _same_alone(model: nn.Module, x: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether the model gives a sample alone the output that it has in the batch."""
    try:
        with torch.no_grad():
            return _apart(model(x[1:2].clone()), expected[1:2]) <= tolerance
    except RuntimeError:
        return False


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference beside the largest number; infinite for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    size = float(b.abs().max())
    difference = float((a - b).abs().max())
    return difference / size if size > 1e-12 else difference


def _open_rows(e: relprop.Explanation) -> str:
    assert e.ledger is not None
    return "\n".join(str(r) for r in e.ledger.rows if not r.error <= e.ledger.tolerance)


def _last(error: BaseException) -> str:
    """The error, and the last lines of ours that it came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/relprop/" in f.filename]
    where = ", ".join(f"{f.filename.rsplit('/relprop/', 1)[1]}:{f.lineno}" for f in frames[-3:])
    return f"{type(error).__name__}: {str(error)[:300]} ({where})"


# What isn't ours ----------------------------------------------------------------------------------------


def _state(model: nn.Module) -> dict[str, Any]:
    """All that a caller could see of a model."""
    state: dict[str, Any] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        state[f"tensor {name}"] = (id(value), value._version, value.requires_grad, value.grad)
        state[f"value {name}"] = value.detach().clone()
    for path, module in model.named_modules(remove_duplicate=False):
        state[f"mode {path}"] = (id(module), module.training, type(module))
        for name, value in vars(module).items():
            state[f"attribute {path}.{name}"] = _seen(value)
    return state


def _seen(value: Any) -> Any:
    if isinstance(value, (list, tuple, set)):
        return (id(value), len(value), tuple(id(v) for v in value))
    if isinstance(value, dict):
        return (id(value), tuple(map(str, value)), tuple(id(v) for v in value.values()))
    return id(value)


def _changed(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for name in sorted(set(before) | set(after)):
        a, b = before.get(name), after.get(name)
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            if not torch.equal(a, b):
                yield name
        elif name not in before or name not in after or a != b:
            yield name


@contextmanager
def _watched(said: list[str]) -> Iterator[None]:
    """Collect what is written to stderr by anyone, C++ included, and warnings but for our own."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = os.dup(2)
        stream = sys.stderr
        os.dup2(file.fileno(), 2)
        sys.stderr = os.fdopen(os.dup(2), "w")
        try:
            yield
        finally:
            sys.stderr.close()
            sys.stderr = stream
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said += [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
            said += [
                f"{w.category.__name__}: {w.message}"
                for w in caught
                if not issubclass(w.category, RelpropWarning)
            ]
