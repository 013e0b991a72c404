"""Contrastive Relevance Propagation (CRP), for detectors and classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from relprop.checks import check_choice, check_flag
from relprop.errors import InputError
from relprop.graph import Node
from relprop.methods.bounds import Bounds, z_box
from relprop.methods.method import Method, Request, Result
from relprop.propagate.composite import Composite, Match
from relprop.propagate.layout import Layout
from relprop.propagate.plan import places_of
from relprop.rules import MaxPool, Rule, ZPlus
from relprop.rules.signed_heads import Switch

__all__ = ["CRP"]


class CRP(Method):
    r"""Contrastive Relevance Propagation: what speaks for this output unit rather than for the others.

    With :math:`R[u]` the relevance that starts at output unit u alone and :math:`k^*` the target class,

    .. math:: \text{class: } Q = R[k^*] - \frac{1}{K-1} \sum_{k \neq k^*} R[k], \qquad
        \text{offset } o \text{: } Q = R[o] - \frac{1}{K} \sum_k R[k],

    the k being the class units of the same anchor. A unit's relevance crosses the head by w+ (w- for an
    offset with a negative value, so that what pushed it the way it went is red either way), and every
    layer below by w+. Both rules are linear in relevance, so the contrast could be taken in the seed.

    What w+ loses on the way (units that are active through their bias alone) it doesn't lose equally from
    both sides of the contrast, and where much is lost, the difference shows nothing but that. So each
    side is scaled at the input to the total that it started with (``balance``, ours); where nothing is
    lost that changes nothing. ``e.extras["survived"]`` (N, 2), K in front for a list, has the share of the
    target's relevance and of the others' that arrived.

    On a `relprop.detectors.DetectionUnit` a target is a class, an offset or the objectness (which
    is treated as an offset, but always takes w+) at one of its anchors. On any other model it is a class,
    and the contrast is taken at the last linear operator.

    A score s of several box units v_o (a callable: an edge of the box, the mean of a distribution) is ours. What
    unit o added to it is, to first order, :math:`s_o = v_o ∂s/∂v_o`, and each unit is explained as an offset is:

    .. math:: Q = \operatorname{sign}\Big(\sum_o s_o\Big) \sum_o \frac{s_o}{\sum_{o'} |s_{o'}|} Q[o]

    so that red is what moved the score the way it went, and one offset alone is the published Q[o]. A score of
    several classes starts as its slopes, and is contrasted with the classes that it doesn't read; a class
    against another (`versus`) has nothing to subtract.

    Source: Tsunakawa et al. 2019 (IJCNN). This is not Concept Relevance Propagation. Shapes:
    (N, C, *spatial), and the layers' own, where relevance is as it arrives, not scaled. With
    ``seed="one"`` the total is 0 (without balance: but for what the ledger lists as lost).

    Args:
        include_background: whether the background counts among the K classes.
        seed: what each unit starts with: "one"; "logit", its own raw value; "softmax", for classes
            their probability (at the anchor), for the rest 1.
        bounds: None: w+ on signed products at the input; or the box of z^B, see `relprop.DeepTaylor`.
        ties: "first" or "share", what equal maxima of a pool do (`relprop.rules.MaxPool`).
        balance: make up for lost relevance; False is the published formula as it stands. Has no effect with
            ``seed="logit"``, whose totals may be of either sign.

    Raises:
        InputError: an unknown word or bad bounds; a model without background under
            ``include_background=False``; no other class to contrast with.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 3, bias=False)
    >>> net.weight.data = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0]])
    >>> e = relprop.explain(net, torch.ones(1, 2), 0, "crp")  # (1, 0) - ((1/2, 1/2) + (1/4, 3/4)) / 2
    >>> e.relevance.tolist()
    [[0.625, -0.625]]
    """

    name = "crp"
    summary = "Contrastive Relevance Propagation: a class or box offset against the mean of the classes"
    contrasts = True
    pushes = True
    takes = frozenset({"score", "versus"})
    reading = (
        "Each map is a contrast: the class against the mean of the other classes; an offset against the "
        "mean of all classes, red for what moved the box the way it went."
    )

    def __init__(
        self,
        *,
        include_background: bool = True,
        seed: Literal["one", "logit", "softmax"] = "one",
        bounds: Bounds | None = None,
        ties: Literal["first", "share"] = "first",
        balance: bool = True,
    ) -> None:
        check_choice("seed", seed, ("one", "logit", "softmax"))
        self.include_background, self.seed, self.bounds, self.ties = include_background, seed, bounds, ties
        check_flag("include_background", include_background)
        check_flag("balance", balance)
        self.balance = bool(balance)
        first: list[tuple[Match, Rule]] = [] if bounds is None else [("first", z_box(bounds))]
        self._rules: list[tuple[Match, Rule]] = [*first, ("linear", ZPlus()), ("max_pool", MaxPool(ties))]

    def explain(self, request: Request) -> Result:
        output, layout = request.logits, request.layout
        units = output.reshape(len(output), layout.anchors, layout.width, *output.shape[2:])
        asked = _asked(request, units)
        counts = self._counted(layout).to(output.device)  # (width,)
        number = self._others(counts, asked, layout)  # (K, N)

        def spread(seed: Tensor) -> Tensor:  # to spatial axes
            return seed.reshape(*seed.shape, *[1] * (output.ndim - 2))

        starts = self._starts(units, layout.classes)
        rules = self._rules
        boxes = slice(layout.classes, layout.classes + len(layout.offsets))
        reads = asked.weights[:, :, :, boxes] != 0
        if bool(reads.any()):
            negative = torch.zeros_like(units, dtype=torch.bool)
            negative[:, :, boxes] = reads.any(0) & (units[:, :, boxes] < 0)
            if bool(negative.any()):
                rules = [("last", Switch(_at_heads(request, negative.reshape(output.shape)))), *rules]
        composite = Composite(rules, "positive", name="CRP")
        there = spread(_marks(asked.anchor, layout.anchors)[..., None].to(output.dtype))  # (K, N, D, 1, ...)
        if not self.balance or self.seed == "logit":
            others = there * spread((counts & ~asked.reads).to(output.dtype)[:, :, None]) * starts
            share = spread((asked.total / number)[:, :, None, None].to(output.dtype))
            seed = asked.weights * starts - share * others
            return Result.of(request.propagate(seed.reshape(-1, *output.shape), composite))
        # One row a target (two where its units pull both ways), one an anchor for the sum of its classes, which
        # its targets share, and one a target that reads other than one class once, for the sum of the others.
        every = _marks(torch.arange(layout.anchors, device=output.device), layout.anchors)
        target = asked.weights * starts
        against = (target < 0).flatten(1).any(1).nonzero()[:, 0]
        classes = spread((every[:, None, :, None] & counts).to(output.dtype)) * starts
        read = asked.reads.sum(-1)
        plain = (read == 0) | ((read == 1) & (asked.total == 1)) | (asked.total == 0)
        mixed = (~plain).any(-1).nonzero()[:, 0]
        rest = there[mixed] * spread((counts & ~asked.reads[mixed]).to(output.dtype)[:, :, None]) * starts
        seed = torch.cat([target.clamp(min=0), -target[against].clamp(max=0), rest, classes])
        seed = seed.reshape(-1, *output.shape)
        run = request.propagate(seed, composite)
        counted = (asked.reads & counts).any(-1)
        pair = _Pair(len(target), against, mixed, asked.anchor, counted, number, asked.total)
        began = pair.sides(request.turned(seed))
        arrived = pair.sides(run.relevance)
        sides, survived = zip(*(_restored(a, b) for a, b in zip(arrived, began, strict=True)), strict=True)
        layers = {name: pair.less(*pair.sides(r)) for name, r in run.layers.items()}
        share = torch.stack([pair.joined(survived[0], survived[1], began), survived[2]], -1)
        extras = {
            "survived": share[0] if request.single else share,
            "ledger_of": "the target and the sum of its anchor's classes, before one is subtracted",
        }
        return Result(pair.less(*sides), layers, run.plan, run.ledger, extras=extras)

    def _counted(self, layout: Layout) -> Tensor:
        """Which columns are classes that a target may be contrasted with, (width,)."""
        counts = torch.arange(layout.width) < layout.classes
        if not self.include_background:
            if layout.background is None:
                raise InputError(
                    "Expected a detector with a background class for include_background=False but this model "
                    "has none. Leave the setting out, or name the background in the layout."
                )
            counts[layout.background] = False
        return counts

    def _others(self, counts: Tensor, asked: _Asked, layout: Layout) -> Tensor:
        """How many classes each target is contrasted with, (K, N); 1 where nothing is to be subtracted."""
        number = (counts & ~asked.reads).sum(-1)
        if bool(((number == 0) & (asked.total != 0)).any()):
            raise InputError(
                f"Expected another class to contrast with but of {layout.classes} classes"
                f"{'' if self.include_background else ' (one of them the background)'} none is left for "
                f"{self.name}. Take a method without contrast, such as 'deep-taylor'."
            )
        return number.clamp(min=1)

    def _starts(self, units: Tensor, classes: int) -> Tensor:
        """What each unit starts with, (N, D, width, *spatial)."""
        if self.seed == "logit":
            return units
        starts = torch.ones_like(units)
        if self.seed == "softmax":
            starts[:, :, :classes] = units[:, :, :classes].softmax(2)
        return starts


@dataclass(frozen=True)
class _Asked:
    """What the targets read of the units.

    Attributes:
        weights: what each unit's start is multiplied by, (K, N, D, width, *spatial).
        reads: the classes that a target reads, (K, N, width).
        anchor: at which anchor, (K, N).
        total: sum of the weights, (K, N): how often the mean of the other classes is subtracted.
    """

    weights: Tensor
    reads: Tensor
    anchor: Tensor
    total: Tensor


def _asked(request: Request, units: Tensor) -> _Asked:
    """Read a question: one unit a target, or a score of several classes or of one box's units."""
    layout = request.layout
    classes = torch.arange(layout.width, device=units.device) < layout.classes
    if request.asked.kind == "class":
        anchor, column = request.targets // layout.width, request.targets % layout.width
        own = _marks(column, layout.width)
        mark = _marks(anchor, layout.anchors)[..., None] & own[:, :, None]
        weights = mark.to(units.dtype).reshape(*mark.shape, *[1] * (units.ndim - 3))
        return _Asked(weights, own & classes, anchor, torch.ones_like(anchor, dtype=units.dtype))
    slopes = request.ones().reshape(-1, *units.shape)
    if slopes.ndim > 4:
        raise InputError(
            f"Expected outputs (N, units) for a callable under {CRP.name} but they have spatial axes: "
            f"{tuple(request.output.shape)}. Pool them, or pass classes."
        )
    read = slopes != 0  # (K, N, D, width)
    box = (read & ~classes).flatten(2).any(-1)
    if bool((read.any(-1).sum(-1) > 1).any()) or bool((box & (read & classes).flatten(2).any(-1)).any()):
        raise InputError(
            f"Expected a callable of classes, or of one anchor's box, for {CRP.name}, which contrasts it with the "
            "mean of that anchor's classes, but it reads both or several anchors. Ask for one at a time."
        )
    # What each unit of a box added; units that are all 0 moved nothing, and count by their slopes.
    offsets = slice(layout.classes, layout.classes + len(layout.offsets))
    added = slopes.clone()
    added[..., offsets] *= units[..., offsets]
    added = torch.where((added != 0).any(-1, keepdim=True).any(-2, keepdim=True), added, slopes)
    total = added.sum((-1, -2))
    size = added.abs().sum((-1, -2))
    scale = torch.where(box & (size > 0), torch.where(total < 0, -1.0, 1.0).to(size) / size, 1.0)
    anchor = read.any(-1).to(torch.int64).argmax(-1)
    return _Asked(added * scale[..., None, None], (read & classes).any(2), anchor, total * scale)


