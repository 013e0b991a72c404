"""Diagrams of rules: tiny operators, with the numbers that each rule really hands on; one drawing for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from gallery_made import Made
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from torch import Tensor, nn

import relprop
from relprop.rules import (
    AbsoluteInfluence,
    Add,
    AlphaBeta,
    AveragePool,
    BatchNorm,
    Epsilon,
    Flat,
    Gamma,
    Gate,
    Gradient,
    Identity,
    MaxPool,
    Product,
    Rectify,
    RelativeInfluence,
    Rule,
    Scale,
    Section,
    Shape,
    Slope,
    WSquare,
    ZPlus,
)

__all__ = ["pictures"]

FOR, AGAINST, NONE, INK, FAINT = "#be141e", "#2a6fc4", "#8a8a8a", "#222222", "#555555"
SMALL = 5e-3  # what is nothing at two digits
WIDE, STEP, HEAD, FOOT = 380, 84, 62, 34  # pixels: of a panel, between units, of its title, of its last line
DPI = 200


class Fn(nn.Module):
    """A function of the input as a network."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """The function's value."""
        return self.function(x)


@dataclass
class Crossing:
    """One rule at one tiny operator.

    Attributes:
        title: the rule, as one writes it.
        under: what the operator does, in a few words.
        kind: of the operator, as a composite matches it.
        rule: what carries relevance across.
        model: (1, inputs) -> (1, outputs).
        x: the inputs.
        arrived: relevance at the outputs; None: their values.
        wires: which inputs each output is made of, (input, output); None: each output of all inputs.
        marks: a word at each wire of the first output, such as its weight.
        names: of the inputs.
        shape: of the input behind the sample's axis; (): (inputs,).
    """

    title: str
    under: str
    kind: str
    rule: Rule
    model: nn.Module
    x: Sequence[float]
    arrived: Sequence[float] | None = None
    wires: Sequence[tuple[int, int]] | None = None
    marks: Sequence[str] = ()
    names: Sequence[str] = ()
    shape: tuple[int, ...] = ()

    def run(self) -> Found:
        """What the library makes of it."""
        x = torch.tensor([list(self.x)], dtype=torch.float64).reshape(1, *(self.shape or (len(self.x),)))
        run = relprop.trace(self.model.double().eval(), x)
        assert isinstance(run.output, Tensor)
        seed = run.output.detach().clone()
        if self.arrived is not None:
            seed = torch.tensor([list(self.arrived)], dtype=torch.float64).reshape(run.output.shape)
        derivative = isinstance(self.rule, (Gradient, Rectify))
        composite = relprop.Composite([(self.kind, self.rule)], "gradient" if derivative else "value")
        found = run.run(seed, composite, multiplier=derivative, ledger=not derivative)
        elsewhere: dict[str, float] = {}
        if found.ledger is not None:
            assert found.ledger.closes, found.ledger
            elsewhere = {"to the bias": found.ledger.bias, "lost": found.ledger.lost}
        values = (run.output.flatten().tolist(), seed.flatten().tolist(), found.relevance.flatten().tolist())
        return Found(*values, elsewhere)


@dataclass(frozen=True)
class Found:
    """The numbers of a crossing: outputs, relevance there, relevance at the inputs, and what went elsewhere."""

    outputs: list[float]
    arrived: list[float]
    came: list[float]
    elsewhere: dict[str, float]

    @property
    def units(self) -> int:
        """Of the longer side."""
        return max(len(self.came), len(self.outputs))

    @property
    def foot(self) -> int:
        """Pixels below the units."""
        return FOOT if self.gone else 8

    @property
    def gone(self) -> str:
        """What went elsewhere, in words."""
        return ", ".join(f"{number(v)} {name}" for name, v in self.elsewhere.items() if abs(v) >= SMALL)


def number(value: float) -> str:
    """At most two digits behind the point."""
    return f"{round(value, 2) + 0.0:g}".replace("-", "−")


def colour(value: float) -> str:
    """Red for, blue against, grey none."""
    return NONE if abs(value) < SMALL else FOR if value > 0 else AGAINST


def diagram(crossings: Sequence[Crossing], across: int = 3) -> Figure:
    """The crossings side by side, `across` in a row."""
    rows = [crossings[k : k + across] for k in range(0, len(crossings), across)]
    found = [[one.run() for one in row] for row in rows]
    tall = [HEAD + STEP * max(f.units for f in row) + max(f.foot for f in row) for row in found]
    figure, axes = _page(max(map(len, rows)) * WIDE, sum(tall))
    top = 0
    for row, values, high in zip(rows, found, tall, strict=True):
        for c, (one, numbers) in enumerate(zip(row, values, strict=True)):
            _panel(axes, c * WIDE, top, high, one, numbers, STEP * max(f.units for f in values))
        top += high
    return figure


