"""Hide and see: a classifier is asked again with the strongest places of a map hidden, and with random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from relprop.detectors.filling import fill_words, filled
from relprop.models.loaded import LoadedModel
from relprop.reports.text import percent
from relprop.tracing.view import member, natural
from relprop.watch import passing

__all__ = ["HideAndSee", "hide_and_see", "outputs_with_hidden", "scores"]

_FILLS = ("inpaint", "mean")
_DRAWS, _SHARE, _SEED = 4, 0.1, 0
_FINEST, _FEWEST, _MOST = 8, 4, 16  # pixels of a patch's side at least; patches along the shorter side
_BATCH = 6  # pictures that run at once


@dataclass(frozen=True)
class HideAndSee:
    """What a class's score does when places are hidden.

    Attributes:
        name: of the class.
        before: its score, 0 to 1.
        red: with the reddest tenth of the picture hidden, one a fill; () where nothing is red.
        random: with a random tenth hidden, one a fill and draw.
        less: whether red patches make up less than a tenth: then `red` is with all of these hidden.
    """

    name: str
    before: float
    red: tuple[float, ...]
    random: tuple[float, ...]
    less: bool = False

    @property
    def holds(self) -> bool:
        """Whether the map is red where it matters: with each fill more is lost than in any random draw."""
        return bool(self.red) and max(self.red) < min(self.before, *self.random)

    @property
    def words(self) -> str:
        """The check in sentences."""
        if not self.red:
            return "Nothing in the map is red: there is nothing to hide."
        red, random = (sum(v) / len(v) for v in (self.red, self.random))
        low, high = (_score(v) for v in (min(self.random), max(self.random)))
        verdict = "the map holds up" if self.holds else "the map doesn't hold up"
        fills = " and by ".join(fill_words(fill) for fill in _FILLS)
        hidden = "every red patch" if self.less else "the reddest tenth of the picture"
        return (
            f"With {hidden} hidden, the score of {self.name} goes from "
            f"{_score(self.before)} to {_score(red)}; with a random tenth, to {_score(random)} [{low}, {high}]: "
            f"{verdict}. (Hidden by {fills}; means.)"
        )


def hide_and_see(
    model: LoadedModel,
    x: Tensor,
    heatmaps: Sequence[Tensor],
    target: int,
    name: str,
    rival: int | None = None,
) -> list[HideAndSee]:
    """Check several maps of one class at once: the random draws are shared.

    The picture is cut into a grid of patches. The network sees ``1 + 2 * (4 + maps)`` pictures.

    Args:
        model: whose outputs are (N, classes).
        x: the input that was explained, (1, C, h, w).
        heatmaps: (h, w) each.
        target: the class.
        name: what it is called.
        rival: with one, the score is that of the target among these two alone.
    """
    label = _patches(x.shape[2], x.shape[3])
    patches = int(label.max()) + 1
    count = max(1, round(_SHARE * patches))
    generator = torch.Generator().manual_seed(_SEED)
    chosen = [torch.randperm(patches, generator=generator)[:count] for _ in range(_DRAWS)]
    for heat in heatmaps:
        sums = torch.zeros(patches, dtype=torch.float64)
        sums.index_add_(0, label.flatten(), heat.detach().to("cpu", torch.float64).flatten())
        order = sums.argsort(descending=True, stable=True)[:count]
        chosen.append(order[sums[order] > 0])
    masks = torch.stack([torch.isin(label, one) for one in chosen])
    outputs = outputs_with_hidden(model, x, masks, _FILLS)
    found = scores(model, outputs)[:, target].tolist()
    if rival is not None:
        found = (outputs[:, target] - outputs[:, rival]).sigmoid().tolist()
    before, later = found[0], [found[1 + k * len(masks) :][: len(masks)] for k in range(len(_FILLS))]
    random = tuple(v for one in later for v in one[:_DRAWS])
    return [
        HideAndSee(
            name,
            before,
            tuple(one[_DRAWS + i] for one in later) if len(reddest) else (),
            random,
            less=len(reddest) < count,
        )
        for i, reddest in enumerate(chosen[_DRAWS:])
    ]


def outputs_with_hidden(model: LoadedModel, x: Tensor, masks: Tensor, fills: Sequence[str]) -> Tensor:
    """Outputs of all classes: for the input, then with each mask hidden by each fill.

    Args:
        model: whose outputs are (N, classes).
        x: (1, C, h, w).
        masks: (M, h, w) bool, True where pixels are hidden.
        fills: as `relprop.detectors.filling.filled`.

    Returns:
        (1 + fills * M, classes), before softmax or sigmoid, float64: the input, then fill by fill.
    """
    rows = torch.cat([x, *(filled(x, masks, fill) for fill in fills)])
    found = []
    for begin in range(0, len(rows), _BATCH):
        passing("hiding places", begin, len(rows))
        returned = model.run(rows[begin : begin + _BATCH])
        found.append(member(returned, natural(returned)[0]).double().cpu())
    return torch.cat(found)


def scores(model: LoadedModel, outputs: Tensor) -> Tensor:
    """What outputs (N, classes) amount to, 0 to 1."""
    return outputs.sigmoid() if model.multi_label else outputs.softmax(1)


def _patches(height: int, width: int) -> Tensor:
    """(h, w): which patch of the grid each pixel lies in."""
    side = max(min(height, width) // _MOST, _FINEST)
    side = max(1, min(side, min(height, width) // _FEWEST))
    rows, columns = (torch.arange(n) * max(1, n // side) // n for n in (height, width))
    return rows[:, None] * (int(columns[-1]) + 1) + columns


def _score(value: float) -> str:
    return percent(value, 1.0)
