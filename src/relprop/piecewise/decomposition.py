"""The exact decomposition: one backward walk gives W at a layer, its bias, and whose bias it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from relprop.checks import layer_names, place_name, refuses_old_spellings
from relprop.errors import InputError
from relprop.graph import Graph, Node
from relprop.graph.place import label
from relprop.piecewise.form import AffineForm
from relprop.piecewise.linearise import deviation
from relprop.piecewise.operators import refusal, unfit
from relprop.precision import full_precision
from relprop.propagate.composite import DERIVATIVES, Composite
from relprop.propagate.targets import class_indices, one_hot
from relprop.propagate.trace import Trace, trace
from relprop.rules.owning import Owning
from relprop.tracing.values import checked_output

__all__ = [
    "affine",
    "affine_by_layer",
    "block_outputs",
    "by_layer",
    "decompose",
    "started",
    "value_at",
    "weights",
]

_POOLS = frozenset({"max_pool", "avg_pool"})
_RELUS = ("relu", "relu6", "hardtanh")


@full_precision
@refuses_old_spellings
def affine(
    model: nn.Module,
    x: Tensor,
    target: int | Tensor | Sequence[int | Tensor] | None = None,
    at: str | None = None,
    *,
    versus: int | Tensor | None = None,
    owners: bool = False,
    linearise: bool = False,
) -> AffineForm:
    r"""The score as an affine function of the input or of a layer's values, exactly.

    .. math:: F_c(Y) = \sum_i W_i Y_i + b, \qquad W = \frac{\partial F_c}{\partial X},
        \qquad b = F_c(X) - \sum_i W_i X_i

    for all Y in the piece of X: those for which each unit stays on its side of its kink. One forward and one
    backward run, whatever is asked besides.
    Source: Chen et al. on the piece-wise affine representation of ReLU networks.

    Args:
        model: maps (N, C, *spatial) to scores (N, classes), in evaluation mode. It is left as it came.
        x: the input, normalised as the model expects it.
        target: as for `relprop.explain`; a list of K puts K in front of the form's tensors.
        at: a module or node whose values are X; None: the input. Where other ways pass it by (one branch of
            several), b also holds what comes along those.
        versus: a rival class, or one per sample (N,): F is the target's score less the rival's.
        owners: split b over the operators and channels that make it (`AffineForm.owners`).
        linearise: take networks that aren't piece-wise affine too, by their tangent at X. Then `exact` is False,
            and `error` says how far off the form is nearby.

    Raises:
        InputError: bad input, target, rival or place; the text says which.
        UnsupportedOperatorError: an operator between that place and the output isn't piece-wise affine.

    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> net[0].weight.data, net[0].bias.data = torch.eye(2), torch.tensor([1.0, 0.0])
    >>> net[2].weight.data, net[2].bias.data = torch.tensor([[1.0, -1.0]]), torch.tensor([2.0])
    >>> form = affine(net, torch.tensor([[3.0, 1.0]]), target=0, owners=True)
    >>> form.weight.tolist(), form.contribution.tolist(), form.bias.tolist(), form.score.tolist()
    ([[1.0, -1.0]], [[3.0, -1.0]], [3.0], [5.0])
    >>> [(o.module, o.amount.tolist()) for o in form.owners]
    [('0', [1.0]), ('2', [2.0])]
    """
    run, targets, single = started(model, x, target)
    rivals = None if versus is None else _rivals(versus, run)
    name = place_name("at", at)
    place = run.graph.input if name is None else run.graph.find(name)
    name = "input" if name is None or place is run.graph.input else name
    form = decompose(
        run, targets, [(name, place)], single=single, versus=rivals, owners=owners, linearise=linearise
    )[name]
    if form.exact:
        return form
    return replace(form, error=deviation(run, place, form, _seed(run, targets, rivals)))


@full_precision
def affine_by_layer(
    model: nn.Module,
    x: Tensor,
    target: int | Tensor | Sequence[int | Tensor] | None = None,
    layers: Sequence[str] | None = None,
    *,
    linearise: bool = False,
) -> dict[str, AffineForm]:
    """`affine` at the input and at several layers, from one walk: layer -> form, the input first.

    Args:
        model, x, target: see `affine`.
        linearise: as for `affine`, but `error` is not measured.
        layers: modules or nodes; None: `block_outputs`. "input" is always there.

    Raises:
        InputError, UnsupportedOperatorError: as `affine`.
    """
    layers = None if layers is None else layer_names(layers)
    run, targets, single = started(model, x, target)
    return by_layer(run, targets, layers, single=single, linearise=linearise)


def by_layer(
    run: Trace, targets: Tensor, layers: Sequence[str] | None, *, single: bool, linearise: bool
) -> dict[str, AffineForm]:
    """`affine_by_layer` for a forward run, which is used up."""
    names = block_outputs(run.graph) if layers is None else [n for n in layers if n != "input"]
    places = [("input", run.graph.input), *[(name, run.graph.find(name)) for name in names]]
    return decompose(run, targets, places, single=single, linearise=linearise)


def decompose(
    run: Trace,
    targets: Tensor,
    places: Sequence[tuple[str, Node]],
    *,
    single: bool,
    versus: Tensor | None = None,
    owners: bool = False,
    linearise: bool = False,
) -> dict[str, AffineForm]:
    """The forms at several places of one forward run, which is used up.

    Args:
        run: the forward run.
        targets: class indices, int64 (K, N).
        places: names and nodes; with owners only one.
        single: drop the K axis.
        versus: rival classes, int64 (N,).
        owners, linearise: see `affine`.

    Raises:
        InputError, UnsupportedOperatorError: as `affine`.
    """
    graph, (first, *others) = run.graph, [node for _, node in places]
    values = {name: value_at(run, node, name) for name, node in places}
    bent = {name: unfit(graph, node) for name, node in places}
    for found in bent.values():
        if found and not linearise:
            raise refusal(found)
    seed = _seed(run, targets, versus)
    rule = Owning(graph.descendants([first]), {n for n, _ in bent[places[0][0]]}) if owners else None
    composite = Composite([(lambda _: True, rule)], "gradient", name="gradient") if rule else DERIVATIVES
    walked = run.run(
        seed, composite, stop=first, record=others, multiplier=True, ledger=False, release=not linearise
    )
    noted = rule.owners(single) if rule else None
    score = (seed.double() * run.output.double()).flatten(2).sum(-1)
    lead = targets.shape[1:] if single else targets.shape
    forms = {}
    for name, node in places:
        weight = walked.relevance if node is first else walked.layers[node.name]
        # In float64: the bias is a difference of sums that may be far larger than itself.
        value = values[name].double()
        bias = score - torch.stack([(w.double() * value).flatten(1).sum(-1) for w in weight])
        forms[name] = AffineForm(
            weight=weight[0] if single else weight,
            bias=bias.reshape(lead),
            score=score.reshape(lead),
            value=values[name],
            at=name,
            targets=targets.reshape(lead),
            versus=versus,
            outputs=run.output,
            exact=not bent[name],
            owners=noted,
        )
    return forms


def _seed(run: Trace, targets: Tensor, versus: Tensor | None) -> Tensor:
    """The score as a combination of outputs: 1 at the target, -1 at the rival; (K, N, classes, ...)."""
    seed = one_hot(targets, run.output)
    return seed if versus is None else seed - one_hot(versus[None].expand_as(targets), run.output)


def started(model: nn.Module, x: Tensor, target: Any) -> tuple[Trace, Tensor, bool]:
    """A forward run, the targets (K, N), and whether one was asked."""
    run = trace(model, x)
    checked_output(model, run.output)
    targets, single = class_indices(target, run.output, run.batch)
    return run, targets, single


def value_at(run: Trace, node: Node, name: str | None) -> Tensor:
    """The value of a layer.

    Raises:
        InputError: it is a list of tensors.
    """
    value = run.value(node)
    if not isinstance(value, Tensor):
        raise InputError(
            f"Expected one tensor at layer {name!r} but {node.name!r} is a list. Name a part of it."
        )
    return value


def weights(run: Trace, targets: Tensor) -> Tensor:
    """W of each target at the input, (K, N, C, *spatial)."""
    return run.run(_seed(run, targets, None), DERIVATIVES, multiplier=True, ledger=False).relevance


def _rivals(versus: Any, run: Trace) -> Tensor:
    if isinstance(versus, (list, tuple)):
        raise InputError(
            f"Expected versus to be a class index or an int64 tensor ({run.batch},) but got {versus!r}."
        )
    return class_indices(versus, run.output, run.batch)[0][0]


def block_outputs(graph: Graph) -> list[str]:
    """The layers that end a block, in order of execution.

    These are the ReLUs (ReLU6 too), and concatenations of them, that a pool reads, and the ReLUs that follow a
    sum: the last ReLU before each pool of VGG-like networks, each block's output of ResNets. A network without
    any: every ReLU.
    """
    values = [n for n in graph.nodes if n.dependent and n.nonneg]
    ends = [n for n in values if _ends_block(n)] or [n for n in values if n.op in _RELUS]
    return [_place(graph, n) for n in ends]


def _place(graph: Graph, node: Node) -> str:
    name = label(graph, node)
    # A node may be called like a module ("relu"), which would then be meant.
    return name if graph.find(name) is node else f"{node.module}@{node.call}"


def _ends_block(node: Node) -> bool:
    if node.op in _RELUS and any(s.kind == "add" for s in node.signals()):
        return True
    return node.op in (*_RELUS, "cat") and any(user.kind in _POOLS for user in node.users)
