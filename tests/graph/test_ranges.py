"""What the graph proves of the ranges of values is true of the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.fuzz.generator import draw, write
from tests.fuzz.properties import made
from tests.rules.build import Fn
from torch import Tensor, nn

from relprop import Trace, trace
from relprop.errors import RelpropError
from relprop.graph.ranges import ANY

SQUARE = (2, 4, 4)  # rows and columns alike, so that an operator may mistake one for the other
EVERY_OTHER = torch.tensor([True, False, True, False])
SAMPLES = {  # each breaks some range that is claimed too narrow
    "random": torch.randn(SQUARE, generator=torch.Generator().manual_seed(0)),
    "steep": 30 * torch.randn(SQUARE, generator=torch.Generator().manual_seed(1)),
    "negative": torch.full(SQUARE, -3.0),
    "rows": torch.tensor([-9.0, -9, 9, 9]).view(1, 4, 1).expand(SQUARE),
    "columns": torch.tensor([9.0, -9, 9, -9]).view(1, 1, 4).expand(SQUARE),
}
# What is computed of s, which lies between 0 and 1; m.p and m.q are negative parameters.
OF_SIGMOID: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "s / sum": lambda m, s: s / s.sum(2, keepdim=True),
    "s / its sums over another axis": lambda m, s: s[:1] / s[:1].sum(2),
    "s / sums put along another axis": lambda m, s: s / s.sum(2).unsqueeze(1),
    "s / sum behind an expand": lambda m, s: s[0] / s[0].sum(1).expand(4, 4)[:, None],
    "s / (sum, at most 0.5)": lambda m, s: s / s.sum(2, keepdim=True).clamp(0.1, 0.5),
    "s / (sum + parameter)": lambda m, s: s / (s.sum(2, keepdim=True) + m.p),
    "s / (sum - 1.5)": lambda m, s: s / torch.add(s.sum(2, keepdim=True), 1.5, alpha=-1),
    "s / sum of whole numbers": lambda m, s: s / s.sum(2, keepdim=True, dtype=torch.int64).clamp_min(1),
    "cumsum": lambda m, s: s.cumsum(1),
    "fold": lambda m, s: F.fold(F.unfold(s[:, None], 3), (4, 4), 3),
    "tril": lambda m, s: (s + 1).tril(),
    "triu": lambda m, s: (s + 1).triu(1),
    "diag_embed": lambda m, s: torch.diag_embed(s + 1),
    "pad": lambda m, s: F.pad(s + 1, (1, 1)),
    "pad with -2": lambda m, s: F.pad(s, (1, 1), value=-2.0),
    "unfold": lambda m, s: F.unfold(s[:, None] + 1, 3, padding=1),
    "average with zeros at the border": lambda m, s: F.avg_pool1d(s + 1, 3, 1, 1),
    "average divided by 1": lambda m, s: F.avg_pool2d(s[:, None], 2, 1, divisor_override=1),
    "masked_fill": lambda m, s: s.masked_fill(EVERY_OTHER, -7.0),
    "masked_fill everywhere": lambda m, s: s.masked_fill(torch.ones(4, dtype=torch.bool), -7.0) + s,
    "where": lambda m, s: torch.where(EVERY_OTHER, s, -5.0),
    "where everywhere": lambda m, s: torch.where(torch.zeros(4, dtype=torch.bool), s, -5.0) + s,
    "scatter of a number": lambda m, s: s.scatter(1, torch.zeros(2, 1, 4, dtype=torch.long), -3.0),
    "scatter that adds": lambda m, s: s.scatter(1, torch.zeros(2, 4, 4, dtype=torch.long), s, reduce="add"),
    "index_put that adds": lambda m, s: s.index_put((torch.zeros(2, dtype=torch.long),), s, accumulate=True),
    "index_add": lambda m, s: torch.zeros_like(s).index_add(1, torch.zeros(4, dtype=torch.long), s),
    "index_add of a negative": lambda m, s: torch.zeros_like(s).index_add(
        1, torch.zeros(4, dtype=torch.long), s, alpha=-2
    ),
    "scatter_add to ones": lambda m, s: torch.ones_like(s).scatter_add(1, torch.zeros_like(s).long(), s),
    "scatter_reduce": lambda m, s: s.scatter_reduce(1, torch.zeros_like(s).long(), s - 1, "amin"),
    "take": lambda m, s: s.take(torch.zeros(2, 1, dtype=torch.long)),
    "put of a parameter": lambda m, s: s.put(torch.zeros(4, dtype=torch.long), m.p),
    "topk": lambda m, s: (lambda r: r[0] - r[1])((s + 1).topk(2, -1)),
    "sort and its places": lambda m, s: (lambda r: r[0] - r[1])(s.sort(-1)),
    "aminmax": lambda m, s: (lambda r: r.max - r.min)((s + 1).aminmax(dim=1)),
    "max_unpool2d": lambda m, s: F.max_unpool2d(*F.max_pool2d(s[:, None] + 1, 2, return_indices=True), 2),
    "nan_to_num": lambda m, s: (torch.where(s > 0.5, torch.nan, s)).nan_to_num(-9.0),
    "copysign": lambda m, s: torch.copysign(s, s - 0.5),
    "index_fill": lambda m, s: s.index_fill(1, torch.zeros(1, dtype=torch.long), -3.0),
    "slice of a parameter": lambda m, s: torch.slice_scatter(s, m.q.expand(2, 4, 4)[:, :2], 1, 0, 2),
    "division that rounds down": lambda m, s: torch.div(3 * s, 0.7, rounding_mode="floor") - s,
    "division by what crosses zero": lambda m, s: s / (s - 0.5),
    "bicubic": lambda m, s: F.interpolate(s[:, None], scale_factor=3.0, mode="bicubic"),
    "bicubic, antialiased": lambda m, s: F.interpolate(
        s[:, None], scale_factor=3.0, mode="bicubic", antialias=True
    ),
    "softplus of a negative beta": lambda m, s: F.softplus(s, beta=-1.0),
    "places of the largest": lambda m, s: s + F.max_pool1d(s, 2, return_indices=True)[1].sum(),
    "bytes that wrap": lambda m, s: s + (-9 * s).to(torch.uint8).float(),
    "rsub": lambda m, s: torch.rsub(s, 2.0, alpha=3),
    "sub": lambda m, s: torch.sub(s, s.flip(1), alpha=-3),
    "lerp beyond the end": lambda m, s: torch.lerp(s, -s, 2.0),
    "clamp by a parameter": lambda m, s: torch.clamp(s, max=m.p),
    "negative sums": lambda m, s: (-s).sum(1),
}  # fmt: skip
OF_INPUT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "1 / (1 + exp)": lambda m, x: 1 / (1 + torch.exp(-x)),
    "x / l1": lambda m, x: x.abs() / (x.abs().sum(1, keepdim=True) + 1e-6),
    "cumsum of tanh": lambda m, x: x.tanh().cumsum(1),
    "hardtanh": lambda m, x: -2 * F.hardtanh(x, -3, 5),
    "clamp whose limits are turned": lambda m, x: torch.clamp(x, 2.0, -1.0) + 0 * x,
    "length": lambda m, x: x.norm(dim=1),
    "softmax": lambda m, x: 2 * (x / 0.01).softmax(-1) - 1,
    "relu6": lambda m, x: F.relu6(x + 3) / 6 - 1,
    "step": lambda m, x: -1 * ((x > 0) * x),
    "complex": lambda m, x: torch.fft.fft(x).exp().real,
}


def outside(run: Trace) -> list[str]:
    """The operators whose values leave the range that the graph proves, by more than rounding."""
    found = []
    for node in run.graph.nodes:
        if node.kind == "symbol" or node.bounds == ANY:
            continue
        value = run.value(node)
        if not isinstance(value, Tensor) or value.is_complex():
            continue
        value = value[~value.isnan()].double()
        low, high = (
            limit + sign * 1e-5 * (1 + abs(limit)) for limit, sign in zip(node.bounds, (-1, 1), strict=True)
        )
        if value.numel() and not bool(((value >= low) & (value <= high)).all()):
            found.append(f"{node.op}: {node.bounds} but {float(value.min())} to {float(value.max())}")
    return found


@pytest.mark.parametrize("name", [*OF_SIGMOID, *OF_INPUT])
def test_values_stay_within_their_ranges(name: str) -> None:
    function = OF_INPUT[name] if name in OF_INPUT else lambda m, x: OF_SIGMOID[name](m, x.sigmoid())
    model = Fn(function, p=nn.Parameter(-torch.ones(4)), q=nn.Parameter(-3 * torch.ones(4, 4))).eval()
    for x in SAMPLES.values():
        assert outside(trace(model, x.contiguous())) == []


def test_values_of_random_networks_stay_within_their_ranges() -> None:
    proven = 0
    for seed in range(25):
        model, x = made(write(draw(seed)).source)
        for factor in (1, -30):
            try:
                run = trace(model, factor * x)
            except RelpropError:
                continue
            assert outside(run) == [], f"seed {seed}"
            proven += sum(n.bounds != ANY for n in run.graph.nodes)
    assert proven > 50
