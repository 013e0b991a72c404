"""RSP: relative sectional propagation, and its contrastive form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice, place_name
from relprop.errors import InputError
from relprop.graph import Node
from relprop.graph.place import label
from relprop.methods.bounds import Bounds, z_box
from relprop.methods.excitation_backprop import ContrastiveExcitationBackprop, contrast_layer
from relprop.methods.facts import Facts
from relprop.methods.feature_map import channel_axis, last_feature_map
from relprop.methods.method import Method, Request, Result
from relprop.propagate.composite import DERIVATIVES, Composite
from relprop.propagate.fallback import handed_on
from relprop.propagate.trace import Trace
from relprop.rules import Add, BatchNorm, Section
from relprop.rules.section import sections

__all__ = ["RSP", "ContrastiveRSP", "Hostile", "Mode", "balanced", "feature_map_at", "sectional"]

Mode = Literal["paper", "released"]
Hostile = str | int | Sequence[int] | None

_CLASSES = 16  # gradient maps made at once
_ROUNDING = 16  # units of rounding below which a difference of maps counts as 0
_TINY = 1e-9  # what the released code adds to its denominators


class RSP(Method):
    r"""Relative sectional propagation: the target in red against hostile classes in blue.

    At the last feature map x the classes' gradient activation maps are compared,

    .. math:: G^c = λ_c \max\Big(0, x_{kp} \frac1Z \sum_{p'} \frac{\partial f_c}{\partial x_{kp'}}\Big),
        \quad F = n \, G^t - \sum_{q=1}^n G^{h_q}

    (λ scales each map to maximum 1; h are the n hostile classes; n = 0: F = G^t). F is purged of
    elements that disagree with the sign of the channel sum at their position, its positive and negative
    sections are balanced 2 : 1, and each is carried down on its own (`relprop.rules.Section`, again with
    purge and balance), with a uniform shift that keeps the total. The input takes z^B.

    **The weights of the layers it passes are never read**: below the feature map, RSP depends on them
    through the activations alone (the layer that sees the input excepted).

    Source: Nam et al. 2021 (AAAI), eqs. 1 to 5; what the paper leaves open is listed on the method's
    page. Shapes: (N, C, *spatial). The total is 1 per sample and target (ratio > 1), -1 where only
    hostile classes remain.

    Args:
        mode: "paper", or "released": as the code that the authors published computes it. That has no
            max(0, .) in G, spreads F's purged channel sum evenly over channels, neither purges nor
            balances below, doesn't shift behind 1 x 1 kernels, loses what sits on a batch norm's input of
            0, and takes the sample's own range for `bounds="auto"`.
        hostile: the classes to compare with, the target left out: None; an index or a list; "predicted":
            those with a score >= 0 (a sigmoid >= 0.5, for multi-label models); "top-5": the five highest
            scores; "asked": the other targets of the call; "all". "auto": "predicted" for models that are
            known to be multi-label (`relprop.methods.Facts`), else None.
        ratio: of the positive to the negative total, >= 1 ("paper" only).
        bounds: box of z^B, see `relprop.DeepTaylor`.
        at: module path or node to start at, (N, C, *spatial). None: the last feature map before
            global pooling or flattening (VGG: the last ReLU).

    Raises:
        InputError: unknown words, hostile classes that don't exist, ratio < 1; no or several last
            feature maps; a place without spatial axes.

    `extras` has "at" (the place) and "hostile" (1 for the classes compared with, (K, N, classes)). Layers
    can be asked for from there down.

    Warns:
        RelpropWarning: a map is zero everywhere (no positive gradient activation is left).

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(4, 2, bias=False))
    >>> net[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    >>> net[3].weight.data = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    >>> e = relprop.explain(net, torch.tensor([[[[2.0, -3.0]]]]), [0, 1], RSP(hostile=[0, 1]))
    >>> e.relevance.flatten(1).tolist(), e.at  # left 2 : -1 right, and the other way round
    ([[2.0, -1.0], [-1.0, 2.0]], 'input')
    """

    name = "rsp"
    summary = (
        "Relative sectional propagation: the target's regions against hostile classes'; signed, totals 1"
    )

    def __init__(
        self,
        *,
        mode: Mode = "paper",
        hostile: Hostile = "auto",
        ratio: float = 2.0,
        bounds: Bounds = "auto",
        at: str | None = None,
    ) -> None:
        check_choice("mode", mode, ("paper", "released"))
        self.mode: Mode = mode
        self.hostile = _checked_hostile(hostile)
        self.ratio, self.bounds, self.at = ratio, bounds, place_name("at", at)
        self._composite = sectional(mode, ratio, bounds, self.name)

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {
            "bounds": "sample" if self.mode == "released" else facts.box or "sample",
            "hostile": "predicted" if facts.multi_label else None,
        }

    def as_composite(self) -> Composite:
        """The composite that relevance is carried with."""
        return self._composite

    def explain(self, request: Request) -> Result:
        node, at = feature_map_at(request.trace, self.at, self.name)
        hostile = hostile_classes(self.hostile, request.scores, request.targets)
        paper = self.mode == "paper"
        compared = _compared(request, node, hostile, rectify=paper)
        seed = balanced(compared, self.ratio) if paper else _spread_evenly(compared, hostile)
        compared_with = (hostile[0] if request.single else hostile).to(torch.int8)
        extras = {"at": at, "hostile": compared_with}
        run = request.propagate(seed, self._composite, start=node)
        return replace(Result.of(run), extras=extras)


class ContrastiveRSP(Method):
    r"""Contrastive RSP: c*EB down to the last feature map, RSP from there.

    The start is the signed difference of contrastive excitation backprop at the last feature map (not
    summed over channels, not clamped; its total is 0), purged and balanced 2 : 1; then as `RSP` in its
    mode "paper". No hostile classes are named: the class is compared with its dual, whose
    weights have the other sign.

    Source: Nam et al. 2021 (AAAI), contrastive form; its supplement is not public, see the method's
    page. Shapes: (N, C, *spatial). The total is 1 per sample and target (ratio > 1).

    Args:
        ratio, bounds: see `RSP`.
        at: see `RSP`. None: where the last feature map lies behind the contrast layer (networks that
            pool scores, such as SqueezeNet), the contrast layer itself.
        contrast_at, add: see `ContrastiveExcitationBackprop`; `add` is for sums above the feature map.

    Raises:
        InputError: see `RSP` and `ContrastiveExcitationBackprop`.

    Warns:
        RelpropWarning: a map is zero everywhere.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(4, 2, bias=False))
    >>> net[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    >>> net[3].weight.data = torch.tensor([[1.0, 1.0, -1.0, -1.0], [0.0, 0.0, 1.0, 1.0]])
    >>> e = relprop.explain(net, torch.tensor([[[[2.0, -3.0]]]]), 0, "contrastive-rsp")
    >>> e.relevance.flatten().tolist()
    [2.0, -1.0]
    """

    name = "contrastive-rsp"
    summary = "Contrastive RSP: c*EB at the last feature map, carried down in sections; signed, totals 1"

    def __init__(
        self,
        *,
        ratio: float = 2.0,
        bounds: Bounds = "auto",
        at: str | None = None,
        contrast_at: str | None = None,
        add: Literal["own", "value", "positive", "absolute"] = "own",
    ) -> None:
        check_choice("add", add, ("own", "value", "positive", "absolute"))
        self.ratio, self.bounds, self.add = ratio, bounds, add
        self.at, self.contrast_at = place_name("at", at), place_name("contrast_at", contrast_at)
        self._composite = sectional("paper", ratio, bounds, self.name)

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": facts.box or "sample"}

    def as_composite(self) -> Composite:
        """The composite that relevance is carried with."""
        return self._composite

    def explain(self, request: Request) -> Result:
        graph = request.trace.graph
        node, at = feature_map_at(request.trace, self.at, self.name)
        middle = contrast_layer(graph) if self.contrast_at is None else graph.find(self.contrast_at)
        if self.at is None and node not in graph.ancestors([middle]):
            # Networks that pool scores (SqueezeNet): the last feature map lies behind the contrast.
            node, at = feature_map_at(request.trace, middle.name, self.name)[0], label(graph, middle)
        above = ContrastiveExcitationBackprop(at=node.name, contrast_at=self.contrast_at, add=self.add)
        contrast = above.explain(replace(request, layers=(), release=False))
        run = request.propagate(balanced(contrast.relevance, self.ratio), self._composite, start=node)
        return replace(Result.of(run), extras={"at": at}, warnings=contrast.warnings)


def sectional(mode: Mode, ratio: float, bounds: Bounds, name: str) -> Composite:
    """Sections in every layer, z^B at the input; sums by positive parts, everything else hands on."""
    return Composite(
        [
            ("first", z_box(bounds)),
            ("linear", Section(mode, ratio)),
            *handed_on(Add("positive"), BatchNorm("identity" if mode == "paper" else "proportional")),
        ],
        None,
        name,
        fuse=False,
    )


def hostile_classes(hostile: Hostile, output: Tensor, targets: Tensor) -> Tensor:
    """Which classes each target (K, N) is compared with: (K, N, classes) of bool, the target left out.

    Args:
        hostile: see `RSP`.
        output: scores (N, classes, ...); with spatial axes their largest value counts.
        targets: class indices.

    Raises:
        InputError: an index that isn't a class, or more of the top than there are classes.

    >>> scores, targets = torch.tensor([[3.0, -1.0, 2.0, 0.0]]), torch.tensor([[0], [1]])
    >>> hostile_classes("predicted", scores, targets).int().tolist()
    [[[0, 0, 1, 1]], [[1, 0, 1, 1]]]
    >>> hostile_classes("top-2", scores, targets).int().tolist()
    [[[0, 0, 1, 0]], [[1, 0, 1, 0]]]
    >>> hostile_classes("asked", scores, targets).int().tolist()
    [[[0, 1, 0, 0]], [[1, 0, 0, 0]]]
    """
    hostile = _checked_hostile(hostile)
    scores = output if output.ndim == 2 else output.flatten(2).amax(-1)
    n, classes = scores.shape
    chosen = torch.zeros(n, classes, dtype=torch.bool, device=scores.device)
    if hostile == "auto":  # no facts were asked
        hostile = None
    if hostile == "all":
        chosen.fill_(True)
    elif hostile == "predicted":
        chosen = scores >= 0
    elif hostile == "asked":
        chosen.scatter_(1, targets.T, True)
    elif isinstance(hostile, str):
        count = int(hostile.removeprefix("top-"))
        if count > classes:
            raise InputError(f"Expected hostile='top-k' with k from 1 to {classes} but got {hostile!r}.")
        chosen.scatter_(1, scores.topk(count, 1).indices, True)
    elif hostile is not None:
        bad = [c for c in hostile if not 0 <= c < classes]
        if bad:
            raise InputError(f"Expected hostile classes from 0 to {classes - 1} but got {bad[0]}.")
        chosen[:, hostile] = True
    return chosen.expand(len(targets), n, classes).scatter(2, targets[..., None], False)


def _checked_hostile(hostile: Any) -> str | list[int] | None:
    if hostile is None or (isinstance(hostile, str) and hostile in ("auto", "predicted", "asked", "all")):
        return hostile
    if isinstance(hostile, str) and re.fullmatch("top-[1-9][0-9]*", hostile):
        return hostile
    if isinstance(hostile, Tensor):
        hostile = hostile.tolist()
    if hasattr(hostile, "__index__") and not isinstance(hostile, bool):
        hostile = [hostile]
    if isinstance(hostile, (list, tuple, range, set, frozenset)) and all(
        hasattr(c, "__index__") and not isinstance(c, bool) for c in hostile
    ):
        return sorted({int(c) for c in hostile})
    raise InputError(
        "Expected hostile to be None, 'predicted', 'asked', 'all', 'top-k' (such as 'top-5') or class indices "
        f"but got {hostile!r}."
    )


def feature_map_at(run: Trace, start: str | None, name: str) -> tuple[Node, str]:
    """The feature map to start at, and what it is called."""
    node = last_feature_map(run) if start is None else run.graph.find(start)
    value = run.stored(node)
    if not isinstance(value, Tensor) or value.ndim < 3:
        got = tuple(value.shape) if isinstance(value, Tensor) else "a list"
        raise InputError(
            f"Expected a feature map (N, C, *spatial) for {name} to start at but {node.name!r} is {got}. "
            "Name a place before the flattening or the pooling's squeeze."
        )
    if channel_axis(run, node) != 1:
        raise InputError(
            f"Expected a feature map (N, C, *spatial) for {name} to start at but {node.name!r} is "
            f"{tuple(value.shape)} with channels last. Name a place whose channels are axis 1."
        )
    return node, label(run.graph, node) if start is None else start


def _compared(request: Request, node: Node, hostile: Tensor, *, rectify: bool) -> Tensor:
    """F = n G^t - sum of G^h over hostile classes (n = 0: G^t), (K, N, C, *spatial) at `node`."""
    run, targets = request.trace, request.targets
    value = run.value(node)
    count = hostile.sum(-1, keepdim=True)
    weights = -hostile.to(value)
    weights.scatter_(2, targets[..., None], count.clamp(min=1).to(value))
    needed = weights.flatten(0, 1).any(0).nonzero()[:, 0]
    total = value.new_zeros(len(targets), *value.shape)
    terms = torch.zeros_like(total) if rectify and bool(count.any()) else None
    output = request.output
    for classes in needed.split(_CLASSES):
        seed = output.new_zeros(len(classes), *output.shape)
        seed[torch.arange(len(classes), device=classes.device), :, classes] = 1
        walked = request.run(seed, DERIVATIVES, through_head=True, stop=node, multiplier=True, ledger=False)
        slope = walked.relevance
        maps = slope.flatten(3).mean(-1).reshape(*slope.shape[:3], *[1] * (value.ndim - 2)) * value
        if rectify:
            maps = maps.clamp_(min=0)
            peak = maps.flatten(2).amax(-1)
            peak = peak.masked_fill_(peak == 0, 1)
        else:
            peak = maps.flatten(2).amax(-1) + _TINY
        maps /= peak.reshape(*peak.shape, *[1] * (value.ndim - 1))
        some = weights.index_select(2, classes)
        total += torch.einsum("knc,cn...->kn...", some, maps)
        if terms is not None:
            terms += torch.einsum("knc,cn...->kn...", some.abs(), maps)
    if terms is not None:
        # Maps of two classes may be equal (one active channel); balancing would blow up what is left.
        total.masked_fill_(total.abs() <= terms * (_ROUNDING * torch.finfo(total.dtype).eps), 0)
    return total


def balanced(part: Tensor, ratio: float) -> Tensor:
    """Purged, and balanced to a total of 1 (of 1 each for ratio 1): (K, N, C, *spatial)."""
    return sections(part, ratio, part.new_ones(part.shape[:2], dtype=torch.float64))[0]


def _spread_evenly(part: Tensor, hostile: Tensor) -> Tensor:
    r"""The start of the released code where classes are compared, (K, N, C, *spatial).

    With :math:`P = \max(F, 0)` and :math:`M = \max(-F, 0)`, every channel of a position gets the same:

    .. math:: s = \sum_k \frac{P}{\sum P} - \frac{M}{\sum M + 10^{-9} \max M}, \quad
        R = \frac1C \Big( \frac{2 s^+}{\sum s^+ + 10^{-9}} - \frac{s^-}{\sum s^- + 10^{-9}} \Big)
    """

    def over(t: Tensor, denominator: Tensor) -> Tensor:
        safe = denominator.masked_fill(denominator == 0, torch.inf)
        return t / safe.reshape(*safe.shape, *[1] * (t.ndim - 2))

    up, down = part.clamp(min=0), (-part).clamp_(min=0)
    up = over(up, up.flatten(2).sum(-1))
    down = over(down, down.flatten(2).sum(-1) + _TINY * down.flatten(2).amax(-1))
    s = (up - down).sum(2, keepdim=True)
    a, b = s.clamp(min=0), s.clamp(max=0)
    even = over(2 * a, a.flatten(2).sum(-1) + _TINY) - over(b, b.flatten(2).sum(-1) + _TINY)
    compared = hostile.any(-1).reshape(*hostile.shape[:2], *[1] * (part.ndim - 2))
    return torch.where(compared, (even / part.shape[2]).expand_as(part), part)
