"""Owners: which layers and channels the bias of an affine form belongs to."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.graph import Node
from relprop.rules.gradient import Gradient
from relprop.rules.shape import brings_constants
from relprop.tracing.flow import Flow
from relprop.tracing.linear_map import batch_norm_affine
from relprop.tracing.site import Site

__all__ = ["Kind", "Owner", "Owning"]

Kind = Literal["bias", "batch norm", "saturation", "constant", "bypass", "tangent"]
"""What made the constant: a convolution's or product's bias; a batch norm's shift beta - mean * gamma /
sqrt(var + eps); units that a clamp holds at a constant; added, joined or padded constants; values of a
branch that passes the layer by; in linearisations f(x) - f'(x) x of an operator that isn't affine."""


@dataclass(frozen=True, eq=False)
class Owner:
    r"""What one call of one operator adds to b: sum of (its constant) * (derivative of the score by its output).

    Source: the completeness identity of Srinivas & Fleuret 2019 ("full-gradient"), sec. 3: on piece-wise
    affine networks the implicit biases of all layers add up to b.

    Attributes:
        node: the operator's name in the graph, unique.
        module: the module that ran it; call: which call of the module, from 0.
        operator: plain name, such as "conv2d".
        kind: see `Kind`.
        amount: (N,) or (K, N) float64.
        channels: the amount by channel, (N, C) or (K, N, C) float64; None without channels.
        map: the amount by position, (N, *spatial) or (K, N, *spatial), in the network's precision (its sum
            is the amount up to that); None without positions.
    """

    node: str
    module: str
    call: int
    operator: str
    kind: Kind
    amount: Tensor
    channels: Tensor | None = None
    map: Tensor | None = None


@dataclass
class _Entry:
    """An owner in the making: (k, N, ...) tensors, one for each part of the targets."""

    node: Node
    kind: Kind
    after: Node
    amounts: list[Tensor] = field(default_factory=list)
    channels: list[Tensor] = field(default_factory=list)
    maps: list[Tensor] = field(default_factory=list)

    def made(self, single: bool) -> Owner:
        def joined(parts: list[Tensor]) -> Tensor | None:
            if not parts:
                return None
            whole = torch.cat(parts)
            return whole[0] if single else whole

        node, amount = self.node, joined(self.amounts)
        assert amount is not None
        return Owner(
            node.name,
            node.module,
            node.call,
            node.op,
            self.kind,
            amount,
            joined(self.channels),
            joined(self.maps),
        )


class Owning(Gradient):
    """The derivative's rule, which besides notes what the constant of each operator it crosses adds to b.

    One object belongs to one walk.

    Args:
        moving: nodes that change with the layer; what comes from others passes it by.
        bent: nodes that aren't piece-wise affine (linearisations).
    """

    def __init__(self, moving: Container[Node], bent: Container[Node]) -> None:
        self._moving, self._bent = moving, bent
        self._found: dict[tuple[Node, Node, Kind], _Entry] = {}

    def owners(self, single: bool) -> tuple[Owner, ...]:
        """What was noted, in order of execution; `single` drops the K axis."""
        entries = sorted(self._found.values(), key=lambda e: (e.after.index, e.node.index))
        return tuple(entry.made(single) for entry in entries)

    def cross(self, site: Site, flow: Any) -> list[Any]:
        node = site.node
        self._check(site)
        bent = node in self._bent
        # First: the parts may be overwritten on the way through the operator.
        total = self._values(site, flow, site.y) if bent else None
        if not bent and not isinstance(flow, list):
            self._constant(site, flow)
        outs = super().cross(site, flow)
        for signal, out in zip(site.signals, outs, strict=True):
            passes_by = signal not in self._moving
            if total is not None and not passes_by:
                passed = self._values(site, out, site.trace.value(signal))
                total = [a - b for a, b in zip(total, passed, strict=True)]
            # The other factor of a product is part of W: nothing of it is added.
            if total is None and passes_by and node.kind != "multiply":
                self._entry(signal, "bypass", node).amounts += self._values(
                    site, out, site.trace.stored(signal)
                )
        if total is not None:
            self._entry(node, "tangent", node).amounts += total
        return outs

    def _entry(self, node: Node, kind: Kind, after: Node) -> _Entry:
        # A value that passes by may be read in several places.
        return self._found.setdefault((node, after, kind), _Entry(node, kind, after))

    def _constant(self, site: Site, flow: Flow) -> None:
        """Note the operator's own constant, if it has one."""
        node = site.node
        if node.kind == "linear" and site.linear.bias is not None:
            self._vector("bias", site, flow, site.linear.bias, last=site.linear.conv is None)
        elif node.kind == "batch_norm":
            self._vector("batch norm", site, flow, batch_norm_affine(site.trace, node)[1])
        elif node.kind in ("add", "shape"):
            constant = _at_zero(site)
            if constant is not None:
                self._tensor("constant", site, flow, constant)
        elif node.op in ("maximum", "minimum"):
            if len(site.signals) == 1:
                self._tensor("saturation", site, flow, _rival(site))
        elif node.op in _LIMITS:
            self._tensor("saturation", site, flow, torch.where(_held(site), site.y, 0))

    def _vector(self, kind: Kind, site: Site, flow: Flow, constant: Tensor, *, last: bool = False) -> None:
        """A constant for each channel: (C,), times derivatives (k, N, C, *spatial) or (k, N, ..., C)."""
        entry, n = self._entry(site.node, kind, site.node), site.trace.batch
        for part in flow.parts:
            sums = part if last or part.ndim < 4 else part.flatten(3).sum(-1)
            sums = sums.reshape(part.shape[0], n, -1, len(constant)).sum(2)
            by_channel = sums.double() * constant.double()
            entry.channels.append(by_channel)
            entry.amounts.append(by_channel.sum(-1))
            if part.ndim > 3 and not last and part.shape[1] == n:
                flat = torch.matmul(constant.to(part.dtype), part.flatten(3))
                entry.maps.append(flat.reshape(*part.shape[:2], *part.shape[3:]))

    def _tensor(self, kind: Kind, site: Site, flow: Flow, constant: Tensor) -> None:
        """A constant for each element, (N, C, *spatial)."""
        entry, n = self._entry(site.node, kind, site.node), site.trace.batch
        for part in flow.parts:
            terms = part * constant
            wide = terms.double()
            entry.amounts.append(wide.reshape(part.shape[0], n, -1).sum(-1))
            if part.ndim > 2 and part.shape[1] == n:
                entry.channels.append(wide.flatten(3).sum(-1) if part.ndim > 3 else wide)
                if part.ndim > 3:
                    entry.maps.append(terms.sum(2))

    def _values(self, site: Site, flow: Any, value: Any) -> list[Tensor]:
        """Sum of derivative times value, (k, N) for each part."""
        if isinstance(flow, list):
            sums = [self._values(site, f, v) for f, v in zip(flow, value, strict=True) if f is not None]
            return [torch.stack(s).sum(0) for s in zip(*sums, strict=True)]
        n, wide = site.trace.batch, value.double()
        return [(p.double() * wide).reshape(p.shape[0], n, -1).sum(-1) for p in flow.parts]

    @staticmethod
    def _check(site: Site) -> None:
        if site.trace.batch > 1 and not site.node.per_sample:
            raise InputError(
                f"Expected the samples on axis 0 at {site.node.where()} but the batch is folded into another axis "
                "there. Ask for the owners of one sample at a time."
            )


