"""The maps that `answers.py` judges: methods, products of two of them, controls; and what is asked of each.

A product is `A+ x G(B+)`: the positive part of one map, kept where the smoothed positive part of another is, as in
`relprop.Agreement`, but of any two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import sobel
from torch import Tensor

from relprop.errors import RelpropError
from relprop.explanation import Explanation
from relprop.explanation.inquiry import Inquiry
from relprop.methods.agreement import smoothed
from relprop.methods.registry import resolve
from relprop.models.geometry import Geometry
from relprop.models.loaded import LoadedModel

__all__ = ["CHOOSING", "CONFIRMING", "PHOTOGRAPHS", "Asked", "Both", "Choice", "controls", "margin_of"]

Heat = NDArray[np.float64]
#: What speaks for a class, and what speaks for the other: two maps that are nowhere negative.
Both = tuple[Heat, Heat]

FIRST = 20  # pictures
SIGMA = 1 / 56  # of the picture's longer side, as in `relprop.Agreement`
CENTER, RANDOM, EDGES, ORACLE = "center", "random", "edges", "oracle"
CONTROLS = (CENTER, RANDOM, EDGES, ORACLE)
#: Methods whose sign says nothing, so that their size is shown, as their authors do.
UNSIGNED = ("gradient", "smoothgrad", "guided-backprop")
MARGIN = ", margin"
SQUARED = ", squared"


@dataclass(frozen=True)
class Choice:
    """Which maps are made.

    Attributes:
        methods: of a class's score.
        first: likewise, of the first pictures alone (`FIRST`).
        margins: of its margin over the other classes (a callable).
        products: (A, B, sigma as a share of the picture's longer side).
        squared: maps that are there squared, too.
        versus: of the difference of two classes; what speaks for the other is the negative part.
        turned: likewise, but asked both ways: what speaks for the other is its own map's positive part.
        hostile: RSP's settings, to which the other class is added as the hostile one.
        differences: one class's map less the other's, each as it is.
        products_versus: as `products`, of maps of two classes.
    """

    methods: tuple[str, ...]
    first: tuple[str, ...] = ()
    margins: tuple[str, ...] = ()
    products: tuple[tuple[str, str, float], ...] = ()
    squared: tuple[str, ...] = ()
    versus: tuple[str, ...] = ()
    turned: tuple[str, ...] = ()
    hostile: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    products_versus: tuple[tuple[str, str, float], ...] = ()


_OURS = (
    "margin-rsp", "rsp", "rsp:hostile=None", "contrastive-rsp", "lrp-composite", "lrp-gamma", "clrp",
    "contrastive-excitation-backprop", "grad-cam",
)  # fmt: skip
#: Most of them slow: asked about the first pictures only.
_PUBLISHED = (
    "agreement", "excitation-backprop", "odam", "integrated-gradients", "gradient-x-input", "smoothgrad",
    "guided-backprop", "rap", "attention-rollout", "lrp-composite:lower=gamma-above",
)  # fmt: skip
_SHARP = (
    "margin-rsp",
    "rsp",
    "rsp:hostile=None",
    "contrastive-rsp",
    "lrp-composite",
    "lrp-composite, margin",
)
_REGIONS = (
    "lrp-gamma",
    "lrp-gamma, margin",
    "contrastive-excitation-backprop",
    "clrp",
    "lrp-composite, margin",
)

CHOOSING = Choice(
    methods=_OURS,
    first=_PUBLISHED,
    margins=("lrp-composite", "lrp-gamma"),
    products=tuple((a, b, SIGMA) for a in _SHARP for b in _REGIONS if a != b),
    squared=("rsp", "margin-rsp", "contrastive-rsp", "lrp-composite", "lrp-gamma"),
    versus=("margin-rsp:ratio=1", "lrp-composite", "lrp-gamma"),
    turned=("margin-rsp",),
    hostile=("rsp:ratio=1",),
    differences=(
        "rsp", "contrastive-rsp", "margin-rsp", "clrp", "contrastive-excitation-backprop", "grad-cam",
        "gradient-x-input",
    ),
    products_versus=(
        ("lrp-composite", "lrp-gamma", SIGMA), ("margin-rsp:ratio=1", "lrp-gamma", SIGMA),
        ("margin-rsp", "lrp-gamma", SIGMA), ("contrastive-rsp, difference", "lrp-gamma", SIGMA),
    ),
)  # fmt: skip
CONFIRMING = Choice(
    methods=("rsp", "lrp-composite", "lrp-gamma", "grad-cam"),
    first=(
        "agreement", "margin-rsp", "contrastive-rsp", "rsp:hostile=None", "clrp",
        "contrastive-excitation-backprop", *_PUBLISHED[1:-1],
    ),
    products=(("rsp", "lrp-gamma", SIGMA), ("lrp-composite", "lrp-gamma", SIGMA)),
    squared=("rsp", "lrp-composite"),
    versus=("margin-rsp:ratio=1", "lrp-composite", "lrp-gamma"),
    differences=("rsp", "contrastive-excitation-backprop", "grad-cam", "gradient-x-input"),
    products_versus=(("lrp-composite", "lrp-gamma", SIGMA), ("margin-rsp:ratio=1", "lrp-gamma", SIGMA)),
)  # fmt: skip
PHOTOGRAPHS = Choice(
    methods=(
        "margin-rsp", "rsp", "contrastive-rsp", "lrp-composite", "lrp-gamma", "clrp",
        "contrastive-excitation-backprop", "grad-cam", "excitation-backprop", "odam", "gradient-x-input",
        "guided-backprop",
    ),
    first=("integrated-gradients", "smoothgrad", "rap"),
    margins=("lrp-composite", "lrp-gamma"),
    products=(
        ("margin-rsp", "lrp-gamma, margin", SIGMA), ("rsp", "lrp-gamma", SIGMA),
        ("contrastive-rsp", "lrp-gamma", SIGMA), ("lrp-composite", "lrp-gamma", SIGMA),
        ("lrp-composite, margin", "lrp-gamma, margin", SIGMA),
    ),
    squared=("rsp", "margin-rsp", "lrp-composite"),
)  # fmt: skip


@dataclass(eq=False)
class Asked:
    """Every map of a choice, of one picture.

    Attributes:
        loaded: the network.
        geometry: how pictures become inputs.
        choice: which maps.
        refused: method -> what it said.
    """

    loaded: LoadedModel
    geometry: Geometry
    choice: Choice
    refused: dict[str, str] = field(default_factory=dict)

    def classes(
        self, x: Tensor, targets: Sequence[int], size: tuple[int, int], first: bool = True
    ) -> list[dict[str, Heat]]:
        """The maps of each target, by name, on the picture of that size.

        Args:
            x: the input.
            targets: outputs.
            size: of the picture.
            first: whether this is one of the first pictures.
        """
        wanted = (*self.choice.methods, *(self.choice.first if first else ()))
        made = self._answers(x, list(targets), wanted)
        if self.choice.margins:
            with torch.no_grad():
                margin = margin_of(self.loaded.module(x), targets)
            for name, rows in self._answers(x, margin, self.choice.margins).items():
                made[f"{name}{MARGIN}"] = rows
        found: list[dict[str, Heat]] = []
        for k in range(len(targets)):
            maps = {name: self.geometry.back(rows[k], size) for name, rows in made.items()}
            for a, b, sigma in self.choice.products:
                if a in made and b in made:
                    sharp, regions = (torch.from_numpy(maps[name]) for name in (a, b))
                    maps[product_name(a, b, sigma)] = agreed(sharp, regions, sigma).numpy()
            maps |= {
                f"{name}{SQUARED}": np.maximum(maps[name], 0) ** 2
                for name in self.choice.squared
                if name in maps
            }
            found.append(maps)
        return found

    def versus(
        self, x: Tensor, one: int, other: int, maps: tuple[Mapping[str, Heat], Mapping[str, Heat]],
        size: tuple[int, int],
    ) -> dict[str, Both]:  # fmt: skip
        """The maps of one class's score less another's.

        Args:
            x: the input.
            one, other: outputs.
            maps: those of either class alone.
            size: of the picture.
        """
        made: dict[str, tuple[Tensor, Tensor]] = {}  # what speaks for the one, and for the other
        forth = self._answers(x, [one], (*self.choice.versus, *self.choice.turned), versus=other)
        back = self._answers(x, [other], self.choice.turned, versus=one)
        for name, rows in forth.items():
            made[name] = (rows[0], back[name][0]) if name in back else (rows[0], -rows[0])
        for name in self.choice.hostile:
            method, _, rest = name.partition(":")
            text = f"{method}:hostile=[{other}]{',' if rest else ''}{rest}"
            for rows in self._answers(x, [one], (text,), known=name).values():
                made[f"{name}, the other hostile"] = rows[0], -rows[0]
        found = {
            name: (self.geometry.back(a, size).clip(0), self.geometry.back(b, size).clip(0))
            for name, (a, b) in made.items()
        }
        for name in self.choice.differences:
            if name in maps[0] and name in maps[1]:
                signed = maps[0][name] - maps[1][name]
                found[f"{name}, difference"] = signed.clip(0), (-signed).clip(0)
        for a, b, sigma in self.choice.products_versus:
            if a in found and b in made:
                sharp = [torch.from_numpy(v) for v in found[a]]
                both = [agreed(v, self._shown(r, size), sigma) for v, r in zip(sharp, made[b], strict=True)]
                found[product_name(a, b, sigma)] = both[0].numpy(), both[1].numpy()
        return found

    def _shown(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.from_numpy(self.geometry.back(values, size))

    def _answers(
        self, x: Tensor, target: Any, methods: Sequence[str], versus: int | None = None, known: str = ""
    ) -> dict[str, Tensor]:
        """Method -> (K, h, w); what refuses is left out, and not asked again."""
        found: dict[str, Tensor] = {}
        about = "" if versus is None else "versus "
        with Inquiry(
            self.loaded.module, x, target, versus=versus, facts=self.loaded.facts, several=True
        ) as inquiry:
            for text in methods:
                if f"{about}{known or text}" in self.refused:
                    continue
                try:
                    e: Any = inquiry.answer(resolve(text), last=False)
                except RelpropError as error:
                    self.refused[f"{about}{known or text}"] = " ".join(str(error).split())
                    continue
                found[text] = _flat(e, text)
        return found


def _flat(e: Explanation, text: str) -> Tensor:
    """(K, h, w)."""
    relevance = e.relevance if e.relevance.dim() == 5 else e.relevance[None]
    relevance = relevance[:, 0].double()
    return relevance.abs().amax(1) if text.partition(":")[0] in UNSIGNED else relevance.sum(1)


def product_name(one: str, two: str, sigma: float) -> str:
    """What a product is called.

    >>> product_name("rsp", "lrp-gamma", 1 / 56), product_name("rsp", "lrp-gamma", 0)
    ('rsp x lrp-gamma', 'rsp x lrp-gamma (0 px of 112)')
    """
    return f"{one} x {two}" if sigma == SIGMA else f"{one} x {two} ({round(112 * sigma)} px of 112)"


def agreed(sharp: Tensor, regions: Tensor, sigma: float) -> Tensor:
    """The product of a map's positive part with another's, smoothed, (H, W)."""
    return sharp.clamp(min=0) * smoothed(regions.clamp(min=0)[None, None, None], sigma)[0, 0, 0]


def margin_of(scores: Tensor, targets: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """The margins of targets over the other classes, weighed by these scores' softmax: (N, C) -> (K, N)."""
    slopes = torch.zeros(len(targets), scores.shape[1], dtype=scores.dtype)
    for row, k in zip(slopes, targets, strict=True):
        others = scores[0].detach().clone()
        others[k] = -torch.inf
        row -= others.softmax(0)
        row[k] = 1
    return lambda outputs: slopes.to(outputs) @ outputs.T


def controls(picture: NDArray[np.uint8], mask: NDArray[np.bool_], seed: int) -> dict[str, Heat]:
    """Maps that no network made, (H, W): the middle, noise, the picture's edges, and the truth itself."""
    height, width = mask.shape
    y, x = (np.arange(n) - (n - 1) / 2 for n in (height, width))
    grey = picture.astype(np.float64).mean(2)
    distance = np.hypot(y[:, None], x)
    return {
        CENTER: 1 - distance / distance.max(),
        RANDOM: np.random.default_rng(seed).random((height, width)),
        EDGES: np.hypot(sobel(grey, 0), sobel(grey, 1)),
        ORACLE: mask.astype(np.float64),
    }
