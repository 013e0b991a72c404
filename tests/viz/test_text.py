from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from relprop.viz.page import DPI
from relprop.viz.text import clean, fit, style, width, wrap


def test_measured_widths_hold_what_is_drawn() -> None:
    for weight in ("normal", "bold"):
        for size in (6.0, 6.5, 7.5, 9.5):
            text = "for German short-haired pointer, output 8.31 ± (max)"
            figure = Figure(figsize=(5, 1), dpi=DPI)
            figure.text(0, 0.5, text, **style(size, weight))
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            dark = (np.asarray(canvas.buffer_rgba())[..., 0] < 250).any(axis=0)
            assert np.flatnonzero(dark)[-1] <= width(text, size, weight) * DPI / 72 + 2


def test_wrap_keeps_every_word_and_the_room() -> None:
    text = "one scale for all maps, the 99.5th percentile of their relevance"
    lines = wrap(text, 80, 7, most=20)
    assert " ".join(lines) == text
    assert all(width(line, 7) <= 80 for line in lines)
    assert wrap(text, 80, 7, most=2)[-1].endswith("…")


def test_wrap_even_has_no_orphans() -> None:
    text = "adds up: 131.0\u00a0% input, −31.0\u00a0% bias"
    room = width(text, 7) - 1
    plain, even = wrap(text, room, 7), wrap(text, room, 7, even=True)
    assert len(plain) == len(even) == 2
    assert width(even[1], 7) > width(plain[1], 7)


def test_fit_shrinks_alike_then_cuts() -> None:
    lines, size = fit(
        ["short", "a line that is a little long"], width("a line that is a little long", 8) * 0.9, 8
    )
    assert lines[1] == "a line that is a little long"
    assert 6.8 <= size < 8
    lines, size = fit(["an endless line " * 9], 60, 8)
    assert size == 8 * 0.85
    assert lines[0].endswith("…")
    assert width(lines[0], size) <= 60


def test_odd_characters_cannot_break_a_drawing() -> None:
    assert clean("zebra\n\t\x00漢 ") == "zebra ??"
