"""Words of what was measured of a detection: short lines for its page, a table for the terminal."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relprop.detectors.detector import EDGES
from relprop.detectors.filling import fill_words
from relprop.detectors.hiding import short_number
from relprop.detectors.moves import direction
from relprop.reports.sentence import kept_back
from relprop.reports.text import Table, percent

if TYPE_CHECKING:
    from relprop.detectors.hiding import Check
    from relprop.detectors.measured import Measured
    from relprop.detectors.parts import Part, Parts
    from relprop.detectors.removal import Effects
    from relprop.detectors.what_if import WhatIf

__all__ = [
    "account",
    "arrows",
    "check_lines",
    "check_table",
    "measured_document",
    "measured_note",
    "most",
    "pulls",
    "what_if_lines",
]

_ARROWS = {"left": "←", "right": "→", "up": "↑", "down": "↓"}
_NOTHING = 0.05  # pixels: less would be written as 0
_CONTRAST = 0.01  # of the magnitudes at the start: where their sum is smaller, shares of it mean nothing
_LEAST = 0.1  # of the largest effect: a smaller one is not written on its cell


def account(parts: Parts) -> str:
    """What a detection's class map says, and how much of the score arrived in it, in plain sentences."""
    e, part = parts.explanation, parts.parts[0]
    where = f"{percent(part.inside, 1)} of the red lies in the box"
    said = f"Red speaks for {part.name}{', blue against it' if e.signed else ''}; "
    said += f"{'nothing is red' if math.isnan(part.inside) else where}."
    if e.ledger is None or not e.ledger.balances:
        return f"{said} This method keeps no account of how much of the score its map holds."
    own = e.ledger.balances[0][0]  # the class comes first
    if own.start < _CONTRAST * own.size:
        said += (
            " Here the network speaks rather against it, or for and against alike: there is no share to tell."
        )
    else:
        rest = kept_back(own.start, own.bias, own.stabiliser, own.lost)
        said += (
            f" Of the score that was shared out {percent(own.end, own.start)} arrived in the picture; {rest}."
        )
        if "ledger_of" in e.extras:
            said += f" (This is the account of {e.extras['ledger_of']}.)"
    return said if e.ledger.closes else f"{said} The account does not add up: don't trust this map."


def check_lines(check: Check) -> tuple[str, ...]:
    """Whether a map holds up, in one or two short lines."""
    share = check.portion
    if check.red is None:
        first = "⚠ doesn't hold up: nothing in the map is red"
    else:
        verdict = "holds up" if check.holds else "⚠ doesn't hold up"
        what, back, on = "offset", "goes back by", "goes on by"
        if check.way:
            what = "edge"
        elif check.of in ("class", "objectness"):
            what, back, on = _asked(check), "falls by", "rises by"
        red, random = (
            f"{back if v >= 0 else on} {short_number(abs(v))}{check.unit}"
            for v in (check.red, check.random[0])
        )
        did = f"the {what} {red}; without a random one it {random}"
        first = f"{verdict}: without its reddest {share} {did}"
    lines = [first]
    if check.blue is not None and check.blue > 0 and not check.against:
        lines.append(f"blue isn't against: its bluest {share} costs {short_number(check.blue)}, too")
    return tuple(lines)


def check_table(parts: Parts, measured: Measured) -> Table:
    """What hiding cost, a row a map."""
    rows = []
    for part, check in zip(parts.parts, measured.checks, strict=True):
        mean, low, high = (short_number(v) for v in check.random)
        rows.append(
            [
                part.name,
                "–" if check.red is None else f"{short_number(check.red)}{check.unit}",
                f"{mean} [{low}, {high}]",
                "–" if check.blue is None else short_number(check.blue),
                "yes" if check.holds else f"no{_worse(check)}",
                {None: "–", True: "yes", False: "no"}[check.against],
            ]
        )
    share = measured.checks[0].portion
    headers = [f"hiding a {share} costs", "reddest", "random", "bluest", "red holds up", "blue is against"]
    return Table(headers, rows, (1, 2, 3))


def measured_note(measured: Measured) -> str:
    """How it was measured, in a sentence or two."""
    share = measured.checks[0].portion
    fills = " and ".join(fill_words(loss.fill) for loss in measured.checks[0].losses)
    draws = len(measured.checks[0].losses[0].random)
    note = f"Hidden was a {share} of the box's area, filled with {fills}: means over both and {draws} draws."
    if measured.effects is not None:
        note += f" Cells were taken away one at a time, filled with {fill_words(measured.effects.fill)}."
    return note


def measured_document(measured: Measured) -> dict[str, Any]:
    """Plain values of all of it."""
    effects, what_if = measured.effects, measured.what_if
    return {
        "runs": measured.runs,
        "checks": [
            asdict(check)
            | {
                "red": check.red,
                "blue": check.blue,
                "random": check.random,
                "holds": check.holds,
                "against": check.against,
                "words": check.words,
            }
            for check in measured.checks
        ],
        "cells": None
        if effects is None
        else {
            "grid": effects.cells,
            "fill": effects.fill,
            "boxes": effects.boxes.tolist(),
            "effects": {edge: effects.of(edge).tolist() for edge in EDGES},
            "words": {edge: effects.words(edge) for edge in EDGES},
        },
        "what_if": None if what_if is None else asdict(what_if) | {"words": what_if.words},
    }


def what_if_lines(found: WhatIf) -> tuple[str, ...]:
    """The two measured effects on the what-if class's logit."""
    alone = f"its logit without the {found.label}: {_change(-found.box[1])}"
    if found.region is None:
        return (f"{alone} (no {found.other} is known here)",)
    mixed = "" if found.apart else " (they overlap)"
    return (f"{alone}, without the {found.other}'s region: {_change(-found.region[1])}{mixed}",)


def pulls(part: Part, effects: Effects) -> NDArray[np.float64]:
    """How far each cell pulls an edge, in pixels: positive where the edge's map is to be red."""
    found = effects.of(part.of).cpu().double().numpy()
    return np.asarray(found if part.red_is_more else -found)


def arrows(part: Part, effects: Effects) -> list[str]:
    """The same with an arrow, such as "←8"; "" for what is little beside the most."""
    found = effects.of(part.of).tolist()
    least = max(_NOTHING, _LEAST * max(map(abs, found)))
    return [f"{_ARROWS[_way(part, v)]}{_pixels(abs(v))}" if abs(v) > least else "" for v in found]


def most(part: Part, effects: Effects) -> str:
    """Which cell pulls an edge most, in a short line."""
    k = effects.strongest(part.of)
    value = float(effects.of(part.of)[k])
    if abs(value) < _NOTHING:
        return "no part alone moves it"
    place = "the middle" if effects.names[k] == "middle" else f"the {effects.names[k]} part"
    return f"most by {place}: {_pixels(abs(value))} px {_way(part, value)}"


def _way(part: Part, effect: float) -> str:
    return direction(part.of, effect > 0)


def _pixels(length: float) -> str:
    return f"{length:.0f}" if length >= 3 else f"{length:.1f}"


def _asked(check: Check) -> str:
    return check.what.removeprefix("the ").partition(" of ")[0]


def _worse(check: Check) -> str:
    if check.red is None or check.red <= 0:
        return ""
    worse, draws = check.as_much
    return f": {worse} of {draws} random ones cost as much"


def _change(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−") if round(value, 1) else "0.0"
