"""Excitation backprop and its contrastive form."""

from __future__ import annotations

from typing import Literal

import torch

from relprop.checks import check_choice, check_flag, place_name
from relprop.errors import InputError
from relprop.graph import Graph, Node
from relprop.graph.place import Place, label, resampled
from relprop.methods.method import Method, Request, Result
from relprop.propagate.composite import Composite
from relprop.propagate.fallback import handed_on
from relprop.propagate.trace import Trace
from relprop.rules import Add, AveragePool, Excitation, ZPlus
from relprop.rules.negated import Negated
from relprop.rules.rule import SharingRule

__all__ = ["ContrastiveExcitationBackprop", "ExcitationBackprop", "contrast_layer"]

Shares = Literal["own", "value", "positive", "absolute"]
_SHARES = ("own", "value", "positive", "absolute")


class ExcitationBackprop(Method):
    r"""Excitation backprop (EB): the probability that a winner-take-all walk from the class passes here.

    .. math:: P_i = \sum_j \frac{(w_{ij} x_i)^{±}}{\sum_{i'} (w_{i'j} x_{i'})^{±}} P_j,
        \quad ± = \operatorname{sign} z_j

    without bias, in convolutions and products; sums and average pools in the same way, as layers with fixed
    weights. Max pools hand everything to the winner, activations and norms pass it on (a batch norm is *not*
    merged into its convolution, as it is for LRP). The walk starts from 1, and from the class: in its last
    layer ± is +.

    Where all inputs are >= 0 and units are rectified this is the published rule,
    :math:`P_i = x_i \sum_j w^+_{ij} P_j / \sum_{i'} w^+_{i'j} x_{i'}`. Where values have both signs (linear
    bottlenecks, SiLU, GELU, sums of branches) the published rule's denominators change sign and it grows without
    bound; there the walk goes on to what drives a unit to the side of 0 where it is. What counts as z_j's sign is
    what its readers see, behind norms and activations (`relprop.tracing.Site.below`). Shares lie in [0, 1] and
    sum to 1 everywhere, so that the walk stays a probability.

    Source: Zhang et al. 2016, eq. 3 and alg. 1; the form for both signs is ours (zennit's z+ for signed inputs
    follows + everywhere). Shapes: that of the value there, (N, C, ...). Never negative. The total is 1 per sample
    and target wherever the walk is stopped, less what the ledger lists as lost (at units that have no input on
    their side, active through their bias alone) and what passes the stop by on other branches.

    Args:
        at: module path or node where the walk ends (the value *behind* that module), "input" for the
            input itself. None: the lowest value that every path crosses and that the graph proves to be
            >= 0, most often the first ReLU; the input where there is none.
        clamp_input: the published rule with max(x, 0) for the inputs of layers.
        add: shares at sums: "own" (t_k^± / sum t^±), "value" (t_k / sum t, as in the published code; without bound
            where terms differ in sign), "positive" (t_k^+ / sum t^+) or "absolute".
        released: layers and average pools as the published code computes them, with inputs as they are. That code
            is this with ``add="value"``.

    Raises:
        UnknownNameError: no such place.
        InputError: the place is not on the way, an unknown word, or shares that overflowed (`released`).

    Warns:
        RelpropWarning: with `released`, an operator on the way reads values that may be negative.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> net[0].weight.data, net[2].weight.data = torch.eye(2), torch.tensor([[1.0, 2.0]])
    >>> e = relprop.explain(net, torch.tensor([[4.0, 1.0]]), 0, "excitation-backprop")
    >>> e.at, [round(v, 4) for v in e.relevance[0].tolist()]  # 4 : 2
    ('1', [0.6667, 0.3333])
    """

    name = "excitation-backprop"
    takes = frozenset({"region"})
    summary = "Excitation backprop: winner-take-all walk through positive weights; totals 1 where it stops"

    def __init__(
        self,
        *,
        at: str | None = None,
        clamp_input: bool = False,
        add: Shares = "own",
        released: bool = False,
    ) -> None:
        check_choice("add", add, _SHARES)
        check_flag("clamp_input", clamp_input)
        check_flag("released", released)
        self.at, self.clamp_input = place_name("at", at), clamp_input
        self.add, self.released = add, released

    def as_composite(self) -> Composite:
        """The composite that relevance is carried with."""
        return _excitation(self)

    def explain(self, request: Request) -> Result:
        stop, at = _stop(request.trace, self.at)
        run = request.propagate(request.seed("one"), self.as_composite(), stop=stop)
        return _checked(Result.of(run, at), self)


