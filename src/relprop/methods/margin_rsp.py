"""Margin RSP: relative sectional propagation from what a class's margin reads at the map of its head."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from relprop.checks import check_choice, check_flag, place_name
from relprop.errors import InputError
from relprop.graph import Node
from relprop.graph.place import label
from relprop.methods.bounds import Bounds
from relprop.methods.excitation_backprop import contrast_layer
from relprop.methods.facts import Facts
from relprop.methods.feature_map import last_feature_map
from relprop.methods.margin import Rivals, margin_slopes, margin_values
from relprop.methods.method import Method, Request, Result
from relprop.methods.rsp import balanced, feature_map_at, sectional
from relprop.methods.source_map import source_maps
from relprop.propagate.composite import DERIVATIVES, Composite
from relprop.propagate.ledger import Ledger
from relprop.propagate.question import Question

__all__ = ["MarginRSP"]


class MarginRSP(Method):
    r"""Margin RSP: where the picture speaks for this class rather than for its likeliest rivals.

    At the feature map a that the class is read from, the parts of the margin's first-order form,

    .. math:: m_k = z_k - \sum_{j \ne k} q_j z_j, \quad q = \operatorname{softmax}(z_{j \ne k}), \qquad
        F = \frac{\partial m_k}{\partial a} ⊙ a

    (q held fixed; element by element, no mean over positions) are purged and balanced 2 : 1, and each section
    is carried down on its own, as by `RSP` in its mode "paper": with purge and balance in every layer, a uniform
    shift that keeps the total, and z^B at the input.

    On a `relprop.detectors.DetectionUnit` rivals are the other classes of the same anchor, and a is the map that
    this anchor's head reads (`relprop.methods.source_map`); an objectness or an offset, which has no rival, is its
    value alone, and red what makes it larger. On classifiers a is the last feature map, and where that lies behind
    the last linear operator (scores that are pooled, or a map of them) what this one reads. ``versus=`` takes the
    place of the rivals.

    **Below that map the weights are never read**, as in `RSP`: what the class's weights say enters through the
    slope at the map alone.

    Source: ours, of published parts: gradient ⊙ activation of one output at a detector's feature map is ODAM
    (Zhao and Chan 2023, ICLR, without its smoothing); purge, balance and the way down are those of Nam et al.
    2021 (AAAI), eqs. 2 to 5. Shapes: (N, C, *spatial). The total is 1 per sample and target (ratio > 1), -1 where
    nothing speaks for the class.

    Args:
        rivals: "softmax", or "none": the logit alone.
        include_background: whether a detector's background is among the rivals.
        ratio, bounds: see `RSP`.
        at: module path or node to start at, (N, C, *spatial), for all targets. None: each target's own.

    Raises:
        InputError: an unknown word; no background to leave out; no feature map; what `RSP` refuses.

    `extras` has "at" (the place, or places), and "margin" (N,), K in front for a list: what is explained.

    Warns:
        RelpropWarning: a map is zero everywhere.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(4, 2, bias=False))
    >>> net[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    >>> net[3].weight.data = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    >>> e = relprop.explain(net, torch.tensor([[[[2.0, -3.0]]]]), [0, 1], "margin-rsp")
    >>> e.extras["margin"].flatten().tolist(), e.relevance.flatten(1).tolist()  # 2 speaks for 0, -3 for 1
    ([-1.0, 1.0], [[2.0, -1.0], [-1.0, 2.0]])
    """

    name = "margin-rsp"
    for_classes = True
    takes = frozenset({"region", "versus", "score"})
    summary = (
        "Margin RSP: RSP from gradient x activation of a class's margin over its rivals; signed, totals 1"
    )

    def __init__(
        self,
        *,
        rivals: Rivals = "softmax",
        include_background: bool = True,
        ratio: float = 2.0,
        bounds: Bounds = "auto",
        at: str | None = None,
    ) -> None:
        check_choice("rivals", rivals, ("softmax", "none"))
        check_flag("include_background", include_background)
        self.rivals: Rivals = rivals
        self.include_background = include_background
        self.ratio, self.bounds, self.at = ratio, bounds, place_name("at", at)
        self._composite = sectional("paper", ratio, bounds, self.name)

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": facts.box or "sample"}

    def as_composite(self) -> Composite:
        """The composite that relevance is carried with."""
        return self._composite

    def explain(self, request: Request) -> Result:
        slopes = margin_slopes(request, include_background=self.include_background, rivals=self.rivals)
        margin = margin_values(request, slopes)
        places = self._places(request, slopes)
        at = self.at or ", ".join(label(request.trace.graph, node) for node in places)
        starts = [self._start(request, node, rows, slopes) for node, rows in places.items()]
        result = _carried(request, starts, self._composite, len(slopes))
        result.extras |= {"at": at, "margin": margin[0] if request.single else margin}
        return result

    def _places(self, request: Request, slopes: Tensor) -> dict[Node, Tensor]:
        """Where targets start, in order of execution, and which targets of which samples do there, (K, N)."""
        count, n = slopes.shape[:2]
        if self.at is not None:
            nodes = [feature_map_at(request.trace, self.at, self.name)[0]]
        elif request.asked.kind == "class":  # each sample's own: they may ask different anchors
            each = request.targets.reshape(-1, 1).expand(-1, n)
            nodes = source_maps(replace(request, asked=Question(each, False))) or [_last(request, self.name)]
        else:
            found = source_maps(request) or [_last(request, self.name)]
            nodes = [node for node in found for _ in range(n)] if len(found) == count else found
        nodes = nodes * (count * n) if len(nodes) == 1 else nodes
        return {
            node: torch.tensor([one is node for one in nodes], device=slopes.device).reshape(count, n)
            for node in sorted(set(nodes), key=lambda node: node.index)
        }

    def _start(
        self, request: Request, node: Node, rows: Tensor, slopes: Tensor
    ) -> tuple[Node, Tensor, Tensor]:
        """A place, which targets have rows there, and where those start: (k,), (k, N, C, *spatial)."""
        targets = rows.any(1).nonzero()[:, 0]
        rows = rows[targets]
        here = slopes[targets] * rows.reshape(*rows.shape, *[1] * (slopes.ndim - 2))
        walked = request.run(
            here, DERIVATIVES, through_head=request.asked.kind != "score",
            stop=node, multiplier=True, ledger=False,
        )  # fmt: skip
        parts = walked.relevance * request.trace.value(node)
        return node, targets, balanced(parts, self.ratio)


def _last(request: Request, name: str) -> Node:
    """The last feature map; where that lies behind the last linear operator, what this one reads.

    Raises:
        InputError: none, or one that isn't (N, C, *spatial).
    """
    run = request.trace
    node = last_feature_map(run, branches=True)
    with suppress(InputError):  # several: then there is no one that all scores go through
        middle = contrast_layer(run.graph)
        node = node if node in run.graph.ancestors([middle]) else middle
    return feature_map_at(run, node.name, name)[0]


def _carried(
    request: Request, starts: list[tuple[Node, Tensor, Tensor]], composite: Composite, targets: int
) -> Result:
    """Carry relevance down from each place; a row of a target comes from one place, and is 0 from the others."""
    graph = request.trace.graph
    if len(starts) == 1 and len(starts[0][1]) == targets:
        return Result.of(request.propagate(starts[0][2], composite, start=starts[0][0]))
    total = request.trace.input.new_zeros(targets, *request.trace.input.shape)
    layers: dict[str, Tensor] = {}
    ledgers: list[Ledger] = []
    plan = None
    for i, (node, rows, seed) in enumerate(starts):
        upstream = graph.ancestors([node])
        record = [name for name in request.layers if graph.find(name) in upstream or i + 1 == len(starts)]
        run = request.run(
            seed, composite, start=node, record=record, release=request.release and i + 1 == len(starts)
        )
        total.index_add_(0, rows, run.relevance)
        for name, part in run.layers.items():
            if name not in layers:
                layers[name] = part.new_zeros(targets, *part.shape[1:])
            layers[name].index_add_(0, rows, part)
        assert run.ledger is not None
        ledgers.append(run.ledger)
        plan = run.plan
    return Result(total, layers, plan, Ledger.merged(ledgers))
