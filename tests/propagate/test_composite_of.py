"""Composites by name, as methods, as lists of pairs; and what can't be one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.nets import resnet, vgg
from tests.refusals import assert_refused

import relprop
from relprop.errors import InputError, UnknownNameError
from relprop.methods import METHODS
from relprop.propagate.composite import composite_of
from relprop.rules import Epsilon, ZPlus

X = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ONE_WALK = sorted(name for name, kind in METHODS.items() if hasattr(kind, "as_composite"))


def _seed(run: relprop.Trace) -> torch.Tensor:
    seed = torch.zeros_like(run.output)
    seed[:, 1] = run.output[:, 1]
    return seed


@pytest.mark.parametrize("name", ["lrp-0", "lrp-composite", "lrp-alpha-beta", "rap", "lrp:rule=gamma"])
def test_a_name_carries_relevance_as_the_method_does(name: str) -> None:
    model = resnet()
    expected = relprop.explain(model, X, 1, name)
    run = relprop.trace(model, X)
    assert torch.equal(run.propagate(_seed(run), name), expected.relevance)
    key, _, settings = name.partition(":")
    method = METHODS[key](**({"rule": "gamma"} if settings else {}))
    assert torch.equal(run.propagate(_seed(run), method), expected.relevance)
    assert str(run.plan(name)) == str(expected.plan)


def test_methods_of_one_walk_are_these() -> None:
    lrp = ["lrp", "lrp-0", "lrp-alpha-beta", "lrp-composite", "lrp-epsilon", "lrp-gamma"]
    assert [
        "attnlrp",
        "contrastive-rsp",
        "deep-taylor",
        "excitation-backprop",
        *lrp,
        "margin-rsp",
        "rap",
        "rsp",
    ] == ONE_WALK


@pytest.mark.parametrize("name", [n for n in ONE_WALK if n != "lrp"])
def test_inspect_takes_every_name(name: str) -> None:
    model = vgg()
    named = relprop.inspect(model, X, name)
    assert named.complete
    for method in (METHODS[name](), METHODS[name]):
        assert str(named) == str(relprop.inspect(model, X, method))


def test_pairs_are_a_composite() -> None:
    run = relprop.trace(vgg(), X)
    pairs: Any = [("last", Epsilon(0.1)), ("linear", ZPlus())]
    assert torch.equal(run.propagate(_seed(run), pairs), run.propagate(_seed(run), relprop.Composite(pairs)))


def test_what_cannot_be_a_composite_is_refused() -> None:
    run = relprop.trace(vgg(), X)
    seed: Any = _seed(run)
    wrong: list[Any] = [None, 3, "gradient", "clrp", relprop.Gradient(), relprop.CLRP, object, torch.ones(2)]
    usable = r"\(.*lrp-composite.*rsp.*\)"
    assert_refused(
        InputError,
        *[(lambda w=w: run.propagate(seed, w), rf"Expected a composite, .* {usable} but got") for w in wrong],
        (lambda: relprop.inspect(vgg(), X, "gradient"), usable),
        (lambda: run.propagate(seed, "lrp"), "either rule="),
        (lambda: run.propagate(seed, "lrp-epsilon:epsilon=-1"), "epsilon"),
        (lambda: run.propagate(seed, [Epsilon()]), r"list of \(match, rule\) pairs"),
        (lambda: run.propagate(seed, [("linear", "epsilon")]), "Expected pairs of a match"),
        (lambda: run.propagate(seed, [(3, Epsilon())]), "Expected pairs of a match"),
        (lambda: relprop.Composite(Epsilon()), r"list of \(match, rule\) pairs"),
    )
    assert_refused(
        UnknownNameError,
        (lambda: run.propagate(seed, "lrp-epsilom"), "Did you mean 'lrp-epsilon'"),
        (lambda: composite_of("lrp-0:epsilon=1"), "setting of lrp-0"),
    )
