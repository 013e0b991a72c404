"""Flow: a ledger as a river, from the score on the left to the input on the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from relprop.errors import InputError
from relprop.viz.canvas import MARGIN, NAME, POINT, SMALL, Canvas, height
from relprop.viz.flow_stages import Accounts, FlowStage, stages_of
from relprop.viz.labels import number
from relprop.viz.text import fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["flow_figure"]

_WIDE, _SCORE, _ENDS, _UNIT, _GAP = 1336, 150, 250, 130, 0.16
_FOR, _AGAINST = "#b3242b", "#0f4ea8"
_SINKS = {"bias": ("biases", "#7d5ba6"), "lost": ("lost", "#8a8a8a"), "stabiliser": ("stabiliser", "#e69f00")}
_LEAST = 5e-4  # of the start: less than a hair on the page
_TALLEST = 6.0  # times the start's height; beyond it the figure shrinks its unit


def flow_figure(
    ledger: Accounts | None, *, stages: int = 12, title: str = "Where the relevance went"
) -> Figure:
    """Draw where the relevance of an explanation went, layer by layer: to the input, to biases, or lost.

    The band starts at the score, as 100 %, and runs back through the network. What ends in a layer leaves it
    downwards; what a layer adds (a bias that speaks against the target, whose share is negative) enters from
    above. What is left arrives at the input: the map's values add up to it. Blue is relevance below zero.

    Args:
        ledger: of an explanation, with its rows (a loaded one has them; a benchmark's record doesn't).
        stages: columns at most; layers that follow one another share one.
        title: line on top.

    Returns:
        A matplotlib figure outside pyplot. Save it with :func:`relprop.viz.save_figure`.

    Raises:
        InputError: there is no ledger, it has no rows, starts from 0 or holds NaN or infinite values, or `stages`
            is below 1.
    """
    if ledger is None:
        raise InputError(
            "Expected a ledger to draw but got None: the method shares nothing out, so keeps no account."
        )
    if isinstance(stages, bool) or not isinstance(stages, int) or stages < 1:
        raise InputError(f"Expected stages to be a whole number of at least 1 but got {stages!r}.")
    if not ledger.rows:
        raise InputError("Expected a ledger with rows to draw but got one without any.")
    values = [
        ledger.start,
        ledger.end,
        ledger.aside,
        *(v for r in ledger.rows for v in (r.bias, r.stabiliser, r.lost)),
    ]
    if not all(map(math.isfinite, values)):
        raise InputError("Expected finite numbers in the ledger to draw but got NaN or infinity.")
    if not ledger.start:
        raise InputError(
            "Expected relevance to draw but the ledger starts from 0: shares of it mean nothing."
        )
    return _River(stages_of(ledger, stages), ledger).figure(title)


class _River:
    """The band and its branches, in shares of the start; y runs downwards, 0 is the band's top at the score."""

    def __init__(self, stages: Sequence[FlowStage], ledger: Accounts) -> None:
        self.stages, self.ledger = stages, ledger
        self.lost_track = 0.0 if ledger.closes else self._missing()
        flows = [self._split(stage.ended) for stage in stages]
        self.down = [flow[0] for flow in flows]
        self.up = [flow[1] for flow in flows]
        self.tops, self.amounts = [0.0], [1.0]
        for leaving, entering in flows:
            self.tops.append(self.tops[-1] - sum(entering.values()))
            self.amounts.append(self.amounts[-1] - sum(leaving.values()) + sum(entering.values()))

    def _missing(self) -> float:
        went = sum(sum(stage.ended.values()) for stage in self.stages)
        return 1 - went - (self.ledger.end + self.ledger.aside) / self.ledger.start

    @staticmethod
    def _split(ended: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """What leaves downwards, and what enters from above."""
        return (
            {kind: v for kind, v in ended.items() if v > _LEAST},
            {kind: -v for kind, v in ended.items() if v < -_LEAST},
        )

    def figure(self, title: str) -> Figure:
        bottoms = [t + abs(a) for t, a in zip(self.tops, self.amounts, strict=True)]
        sums = {kind: sum(flow.get(kind, 0.0) for flow in self.down) for kind in _SINKS}
        lanes, low = {}, max(bottoms) + _GAP
        for kind, amount in sums.items():
            if amount:
                lanes[kind] = low + amount
                low += max(amount, 0.12) + _GAP
        entered = any(self.up)
        high = min(self.tops) - (0.45 if entered else 0.1)
        unit = _UNIT * min(1.0, _TALLEST / (low - high))
        page = Canvas(_WIDE, title)
        top, tall = page.top, round(unit * (low - high))
        left, wide = MARGIN + _SCORE, _WIDE - 2 * MARGIN - _SCORE - _ENDS
        page.top = top + tall + 96
        page.caption(self._sentences())
        drawn = page.figure()
        axes = page.axes(drawn, left, top, wide, tall, "flow")
        axes.set(xlim=(0, len(self.stages)), ylim=(low, high))
        self._draw(axes, lanes)

        def at(y: float) -> float:
            return top + (y - high) * unit + NAME * POINT * 0.36

        page.mark(drawn, left - 12, at(0.5), "score", NAME, weight="bold", align="right")
        page.mark(
            drawn,
            left - 12,
            at(0.5) + height(NAME),
            f"{number(self.ledger.start)} = 100 %",
            SMALL,
            align="right",
        )
        x = left + wide + 12
        middle = (self.tops[-1] + bottoms[-1]) / 2
        page.mark(
            drawn,
            x,
            at(middle),
            f"input {_percent(self.ledger.end / self.ledger.start)}",
            NAME,
            weight="bold",
        )
        for kind, end in lanes.items():
            word, colour = _SINKS[kind]
            page.mark(
                drawn,
                x,
                at(end - sums[kind] / 2),
                f"{word} {_percent(sums[kind])}",
                NAME,
                weight="bold",
                colour=colour,
            )
        if entered:
            word = ", ".join(
                f"{_SINKS[kind][0]} {_percent(-sum(flow.get(kind, 0.0) for flow in self.up))}"
                for kind in _SINKS if any(kind in flow for flow in self.up)
            )  # fmt: skip
            page.mark(
                drawn,
                left,
                at(high) + SMALL * POINT,
                f"against the target, and so added: {word}",
                SMALL,
                colour=_AGAINST,
            )
        step = wide / len(self.stages)
        for k, stage in enumerate(self.stages):
            (said,), size = fit([stage.name], 1.05 * max(step, 130) / POINT, SMALL)
            page.mark(drawn, left + (k + 0.5) * step, top + tall + 14, said, size, align="right", turned=28)
        return drawn

    def _draw(self, axes: Axes, lanes: dict[str, float]) -> None:
        full = dict.fromkeys(lanes, 0.0)
        for k in range(len(self.stages)):
            amount, after = self.amounts[k], self.amounts[k + 1]
            base = self.tops[k] + abs(amount)
            kept = (self.tops[k], max(base - sum(self.down[k].values()), self.tops[k]))
            entered = min(sum(self.up[k].values()), abs(after))
            other = (self.tops[k + 1] + entered, self.tops[k + 1] + abs(after))
            if amount * after >= 0:
                _ribbon(axes, (k, k + 1), kept, other, _colour(after), "band")
            else:  # through zero: it runs dry half way, and starts anew on the other side
                _ribbon(
                    axes, (k, k + 0.5), (self.tops[k], base), (self.tops[k + 1],) * 2, _colour(amount), "band"
                )
                _ribbon(axes, (k + 0.5, k + 1), (self.tops[k + 1],) * 2, other, _colour(after), "band")
            high = self.tops[k + 1]
            for share in self.up[k].values():
                _ribbon(
                    axes,
                    (k, k + 1),
                    (high - 0.3, high - 0.3 + share),
                    (high, high + share),
                    _AGAINST,
                    "entering",
                    0.45,
                )
                high += share
            for kind in [kind for kind in lanes if full[kind]]:
                end = lanes[kind]
                _ribbon(
                    axes, (k, k + 1), (end - full[kind], end), (end - full[kind], end), _SINKS[kind][1], kind
                )
            for kind, share in self.down[k].items():
                end = lanes[kind] - full[kind]
                _ribbon(axes, (k, k + 1), (base - share, base), (end - share, end), _SINKS[kind][1], kind)
                full[kind] += share
                base -= share

    def _sentences(self) -> list[str]:
        said = [
            "From the score, back through the network, to the input: layers stand below.",
            "What no part of the input gets leaves downwards; the map adds up to what arrives on the right.",
            "Sums over targets and samples." if self._several() else "",
        ]
        if any(self.up):
            said.append(
                "Blue from above: a share below zero, such as a bias that speaks against the target; "
                "what is left to be explained grows by it."
            )
        if min(self.amounts) < 0:
            said.append("A blue band: what goes on is below zero.")
        if self.ledger.aside:
            said.append(f"{_percent(self.ledger.aside / self.ledger.start)} passed the stop by.")
        if not self.ledger.closes:
            said.append(
                f"⚠ The ledger does not close: {_percent(self.lost_track)} of the start is unaccounted for."
            )
        return said

    def _several(self) -> bool:
        balances = getattr(self.ledger, "balances", ())
        return sum(len(row) for row in balances) > 1


def _colour(amount: float) -> str:
    return _FOR if amount > 0 else _AGAINST


def _percent(share: float) -> str:
    text = f"{100 * share:.1f} %" if abs(share) < 10 else f"{100 * share:.0f} %"
    return text.replace("-0.0 %", "0.0 %").replace("-", "−")


def _ribbon(
    axes: Axes,
    ends: tuple[float, float],
    one: tuple[float, float],
    other: tuple[float, float],
    colour: str,
    name: str,
    alpha: float = 1.0,
) -> None:
    """A band between two x, from y `one` to y `other`."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    x, z = ends
    m = (x + z) / 2
    points = [
        (x, one[0]), (m, one[0]), (m, other[0]), (z, other[0]),
        (z, other[1]), (m, other[1]), (m, one[1]), (x, one[1]), (x, one[0]),
    ]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    patch = PathPatch(Path(points, codes), facecolor=colour, edgecolor=colour, alpha=alpha, clip_on=False)
    patch.set_linewidth(0.0 if name == "band" else 0.6)
    patch.set_gid(name)
    axes.add_patch(patch)
