"""Scores: what a network says, as bars that can be clicked."""

from __future__ import annotations

import html
from collections.abc import Sequence

from relprop.models.classes import Prediction

__all__ = ["CHOOSE", "score_bars"]

_SHOWN = 8  # classes that get a bar

#: For the HTML that holds the bars: its `select` event has the class's `index`.
CHOOSE = """
element.addEventListener('click', e => {
  const bar = e.target.closest('button[data-class]');
  if (bar) trigger('select', {index: Number(bar.dataset.class)});
});
"""


def score_bars(predictions: Sequence[Prediction], chosen: int) -> str:
    """The best classes as bars, the chosen one pressed."""
    rows = []
    for p in predictions[:_SHOWN]:
        score = f"{100 * p.score:.1f} %"
        rows.append(
            f'<button type="button" data-class="{p.index}" aria-pressed="{str(p.index == chosen).lower()}" '
            f'class="relprop-score"><i style="width:{100 * p.score:.1f}%"></i><span>{html.escape(p.name)}</span>'
            f"<b>{score}</b></button>"
        )
    return "".join(rows)