def _page(wide: int, tall: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(wide / DPI, tall / DPI), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, wide), ylim=(tall, 0))
    axes.set_axis_off()
    return figure, axes


def _spread(count: int, top: float, room: float) -> list[float]:
    return [top + room * (k + 0.5) / count for k in range(count)]


def _panel(axes: Axes, left: float, top: float, high: float, one: Crossing, f: Found, room: float) -> None:
    middle = left + WIDE / 2
    xs, ys = (_spread(len(units), top + HEAD, room) for units in (f.came, f.outputs))
    axes.text(middle, top + 24, one.title, ha="center", fontsize=7.4, weight="bold", color=INK)
    axes.text(middle, top + 50, one.under, ha="center", fontsize=6.4, color=FAINT)
    a, b = left + 108, left + WIDE - 108
    wires = one.wires or [(i, j) for i in range(len(xs)) for j in range(len(ys))]
    most = max(abs(v) for v in (*f.came, *f.arrived))
    for i, j in wires:
        # Where an input has one wire, what came to it came along that one.
        alone = sum(w[0] == i for w in wires) == 1
        _wire(axes, (b, ys[j]), (a, xs[i]), f.came[i] / most if alone else None)
        if one.marks and not j:
            _mark(axes, a + 0.5 * (b - a), xs[i] + 0.5 * (ys[j] - xs[i]), one.marks[i])
    for k, (y, value, relevance) in enumerate(zip(xs, one.x, f.came, strict=True)):
        _unit(axes, a, y, value, one.names[k] if one.names else "")
        _pill(axes, a - 66, y, relevance)
    for y, value, relevance in zip(ys, f.outputs, f.arrived, strict=True):
        _unit(axes, b, y, value)
        _pill(axes, b + 66, y, relevance)
    axes.text(middle, top + high - 16, f.gone, ha="center", fontsize=6.6, color=INK, style="italic")


def _wire(axes: Axes, start: tuple[float, float], end: tuple[float, float], share: float | None) -> None:
    """An arrow from unit to unit, as thick as its share of the largest relevance; None: unknown."""
    wide = 1.2 if share is None else 1 + 4 * abs(share)
    axes.add_patch(
        FancyArrowPatch(
            (start[0] - 23, start[1]),
            (end[0] + 23, end[1]),
            arrowstyle="-|>",
            mutation_scale=5 + 1.5 * wide,
            linewidth=wide,
            color="#b5b5b5" if share is None else colour(share),
            shrinkA=0,
            shrinkB=0,
        )
    )


def _mark(axes: Axes, x: float, y: float, text: str) -> None:
    box = {"boxstyle": "square,pad=0.12", "fc": "white", "ec": "none"}
    axes.text(x, y, text, ha="center", va="center", fontsize=6.2, color=INK, bbox=box, zorder=5)


def _unit(axes: Axes, x: float, y: float, value: float, name: str = "") -> None:
    axes.add_patch(Circle((x, y), 23, facecolor="white", edgecolor=FAINT, linewidth=1, zorder=3))
    axes.text(x, y, number(value), ha="center", va="center", fontsize=7, color=INK, zorder=4)
    if name:
        axes.text(x, y + 36, name, ha="center", va="center", fontsize=6, color=FAINT)


def _pill(axes: Axes, x: float, y: float, value: float) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - 31, y - 14),
            62,
            28,
            boxstyle="round,pad=2,rounding_size=10",
            facecolor=colour(value),
            edgecolor="none",
            zorder=3,
        )
    )
    axes.text(
        x, y, number(value), ha="center", va="center", fontsize=6.8, color="white", weight="bold", zorder=4
    )


def _layer(weights: Sequence[Sequence[float]], bias: Sequence[float] | None = None) -> nn.Linear:
    made = nn.Linear(len(weights[0]), len(weights), bias=bias is not None)
    made.weight.data = torch.tensor(weights)
    if bias is not None:
        made.bias.data = torch.tensor(bias)
    return made


