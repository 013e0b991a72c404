"""Small explanations of known numbers, and pixels of drawn figures."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from relprop.explanation import Explanation
from relprop.propagate.ledger import Ledger, Row, Totals
from relprop.propagate.table import PlanRow, PlanTable
from relprop.viz import render


def plan() -> PlanTable:
    """Two layers."""
    rows = (
        PlanRow("linear", "head", "linear", "eps", ("conv2d",), "linear"),
        PlanRow("conv2d", "features.0", "conv2d", "z-plus", ("input",), "conv2d"),
    )
    return PlanTable(rows, "two", "linear", "input")


def ledger(closes: bool = True, max_error: float | None = None, bias: float = 0.08) -> Ledger:
    """Relevance of 10 that starts at one operator, of which the bias takes a share."""
    error = max_error if max_error is not None else 3e-7 if closes else 0.5
    row = Row("linear", "head", "linear", "eps", 10.0, 10 - 10 * bias, 10 * bias, 0.0, 0.0, 10.0, error)
    made = Ledger(lambda: Totals((row,), 10.0, 10 - 10 * bias, 10.0, 0.0), 1e-6)
    assert made.closes == closes
    return made


def explanation(
    shape: tuple[int, ...] = (1, 3, 32, 40), asked: int | list[int] = 1, seed: int = 0, **changes: Any
) -> Explanation:
    """Random relevance for a random input; a list of targets puts a K axis in front."""
    g = torch.Generator().manual_seed(seed)
    lead = (len(asked),) if isinstance(asked, list) else ()
    indices = torch.tensor(asked).reshape(*lead, 1).expand(*lead, shape[0]).clone()
    fields: dict[str, Any] = {
        "relevance": torch.randn(*lead, *shape, generator=g),
        "input": torch.rand(*shape, generator=g),
        "outputs": torch.randn(shape[0], 10, generator=g),
        "targets": indices,
        "method": "lrp-epsilon",
    }
    return Explanation(**(fields | changes))


def drawn(figure: Figure, name: str, around: int = 0) -> NDArray[np.uint8]:
    """The pixels at which the panel of that name stands in the rendered page, and some around it."""
    axes = next(a for a in figure.axes if a.get_gid() == name)
    pixels = render(figure)
    box = axes.get_window_extent()
    left, right = round(box.x0), round(box.x1)
    top, bottom = round(pixels.shape[0] - box.y1), round(pixels.shape[0] - box.y0)
    return pixels[top - around : bottom + around, left - around : right + around]


def names(figure: Figure) -> list[str]:
    return [str(a.get_gid()) for a in figure.axes]


def words(figure: Figure) -> str:
    return "\n".join(t.get_text().replace("\u00a0", " ") for t in figure.texts)


def check_legible(figure: Figure) -> None:
    """All words lie on the page, and none upon another."""
    render(figure)
    boxes = []
    for text in [
        *figure.texts,
        *(t for a in figure.axes if a.axison for t in [*a.get_xticklabels(), *a.get_yticklabels()]),
    ]:
        if not text.get_text() or not text.get_visible():
            continue
        box = text.get_window_extent()
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text
        if not text.get_rotation():
            boxes.append((text.get_text(), box))
    for (a, one), (b, two) in itertools.combinations(boxes, 2):
        wide = min(one.x1, two.x1) - max(one.x0, two.x0)
        tall = min(one.y1, two.y1) - max(one.y0, two.y0)
        assert wide <= 1 or tall <= 3, (a, b)  # boxes have room for accents that the words lack