def _at_zero(site: Site) -> Tensor | None:
    """What an affine operator gives for signals of 0: its constant; None for operators without one."""
    node, signals = site.node, set(site.signals)
    if not (len(signals) == 1 if node.kind == "add" else brings_constants(node)):
        return None
    value: Tensor = site.trace.evaluate(
        node, lambda n: torch.zeros_like(site.trace.stored(n)) if n in signals else site.trace.value(n)
    )
    value = value.masked_fill(torch.isinf(value), 0)  # what is never the maximum adds nothing
    return value if bool(value.any()) else None


def _rival(site: Site) -> Tensor:
    """A maximum with a constant (or minimum): the constant where it wins, half of it where both are equal."""
    a, b = site.node.pair
    c, x = site.constant(b if a is site.signals[0] else a), site.x
    wins = (x < c) if site.node.op == "maximum" else (x > c)
    rival: Tensor = c * (wins.to(x.dtype) + (x == c) / 2)
    return rival


def _held(site: Site) -> Tensor:
    """Where a clamp holds a unit at a constant: its slope is 0 there."""
    low, high, closed = _LIMITS[site.node.op]
    x = site.x
    held = torch.zeros_like(x, dtype=torch.bool)
    for limit, below in ((low, True), (high, False)):
        bound = site.constant(site.node.argument(limit)) if isinstance(limit, str) else limit
        if bound is not None:
            # A clamp's slope at its bounds is 1, that of the others 0.
            held |= (x < bound if closed else x <= bound) if below else (x > bound if closed else x >= bound)
    return held


# The bounds: an argument's name, a number, or None for no bound; whether the slope on them is 1.
_LIMITS: dict[str, tuple[str | float | None, str | float | None, bool]] = {
    "relu6": (0.0, 6.0, False),
    "hardtanh": ("min_val", "max_val", False),
    "clamp": ("min", "max", True),
    "clamp_min": ("min", None, True),
    "clamp_max": (None, "max", True),
    "threshold": ("threshold", None, False),
}