def pictures() -> Iterator[Made]:
    """One a page of rules."""
    for name, what, draw in [
        ("linear", "one unit of a linear layer by six rules", _linear),
        ("activation", "ReLU and ReLU6 by two rules", _activation),
        ("pooling", "a window by four rules", _pooling),
        ("merge", "a sum of two terms by four rules", _merge),
        ("norm", "a batch norm by three rules", _norm),
        ("product", "a scale, a gate, a product", _product),
        ("section", "a section doesn't read weights, z-plus does", _section),
        ("influence", "one layer by two rules of influence", _influence),
        ("gradient", "derivatives at four ReLUs", _gradient),
        ("shape", "a copy, a cut, a constant", _shape),
        ("index", "a network of three operators and the rule at each", _chain),
    ]:
        yield Made(f"rule-{name}", what, draw, widest=1140, quality=60)


def _linear() -> Figure:
    rules = {
        "Epsilon(0)": Epsilon(0), "Gamma(1)": Gamma(1), "AlphaBeta(2, 1)": AlphaBeta(2, 1),
        "ZPlus()": ZPlus(), "WSquare()": WSquare(), "Flat()": Flat(),
    }  # fmt: skip
    layer, marks = _layer([[2.0, -1.0, 1.0]], [1.0]), ["× 2", "× (−1)", "× 1"]
    return diagram(
        [
            Crossing(t, "one unit, bias 1", "linear", r, layer, (2, 2, 1), marks=marks)
            for t, r in rules.items()
        ]
    )


def _activation() -> Figure:
    side = [(0, 0), (1, 1)]
    return diagram(
        [
            Crossing("Identity()", "ReLU", "activation", Identity(), nn.ReLU(), (2, -1), wires=side),
            Crossing("Identity()", "ReLU6", "activation", Identity(), nn.ReLU6(), (2, 8), wires=side),
            Crossing("Slope()", "ReLU6", "activation", Slope(), nn.ReLU6(), (2, 8), wires=side),
        ]
    )


def _pooling() -> Figure:
    largest, mean = nn.MaxPool1d(3), nn.AvgPool1d(3)
    return diagram(
        [
            Crossing(title, under, kind, rule, model, (2, 5, 5), shape=(1, 3))
            for title, under, kind, rule, model in [
                ('MaxPool("first")', "the largest", "max_pool", MaxPool("first"), largest),
                ('MaxPool("share")', "the largest", "max_pool", MaxPool("share"), largest),
                ("AveragePool()", "the mean", "avg_pool", AveragePool(), mean),
                ("AveragePool(uniform=True)", "the mean", "avg_pool", AveragePool(uniform=True), mean),
            ]
        ],
        across=2,
    )


def _merge() -> Figure:
    plus = Fn(lambda x: x[:, :1] + x[:, 1:])
    forms: tuple[Literal["value", "absolute", "positive", "halves"], ...]
    forms = ("value", "absolute", "positive", "halves")
    return diagram(
        [Crossing(f'Add("{f}")', "3 + (−1)", "add", Add(f), plus, (3, -1)) for f in forms], across=2
    )


def _norm() -> Figure:
    norm = nn.BatchNorm1d(2, eps=0)
    norm.weight.data, norm.bias.data = torch.tensor([1.5, 1.0]), torch.tensor([1.0, 2.0])
    forms: tuple[Literal["affine", "identity", "proportional"], ...] = ("affine", "identity", "proportional")
    return diagram(
        [
            Crossing(
                f'BatchNorm("{form}")',
                "1.5 x + 1 above, x + 2 below",
                "batch_norm",
                BatchNorm(form),
                norm,
                (2, 0),
                wires=[(0, 0), (1, 1)],
            )
            for form in forms
        ]
    )


def _product() -> Figure:
    halved, both = Fn(lambda x: x * 0.5), Fn(lambda x: x[:, :1] * x[:, 1:])
    gated, named = Fn(lambda x: x[:, :1] * torch.sigmoid(x[:, 1:])), ["signal", "gate"]
    return diagram(
        [
            Crossing("Scale()", "a signal times 0.5", "scale", Scale(), halved, (4,), marks=["× 0.5"]),
            Crossing("Gate()", "a signal times sigmoid(0)", "gate", Gate(), gated, (4, 0), names=named),
            Crossing(
                "Product()", "two signals", "product", Product(), both, (4, 2), names=["signal", "signal"]
            ),
        ]
    )


