"""Rule: how relevance crosses one operator. LinearRule: the same for convolutions and products."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar

from torch import Tensor

from relprop.graph import Node
from relprop.graph.place import Place
from relprop.tracing.flow import Flow
from relprop.tracing.site import Site

__all__ = ["LinearRule", "Message", "Rule", "SharingRule"]

Message = Callable[[Tensor, bool, bool], Tensor]
"""(part, multiplier, owned) -> what arrives at the input, for one part (k, N, ...) of the targets."""


class Rule:
    """How relevance crosses one operator.

    Subclasses say which kinds of operator they are for (`kinds`) and write `cross`.

    Attributes:
        kinds: kinds of operator that the rule is for; empty for any.
        sums_arrival: the rule itself tells its account what arrived, in a pass over the data that it makes
            anyway; else the walk sums it.
        weighs_by_output: the rule multiplies multipliers by the operator's output, so that those of units
            which a ReLU behind it switched off need not be set to 0 first; else the walk does that.
        confines: flows may come in a window of the output (`Flow.window`); else they cover it.
        narrows: at a matrix product, flows may come with some of the output's columns only; else they cover it.
    """

    kinds: ClassVar[frozenset[str]] = frozenset()
    sums_arrival: ClassVar[bool] = False
    confines: ClassVar[bool] = False
    narrows: ClassVar[bool] = False

    @property
    def weighs_by_output(self) -> bool:
        """See the class's attributes."""
        return False

    def accepts(self, place: Place) -> bool:
        """Whether the rule can be used at this operator."""
        return not self.kinds or place.kind in self.kinds

    def routes(self, place: Place, node: Node) -> list[Node]:
        """The operands that relevance goes to."""
        return node.signals()

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        """Carry a flow from the operator's output to its operands: one flow each, None where nothing goes."""
        raise NotImplementedError

    @property
    def key(self) -> Hashable:
        """Equal for rules of one class with equal settings, and only for those: they do the same everywhere.

        Settings that aren't plain values count as equal where they are the same object.
        """
        return type(self), tuple((name, _hashable(value)) for name, value in sorted(vars(self).items()))

    def __repr__(self) -> str:
        settings = {k: v for k, v in vars(self).items() if not k.startswith("_")}
        inner = ", ".join(f"{k}={_short(v)}" for k, v in settings.items())
        return f"{type(self).__name__}({inner})"


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Rule):
        return value.key
    if isinstance(value, Tensor):
        if value.numel() > _FEW:
            return id(value)
        return value.shape, value.dtype, value.device, tuple(value.flatten().tolist())
    if isinstance(value, (list, tuple)):
        return tuple(map(_hashable, value))
    return value if isinstance(value, (str, int, float, bool, type(None))) else id(value)


_FEW = 64  # numbers of a tensor up to which settings are compared by value


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor{tuple(value.shape)}"
    return repr(value)


class LinearRule(Rule):
    """A rule for convolutions and matrix products: subclasses write `prepare`.

    Attributes:
        gives_multiplier: messages are multipliers c (R = c * x); False: relevance itself.
        keeps: what `prepare` returns may serve further walks through the same trace, and holds at most so many
            tensors of the output's size and of the input's; 0: it may not. A class that doesn't say so itself
            has 0, whatever it derives from.
    """

    kinds = frozenset({"linear"})
    gives_multiplier: ClassVar[bool] = True
    keeps: ClassVar[int] = 0

    def prepare(self, site: Site) -> Message:
        """Compute what doesn't depend on relevance; return the function that carries one part back."""
        raise NotImplementedError

    def cross(self, site: Site, flow: Flow) -> list[Flow]:
        """See `Rule.cross`. Very large products are walked in blocks of outputs."""
        inside = None
        if flow.window is not None and site.linear.conv is None and len(flow.window.spans) == 1:
            columns = slice(*flow.window.spans[0])
            part = site.block(columns, site.linear.columns(columns))
            found = self.cross(part, Flow(flow.parts, flow.multiplier, flow.owned))
            site.account.merge([part.account])
            return found
        if flow.window is not None:
            confined = site.within(flow.window)
            if confined is None:
                flow = flow.whole()
            else:
                site, inside = confined
        if not site.linear.is_split:
            parts = self._messages(site, flow, flow.parts)
            return [Flow(parts, self.gives_multiplier, window=inside)]
        sums: list[Tensor] = []
        accounts = []
        for cut, linear in site.linear.blocks():
            block = site.block(cut, linear)
            # A slice of an owned part may be overwritten: no other block reads it.
            each = self._messages(block, flow, [p[..., cut] for p in flow.parts])
            sums = each if not sums else [a.add_(b) for a, b in zip(sums, each, strict=True)]
            accounts.append(block.account)
        site.account.merge(accounts)
        return [Flow(sums, self.gives_multiplier)]

    def _messages(self, site: Site, flow: Flow, parts: list[Tensor]) -> list[Tensor]:
        message, widths = self._prepared(site, flow), [p.shape[0] for p in parts]
        found = []
        for i, part in enumerate(parts):
            found.append(message(part, flow.multiplier, flow.owned))
            site.account.close(i, widths)
        return found

    def _prepared(self, site: Site, flow: Flow) -> Message:
        """What `prepare` returns, or what it returned to an earlier walk that came here with the same rule."""
        shared, keeps = site.trace.shared, vars(type(self)).get("keeps", 0)
        own = site.whole and site.linear.cache is site.trace.graph.weights
        if shared is None or not keeps or not own:
            return self.prepare(site)
        key = ("message", self.key, site.fused.nodes, site.signals, site.output, flow.multiplier)
        found: tuple[Site, Message, Rule] | None = shared.get(key)
        if found is not None:
            # It books where the site that it was made for says.
            found[0].account = site.account
            return found[1]
        message = self.prepare(site)
        # What comes is shaped like the output, which itself need not be at hand.
        size = keeps * sum(v.numel() * v.element_size() for v in (site.x, flow.parts[0][0]))
        shared.keep(key, (site, message, self), size)
        return message


class SharingRule(LinearRule):
    """A linear rule that sends everything through a `Quotient`, as all published ones here do.

    The quotient multiplies multipliers by the output anyway, and sums what arrives while it reads it. Rules
    that don't are safe as `LinearRule`s, at the price of two passes over the data.
    """

    sums_arrival = True

    @property
    def weighs_by_output(self) -> bool:
        return True
