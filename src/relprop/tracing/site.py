"""Site: what a rule sees of one operator in one trace."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from copy import copy
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from relprop.errors import UnsupportedOperatorError
from relprop.graph import Node
from relprop.graph.fusion import Fused
from relprop.tracing.account import Account
from relprop.tracing.flow import Flow
from relprop.tracing.ledger_sums import root_mean_square, totals
from relprop.tracing.linear_map import LinearMap
from relprop.tracing.masks import below
from relprop.tracing.memory import compact
from relprop.tracing.values import Values
from relprop.tracing.window import Window

__all__ = ["Site"]


class _HasSize(Protocol):
    @property
    def size(self) -> int: ...


_Sized = TypeVar("_Sized", bound=_HasSize)


class Site:
    """One step of a walk, its values, and the arithmetic that rules share.

    Attributes:
        trace: the values of the forward run.
        fused: the operators that are one step here.
        node: the operator whose arguments count (of convolution + batch norm the batch norm).
        signals: operands that relevance goes to, in the order in which a rule returns parts.
        account: where a rule books what it absorbed.
        output: the node whose value is `y`.
    """

    def __init__(
        self,
        trace: Values,
        fused: Fused,
        signals: Sequence[Node],
        account: Account,
        output: Node | None = None,
    ) -> None:
        self.trace = trace
        self.fused = fused
        self.node = fused.last
        self.signals = tuple(signals)
        self.account = account
        self.output = output or fused.end
        self._linear: LinearMap | None = None
        self._y: Tensor | None = None
        self._rms: Tensor | None = None
        self._inside: Window | None = None
        self._cut: Callable[[Tensor], Tensor] | None = None

    def block(self, cut: slice, linear: LinearMap) -> Site:
        """The same site with some of its outputs only (matrix products: the last dimension)."""
        self.rms()
        account = Account(self.account.enabled, self.account.per_sample)
        part = Site(self.trace, self.fused, self.signals, account, self.output)
        part._linear, part._y, part._rms = linear, self.y[..., cut], self._rms
        part._cut = lambda value: value[..., cut]
        return part

    def within(self, window: Window) -> tuple[Site, Window] | None:
        """The same convolution confined to a window of its outputs, and the window of its input.

        None for operators other than plain convolutions.
        """
        found = self.linear.within(window, self.x.shape[2:])
        if found is None:
            return None
        part = copy(self)
        part._linear, part._inside = found
        part._y = compact(window.crop(self.y))
        part._cut = window.crop
        return part, found[1]

    def rms(self) -> Tensor:
        """Root mean square of the output (behind a ReLU that alone reads it) per sample, (N, 1, ...)."""
        if self._rms is None:
            own, behind = self.trace.stored(self.node), self.trace.rectified(self.node)
            y = self.trace.value(behind)
            axis, there = self.node.batch_axis, behind.batch_axis
            if axis is None or there is None:
                self._rms = root_mean_square(y[None]).reshape([1] * own.ndim)
            else:
                rows = y.movedim(there, 0) if there else y
                if len(rows) != own.shape[axis]:
                    rows = own.movedim(axis, 0)
                self._rms = root_mean_square(rows).reshape([-1 if i == axis else 1 for i in range(own.ndim)])
        return self._rms

    @property
    def whole(self) -> bool:
        """Whether this is all of the operator, not a block or a window of its outputs."""
        return self._cut is None

    def sum(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """A sum over the operator's terms that doesn't depend on relevance: a tensor that may be overwritten.

        Where several walks go through the trace it is computed for the first of them alone (`Shared`).

        Args:
            name: what is summed, such as "z+"; equal names mean equal sums, whichever rule asks.
            compute: gives it, shaped like the output.
        """
        shared = self.trace.shared
        # A map with a cache of its own isn't the network's: a block of it, or its weights with another sign.
        if shared is None or not self.whole or self.linear.cache is not self.trace.graph.weights:
            return compute()
        return shared.sum((name, *self.fused.nodes[:-1]), compute)

    def kept(self, key: Hashable, compute: Callable[[], _Sized]) -> _Sized:
        """What doesn't depend on relevance and isn't overwritten; kept where several walks go through the trace.

        Args:
            key: the rule's, and what else it depends on.
            compute: makes it; its `size` says how many bytes it holds.
        """
        shared = self.trace.shared
        if shared is None or not self.whole:
            return compute()
        key = ("kept", key, self.fused.nodes, self.signals, self.output)
        found: _Sized | None = shared.get(key)
        if found is None:
            found = compute()
            shared.keep(key, found, found.size)
        return found

    @property
    def x(self) -> Tensor:
        """Value of the first operand that relevance goes to: (N, C, *spatial)."""
        return self.input(0)

    def input(self, i: int) -> Tensor:
        """Value of operand i."""
        value = self.trace.value(self.signals[i])
        return value if self._inside is None else compact(self._inside.crop(value))

    @property
    def y(self) -> Tensor:
        """The output that relevance is shared out over: (N, C, *spatial).

        It is the ReLU's where one belongs to the step, but for relevance that isn't in proportion to it:
        that may sit on a unit which the ReLU switched off, and is shared out over what was before it.
        """
        if self._y is None:
            self._y = self.trace.value(self.output)
        return self._y

    def below(self) -> Tensor | None:
        """1 where the output stands below 0 for those who read it, 0 elsewhere, shaped like `y`; None: nowhere.

        What counts is the sign behind the batch norms, norms and rising activations that alone read it, one after
        another: rules of positive parts hand relevance on there as it is.
        """
        node = self.output
        while not node.nonneg and (after := _handed_to(node)) is not None:
            node = after
        if node.nonneg:
            return None
        value = self.trace.value(node)
        value = value if self._cut is None else self._cut(value)
        return None if bool(value.amin() >= 0) else below(value)

    @property
    def nonneg(self) -> bool:
        """Whether the graph proves every operand that relevance goes to to be >= 0."""
        return all(n.nonneg for n in self.signals)

    @property
    def linear(self) -> LinearMap:
        """The convolution or linear map, batch norm included where one follows."""
        if self._linear is None:
            self._linear = LinearMap.of(self.trace, self.fused)
        return self._linear

    def constant(self, value: Any) -> Any:
        """The value of an argument that doesn't depend on the input (a node, or a plain number)."""
        return self.trace.value(value) if isinstance(value, Node) else value

    # The vector-Jacobian product ------------------------------------------------------------------

    def vjp(
        self, part: Any, function: Callable[..., Any] | None = None, at: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Vector-Jacobian product of the operator at its inputs, for each target of `part` (k, N, ...).

        Args:
            part: what to carry back; for operators with several outputs a list with None for holes.
            function: a replacement of the operator, called with the operands that relevance goes to.
            at: other values for those operands.
        """
        with torch.enable_grad():
            values = at or [self.input(i) for i in range(len(self.signals))]
            leaves = [value.detach().requires_grad_() for value in values]
            y = self._call(leaves) if function is None else function(*leaves)
        try:
            return _pull(y, leaves, part)
        except (RuntimeError, NotImplementedError) as error:
            if "not implemented" not in str(error):
                raise
            raise UnsupportedOperatorError(
                f"No rule for {self.node.where()}: PyTorch knows no derivative of it. Pass the part of the model "
                "without it."
            ) from error

    def _call(self, leaves: list[Tensor]) -> Any:
        """The operator, with these tensors for the operands that relevance goes to."""
        signals, following = set(self.signals), iter(leaves)

        def lookup(n: Node) -> Any:
            # One that also lends its shape occurs once more, behind the leaves.
            leaf = next(following, None) if n in signals else None
            return self.trace.value(n) if leaf is None else leaf

        return self.node.run(lookup, _scattered if self.node.op == "as_strided_scatter" else None)

    def multipliers(self, flow: Flow) -> list[Tensor]:
        """A flow over the whole output as multipliers R / y.

        Relevance where the output is 0, or so close to it that sums of R / y overflow, is booked as lost: weights
        of attention underflow, and leave outputs of 1e-43.
        """
        if flow.multiplier:
            return flow.parts
        found = []
        for part, quotient in zip(flow.parts, flow.multipliers(self.y).parts, strict=True):
            gone = self.y == 0
            precision = torch.finfo(quotient.dtype)
            most = precision.max * precision.eps
            if not bool(torch.linalg.vector_norm(quotient, torch.inf) <= most):
                overflows = (quotient.abs() > most) & part.isfinite()
                gone = gone | overflows
                quotient.masked_fill_(overflows, 0)
            self.book("lost", part * gone)
            found.append(quotient)
        return found

    # Accounts ---------------------------------------------------------------------------------------

    def book(self, column: str, part: Tensor, factor: float = 1.0) -> None:
        """Book the sum of `factor * part` (k, N, ...) in a column of the ledger."""
        if self.account.enabled:
            self.account.book(column, totals(part) * factor)

    def book_beyond_tangent(self, part: Tensor, backs: Sequence[Tensor]) -> None:
        """Book as bias what gradient times input leaves of the output: the constant of its tangent.

        Args:
            part: multipliers of the output, (k, N, ...).
            backs: `vjp` of them at each input. An infinite input (a masked score) has none.
        """
        self.book("bias", part * self.y)
        for i, back in enumerate(backs):
            x = self.input(i)
            self.book("bias", back * torch.where(torch.isfinite(x), x, 0), factor=-1.0)

    def book_bias(self, message: Tensor, bias: Tensor | None, factor: float = 1.0) -> Tensor | None:
        """Book what the bias absorbs: factor * sum_j s_j b_j, with s (k, N, ...) and b (out,).

        Returns the sums of s over positions, (k, N, out) float64, where they were taken for it.
        """
        if bias is None or not self.account.enabled:
            return None
        if bias.ndim > 1:  # a batch norm in front of a padded convolution: a bias for every position
            self.book("bias", message * bias, factor)
            return None
        if self.linear.conv is None:
            found = message.reshape(*message.shape[:2], -1, message.shape[-1]).sum(2).double()
        else:
            found = (message.sum(tuple(range(3, message.ndim))) if message.ndim > 3 else message).double()
        absorbed = found @ bias.double()
        self.account.book("bias", absorbed if factor == 1 else absorbed * factor)
        return found


def _handed_to(node: Node) -> Node | None:
    """The norm or rising activation that alone reads a value, or None."""
    after = node.users[0] if len(node.users) == 1 else None
    if after is None or after.kind not in _HANDS_ON or after.op in _BENDS or after.signals() != [node]:
        return None
    return after


_HANDS_ON = frozenset({"batch_norm", "norm", "activation", "pass"})
_BENDS = frozenset("abs square pow sin cos tan native_layer_norm".split())
"""Functions that fall somewhere, and one that returns several values."""


def _scattered(
    x: Tensor, part: Tensor, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Tensor:
    """`as_strided_scatter` with the right derivative: PyTorch's own gives what was written over, not the rest."""
    y = x.clone()
    y.as_strided(size, stride, offset).copy_(part)
    return y


def _pull(y: Any, leaves: list[Tensor], part: Any) -> list[Tensor]:
    """Gradients of y at the leaves for each target, (k, *leaf) each."""
    several = isinstance(y, (list, tuple))
    if not any(
        out.requires_grad for out in (y if several else [y])
    ):  # steps: nothing depends on the operands
        count = len(next(p for p in part if p is not None) if several else part)
        return [x.new_zeros(count, *x.shape) for x in leaves]
    if several:
        pairs = [(out, p) for out, p in zip(y, part, strict=True) if p is not None]
        outs = [out for out, _ in pairs]
        count = pairs[0][1].shape[0]
        rows = [[p[k] for _, p in pairs] for k in range(count)]
    else:
        outs = [y]
        count = len(part)
        rows = [[part[k]] for k in range(count)]
    pulled = []
    for k, row in enumerate(rows):
        grads = torch.autograd.grad(outs, leaves, row, retain_graph=k + 1 < count, allow_unused=True)
        pulled.append([torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves, strict=True)])
    if count == 1:
        return [g[None] for g in pulled[0]]
    return [torch.stack(gs) for gs in zip(*pulled, strict=True)]