def _section() -> Figure:
    both = [
        ("weights A", _layer([[1.0, 2.0, 1.0], [2.0, -1.0, 3.0]])),
        ("weights B", _layer([[3.0, 1.0, -2.0], [1.0, 4.0, 1.0]])),
    ]
    rules: list[tuple[str, Rule]] = [("Section()", Section()), ("ZPlus()", ZPlus())]
    return diagram(
        [
            Crossing(title, name, "linear", rule, layer, (3, 1, 2), arrived=(4, -2))
            for title, rule in rules
            for name, layer in both
        ],
        across=2,
    )


def _influence() -> Figure:
    layer, marks = _layer([[2.0, -1.0, 1.0]]), ["× 2", "× (−1)", "× 1"]
    rules: list[tuple[str, Rule]] = [
        ("Epsilon(0)", Epsilon(0)),
        ("AbsoluteInfluence()", AbsoluteInfluence()),
        ("RelativeInfluence()", RelativeInfluence()),
    ]
    return diagram([Crossing(t, "one unit", "linear", r, layer, (2, 2, 1), marks=marks) for t, r in rules])


def _gradient() -> Figure:
    side = [(k, k) for k in range(4)]
    rules: list[tuple[str, Rule]] = [
        ("Gradient()", Gradient()),
        ('Rectify("deconvnet")', Rectify("deconvnet")),
        ('Rectify("guided")', Rectify("guided")),
    ]
    return diagram(
        [
            Crossing(title, "ReLU", "activation", rule, nn.ReLU(), (2, -1, 2, -1), (1, 1, -1, -1), wires=side)
            for title, rule in rules
        ]
    )


def _shape() -> Figure:
    first = [(0, 0)]
    copied, cut = Fn(lambda x: torch.cat([x, x], 1)), Fn(lambda x: x[:, :1])
    joined = Fn(lambda x: torch.cat([x, torch.ones_like(x)], 1))
    return diagram(
        [
            Crossing("Shape()", "a value, copied", "shape", Shape(), copied, (3,), (3, 1)),
            Crossing("Shape()", "two values, one cut off", "shape", Shape(), cut, (3, 2), wires=first),
            Crossing(
                "Shape()", "joined with a constant 1", "shape", Shape(), joined, (3,), (3, 2), wires=[(0, 0)]
            ),
        ]
    )


def _chain() -> Figure:
    """A whole network, and what its composite does at each operator."""
    first, last = _layer([[2.0, 1.0], [-1.0, 1.0]], [0.0, 0.0]), _layer([[1.0, 2.0]], [1.0])
    net = nn.Sequential(first, nn.ReLU(), last).double().eval()
    composite = relprop.Composite([("first", WSquare()), ("linear", Epsilon(0)), ("activation", Identity())])
    x = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    run = relprop.trace(net, x)
    assert isinstance(run.output, Tensor)
    with torch.no_grad():
        values = [x, net[0](x), net[:2](x), run.output]
    stops = (None, "0", "1")
    found = [run.run(run.output.clone(), composite, stop=stop) for stop in stops]
    relevance = [*(one.relevance for one in found), run.output]
    assert found[0].ledger is not None
    figure, axes = _page(4 * 250, HEAD + 2 * 110 + 20)
    steps = [("Linear", "WSquare()"), ("ReLU", "Identity()"), ("Linear, bias 1", "Epsilon(0)")]
    places = [110 + k * 260 for k in range(4)]
    spots = [_spread(v.numel(), HEAD - 20, 2 * 110) for v in values]
    for k, (operator, rule) in enumerate(steps):
        middle = (places[k] + places[k + 1]) / 2
        axes.text(middle, 24, rule, ha="center", fontsize=7.4, weight="bold", color=INK)
        axes.text(middle, 50, operator, ha="center", fontsize=6.4, color=FAINT)
        pairs = [(i, j) for i in range(len(spots[k])) for j in range(len(spots[k + 1])) if k != 1 or i == j]
        for i, j in pairs:
            share = float(relevance[k].flatten()[i] / run.output) if k else None
            _wire(axes, (places[k + 1], spots[k + 1][j]), (places[k], spots[k][i]), share)
    for k, (numbers, came) in enumerate(zip(values, relevance, strict=True)):
        for y, value, one in zip(spots[k], numbers.flatten().tolist(), came.flatten().tolist(), strict=True):
            _unit(axes, places[k], y, value)
            _pill(axes, places[k], y + 40, one)
    bias = f"{number(found[0].ledger.bias)} to the bias"
    axes.text(
        (places[2] + places[3]) / 2, HEAD + 190, bias, ha="center", fontsize=6.6, color=INK, style="italic"
    )
    return figure