class ContrastiveExcitationBackprop(Method):
    r"""Contrastive excitation backprop (c*EB): what leads to this class and not to its opposite.

    Two walks go down to the contrast layer: p from the class, q from its dual, whose weights in the last
    linear operator have the other sign. Their difference goes on:

    .. math:: p = \frac{a ⊙ w_t^+}{\sum a ⊙ w_t^+}, \quad q = \frac{a ⊙ (-w_t)^+}{\sum a ⊙ (-w_t)^+},
        \quad d = p - q

    (at the default contrast layer, with activations a), then d follows excitation backprop to `at`.

    Source: Zhang et al. 2016, sec. 3.3; layers and order as in the published PyTorch code. Shapes: that of
    the value there, (N, C, ...); `layers` between the two places.

    The relevance here is the signed difference itself, **not clamped**: its total is 0 wherever it is
    read, p and q each total 1 (a walk with nowhere to go is empty: a class without negative weights has
    no opposite). The published maps draw :math:`\max(0, \sum_c R)`:
    ``e.relevance.sum(1).clamp(min=0)``.

    Args:
        at: see `ExcitationBackprop`.
        contrast_at: module path or node at which p and q are subtracted. None: the input of the last
            linear operator (the ReLU in front of VGG's last product, the pooled features of a ResNet).
        clamp_input, add, released: see `ExcitationBackprop`.

    Raises:
        UnknownNameError: no such place.
        InputError: several last linear operators and no `contrast_at`, or an `at` that isn't below it.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3, bias=False), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> net[0].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> net[2].weight.data = torch.tensor([[1.0, 2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[4.0, 1.0]]), 0, "contrastive-excitation-backprop")
    >>> e.at, [round(v, 4) for v in e.relevance[0].tolist()]  # p = (4, 2, 0) / 6, q = (0, 0, 1)
    ('1', [0.6667, 0.3333, -1.0])
    """

    name = "contrastive-excitation-backprop"
    summary = "Contrastive excitation backprop: the class's walk less its dual's; signed, totals 0"

    def __init__(
        self,
        *,
        at: str | None = None,
        contrast_at: str | None = None,
        clamp_input: bool = False,
        add: Shares = "own",
        released: bool = False,
    ) -> None:
        check_choice("add", add, _SHARES)
        check_flag("clamp_input", clamp_input)
        check_flag("released", released)
        self.at, self.contrast_at = place_name("at", at), place_name("contrast_at", contrast_at)
        self.clamp_input, self.add, self.released = clamp_input, add, released

    def explain(self, request: Request) -> Result:
        run = request.trace
        middle = contrast_layer(run.graph) if self.contrast_at is None else run.graph.find(self.contrast_at)
        stop, at = _stop(run, self.at, middle)
        composite = _excitation(self)
        dual = Composite([("last", Negated(_upward(self))), *composite.rules], None, self.name, fuse=False)
        seed = request.seed("one")
        p, q = (request.run(seed, c, stop=middle, ledger=False).relevance for c in (composite, dual))
        walked = request.propagate(p.sub_(q), composite, start=middle, stop=stop)
        return _checked(Result.of(walked, at), self)


def _excitation(method: ExcitationBackprop | ContrastiveExcitationBackprop) -> Composite:
    if method.released:
        rules = [("linear", _upward(method)), *handed_on(Add(method.add))]
        return Composite(rules, None, method.name, fuse=False)
    layers = Excitation(clamp_input=method.clamp_input)
    return Composite(
        [
            ("last", _upward(method)),
            # Behind the last layer, too, the walk asks what speaks for the class, whatever its score's sign.
            (_follows_all_layers, AveragePool("either")),
            (_follows_all_layers, Add("either" if method.add == "own" else method.add)),
            ("linear", layers),
            *handed_on(Add(method.add), average=AveragePool("own")),
        ],
        None,
        method.name,
        fuse=False,
    )


def _upward(method: ExcitationBackprop | ContrastiveExcitationBackprop) -> SharingRule:
    """The rule of the layer that the walk starts from: what raises the class's score, whatever its sign."""
    if method.released or method.clamp_input:
        return Excitation(clamp_input=method.clamp_input, released=method.released)
    return ZPlus()


def _follows_all_layers(place: Place) -> bool:
    return place.kind != "linear" and place.depth >= 1


def _checked(result: Result, method: ExcitationBackprop | ContrastiveExcitationBackprop) -> Result:
    """Say where the published rule's assumption (inputs >= 0) isn't known to hold; refuse what overflowed."""
    plan = result.plan
    if plan is None or method.clamp_input or not method.released:
        return result
    linear = [step.fused.main for step in plan.steps.values() if step.fused.main.kind == "linear"]
    signed = [n for n in linear if not all(m.nonneg for m in n.signals())]
    if not signed:
        return result
    what = (
        f"{method.name} as released assumes inputs >= 0, but {len(signed)} of {len(linear)} convolutions and "
        f"products on its way read values that may be negative (the first: {signed[0].where()})"
    )
    if not bool(torch.isfinite(result.relevance).all()):
        raise InputError(f"{what}, and shares overflowed. Use released=False, or stop earlier (at=...).")
    result.warnings += (f"{what}. Shares there may leave [0, 1]; released=False keeps them inside.",)
    return result


def _stop(run: Trace, stop: str | None, start: Node | None = None) -> tuple[Node, str]:
    """Where the walk ends, and what that place is called."""
    if stop is not None:
        return run.graph.find(stop), stop
    node = _lowest_nonnegative(run, start or run.graph.output)
    return node, label(run.graph, node)


def _lowest_nonnegative(run: Trace, start: Node) -> Node:
    """The first value that every path from the input to `start` crosses and that is proven >= 0.

    The input where there is none that has the input's positions (`resampled`).
    """
    graph = run.graph
    between = {n for n in graph.ancestors([start]) if n.dependent}
    elsewhere = graph.derived(resampled)
    reach = graph.input.index  # the furthest reader of any value so far
    for node in sorted(between, key=lambda n: n.index):
        # Nothing before this node is read behind it: all paths meet here.
        fits = node.nonneg and node not in (graph.input, graph.output) and node not in elsewhere
        if fits and reach <= node.index:
            return node
        reach = max([reach, *(u.index for u in node.users if u in between)])
    return graph.input


def contrast_layer(graph: Graph) -> Node:
    """The input of the last linear operator: where c*EB contrasts by default.

    Raises:
        InputError: the network ends in several linear operators, or has none.
    """
    linear = [n for n in graph.ancestors([graph.output]) if n.kind == "linear" and n.dependent]
    last = [n for n in linear if not (graph.descendants([n]) - {n}) & set(linear)]
    if len(last) != 1:
        names = ", ".join(repr(label(graph, n)) for n in sorted(last, key=lambda n: n.index)) or "none"
        raise InputError(
            f"Expected one last linear operator to contrast at but found {names}. Name the place: contrast_at=..."
        )
    (middle, *_) = last[0].signals()
    return middle
