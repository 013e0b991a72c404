"""explain and inspect: what most people call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from relprop.engine.composite import Composite
from relprop.engine.plan import operator_name, places_of
from relprop.engine.trace import checked_output, trace
from relprop.errors import InputError
from relprop.explanation import Explanation
from relprop.graph import capture
from relprop.methods.method import Method, Request
from relprop.methods.registry import resolve

__all__ = ["Coverage", "CoverageRow", "explain", "inspect", "pixel_bounds"]


def explain(
    model: nn.Module,
    x: Tensor,
    target: int | Tensor | Sequence[int | Tensor] | None = None,
    method: str | Method = "lrp-composite",
    layers: Sequence[str] = (),
) -> Explanation:
    """What in `x` made `model` say `target`?

    Args:
        model: maps (N, C, *spatial) to scores (N, classes), in evaluation mode. It is left as it came.
        x: the input, normalised as the model expects it.
        target: a class index; an int64 tensor (N,) with one per sample; a list of K indices (or of such
            tensors), which puts a K axis in front of the relevance; None for each sample's top class.
        method: a name (`relprop.methods()`) or a configured method (`relprop.DeepTaylor(...)`).
        layers: modules or nodes at whose output relevance is wanted too (`Explanation.layers`).

    Raises:
        InputError: bad input, target, method or layer; the text says which.
        CaptureError: the model can't be captured as a graph of tensor operators.
        UnsupportedOperatorError: relevance would reach an operator that has no rule.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> net.weight.data = torch.tensor([[1.0, 0.0], [2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 1.0]]), target=[0, 1], method="lrp-0")
    >>> e.relevance.tolist()
    [[[3.0, 0.0]], [[6.0, -1.0]]]
    """
    recipe = resolve(method)
    if isinstance(layers, str):
        raise InputError(f"Expected layers to be a list of names but got the string {layers!r}.")
    run = trace(model, x)
    checked_output(model, run.output)
    targets, single = class_indices(target, run.output, x.shape[0])
    request = Request(model, run, targets, single, tuple(layers))
    seen = run.input
    result = recipe.explain(request)

    def unstacked(t: Tensor) -> Tensor:
        return t[0] if single else t

    return Explanation(
        relevance=unstacked(result.relevance),
        input=seen,
        outputs=run.output,
        targets=unstacked(targets),
        method=recipe.name,
        settings=recipe.settings(),
        plan=result.plan,
        ledger=result.ledger,
        layers={name: unstacked(t) for name, t in result.layers.items()},
        at=result.at,
        extras=result.extras,
        signed=recipe.signed,
    )


def class_indices(target: Any, output: Any, n: int) -> tuple[Tensor, bool]:
    """Class indices (K, N) for a `target` as `explain` takes it, and whether one was asked.

    Raises:
        InputError: as for `explain`.
    """
    if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[0] != n:
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"Expected a model that returns one tensor of scores ({n}, classes) but it returns {got}. "
            "Wrap it in a module that returns the scores to be explained."
        )
    classes = output.shape[1]
    if target is None:
        scores = output if output.ndim == 2 else output.flatten(2).amax(-1)
        return scores.argmax(1)[None], True
    if isinstance(target, (list, tuple)):
        if not target:
            raise InputError("Expected at least one target but got an empty list.")
        rows = [_target_row(t, n, classes) for t in target]
        return torch.stack(rows).to(output.device), False
    return _target_row(target, n, classes)[None].to(output.device), True


def _target_row(target: Any, n: int, classes: int) -> Tensor:
    if isinstance(target, Tensor) and target.ndim == 0:
        target = target.item()
    if isinstance(target, bool) or (
        not isinstance(target, (int, Tensor)) and not hasattr(target, "__index__")
    ):
        raise InputError(
            f"Expected target to be a class index, an int64 tensor ({n},), or a list of those, but got "
            f"{type(target).__name__} {target!r}."
        )
    if not isinstance(target, Tensor):
        target = torch.full((n,), int(target))
    if target.is_floating_point() or target.dtype == torch.bool or target.shape != (n,):
        raise InputError(
            f"Expected a target tensor of integers with shape ({n},) but got {target.dtype} {tuple(target.shape)}."
        )
    bad = target[(target < 0) | (target >= classes)]
    if bad.numel():
        raise InputError(f"Expected targets from 0 to {classes - 1} but got {int(bad[0])}.")
    return target.long()


@dataclass(frozen=True)
class CoverageRow:
    """One operator of a model: its rule, or the reason there is none."""

    node: str
    module: str
    operator: str
    kind: str
    rule: str
    source: str
    covered: bool


@dataclass(frozen=True)
class Coverage:
    """Every operator of a model with its rule under a composite. Prints as a table.

    Attributes:
        rows: one per operator that relevance may reach from the output.
        composite: name of the composite that was asked.
    """

    rows: tuple[CoverageRow, ...]
    composite: str

    @property
    def complete(self) -> bool:
        """Whether relevance can go from the output to the input."""
        return all(r.covered for r in self.rows)

    def __str__(self) -> str:
        lines = [f"{'node':<26}{'module':<30}{'operator':<24}rule"]
        lines += [f"{r.node:<26.25}{r.module:<30.29}{r.operator:<24.23}{r.rule}" for r in self.rows]
        kinds = Counter(r.operator for r in self.rows if not r.covered)
        missing = ", ".join(f"{op} ({n}x)" for op, n in kinds.items())
        lines.append(
            f"{len(self.rows)} operators, " + (f"no rule for {missing}" if missing else "all covered")
        )
        return "\n".join(lines)


def inspect(model: nn.Module, x: Tensor, composite: Composite | None = None) -> Coverage:
    """Coverage of a model before any explanation: every operator, its rule or why there is none.

    Args:
        model, x: as for `explain`; x gives the shape, only the graph is looked at.
        composite: whose rules to show; default: LRP-0 (everything in proportion to value).

    Raises:
        CaptureError: the model can't be captured.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Softmax(1))
    >>> print(relprop.inspect(net, torch.ones(1, 2)))  # doctest: +ELLIPSIS
    node                      module                        operator                rule
    softmax                   1                             softmax                 no rule
    linear                    0                             linear                  Epsilon(epsilon=0.0, ...)
    2 operators, no rule for softmax (1x)
    """
    composite = composite or Composite(name="LRP-0")
    graph = capture(model, x)
    outputs = [n for n in graph.outputs if hasattr(n, "kind") and n.dependent]
    rows = []
    for place, node, unit, rule in places_of(graph, composite, outputs):
        rows.append(
            CoverageRow(
                node.name,
                place.node.module,
                operator_name(node, unit),
                place.kind,
                "no rule" if rule is None else repr(rule),
                node.source,
                rule is not None,
            )
        )
    return Coverage(tuple(rows), composite.name)


def pixel_bounds(
    mean: Sequence[float], std: Sequence[float], low: float = 0.0, high: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The box of normalised pixels, per channel: ((low - mean) / std, (high - mean) / std), (C,) each.

    >>> low, high = pixel_bounds([0.5], [0.25])
    >>> low.tolist(), high.tolist()
    ([-2.0], [2.0])
    """
    m, s = torch.tensor(list(mean)), torch.tensor(list(std))
    if m.shape != s.shape or m.ndim != 1:
        raise InputError(f"Expected mean and std with one number per channel but got {mean!r} and {std!r}.")
    return (low - m) / s, (high - m) / s