@dataclass(frozen=True)
class _Pair:
    """The two sides of each contrast, from rows for targets (K, M), other classes (E) and sums of classes (D).

    Attributes:
        targets: K.
        against: which of the targets have a second row, of the units that pull against the others, (M,).
        mixed: which of the targets have a row of the other classes, as they read not just one class once, (E,).
        anchor: whose classes a target is contrasted with, (K, N).
        counted: whether the target is one of those classes, (K, N).
        number: how many others there are, (K, N).
        total: how often the others' mean is subtracted, (K, N).
    """

    targets: int
    against: Tensor
    mixed: Tensor
    anchor: Tensor
    counted: Tensor
    number: Tensor
    total: Tensor

    def sides(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """R[target], what pulls against it, and the mean of R over the other classes.

        (K + M + E + D, N, ...) to (K, N, ...), (M, N, ...), (K, N, ...).
        """
        ends = np.cumsum([self.targets, len(self.against), len(self.mixed)]).tolist()
        target, back, rest, classes = rows.tensor_split(ends)
        total = classes[self.anchor, torch.arange(rows.shape[1], device=rows.device)]
        shape = (*self.anchor.shape, *[1] * (rows.ndim - 2))
        others = (total - target * self.counted.reshape(shape)).index_copy_(0, self.mixed, rest)
        return target, back, others.div_(self.number.reshape(shape))

    def joined(self, target: Tensor, back: Tensor, began: Sequence[Tensor]) -> Tensor:
        """The share that arrived of a target's two rows together, (K, N), from the shares of each."""
        sizes = [side.flatten(2).double().sum(-1) for side in began[:2]]
        both = sizes[0].index_add(0, self.against, sizes[1])
        return (target * sizes[0]).index_add(0, self.against, back * sizes[1]) / both.where(both != 0, 1.0)

    def less(self, target: Tensor, back: Tensor, others: Tensor) -> Tensor:
        """The contrast, (K, N, ...)."""
        shape = (*self.total.shape, *[1] * (target.ndim - 2))
        contrast = target - others * self.total.to(others).reshape(shape)
        return contrast.index_add(0, self.against, back, alpha=-1)


def _restored(arrived: Tensor, began: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance scaled to the total it started with, and the share that had arrived; (K, N, ...) and (K, N)."""
    now, then = (side.flatten(2).double().sum(-1) for side in (arrived, began))
    alike = now * then > 0  # both are below 0 for outputs that fall with their logits
    factor = torch.where(alike, then / now, 0.0).to(arrived)
    share = torch.where(alike, now / then, 0.0)
    return arrived * factor.reshape(*factor.shape, *[1] * (arrived.ndim - 2)), share


def _marks(index: Tensor, count: int) -> Tensor:
    """One-hot rows: (K, N) -> (K, N, count) booleans."""
    return index[..., None] == torch.arange(count, device=index.device)


def _at_heads(request: Request, asked: Tensor) -> dict[Node, Tensor]:
    """Which outputs of the last linear operators the given elements of the model's output stand for.

    Between the two are reshapes, permutations and joins (one convolution may make classes and
    offsets), which carry a mark as they carry relevance.
    """
    graph = request.trace.graph
    composite = Composite(otherwise="positive", name="CRP")
    heads = [fused.last for place, fused, _ in places_of(graph, composite, [graph.output]) if place.last]
    first, *more = heads
    run = request.run(asked.to(request.output.dtype), composite, stop=first, record=more, ledger=False)
    found = {first: run.relevance, **{node: run.layers[node.name] for node in more}}
    return {node: marks != 0 for node, marks in found.items() if bool((marks != 0).any())}
