"""Sentence: what a map says and how much of the score it accounts for, in plain words."""

from __future__ import annotations

from torch import Tensor

from relprop.explanation.explanation import Explanation
from relprop.explanation.sheet import combination
from relprop.propagate.ledger import Ledger
from relprop.reports.text import percent

__all__ = ["accounted", "alike", "kept_back", "nearly_nothing", "sentence"]

_CONTRAST = 0.01  # of a seed's Σ|R|: where its sum is smaller, shares of that sum mean nothing
_WRITTEN = 5e-4  # of the score: less would be written as 0.0 %


def sentence(e: Explanation, name: str) -> str:
    """One or two sentences for a reader who doesn't know the methods.

    Args:
        e: the explanation.
        name: what its target is called, or that of its targets which the sentence stands below.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2, bias=False), torch.nn.Flatten())
    >>> e = relprop.explain(net, torch.ones(1, 1, 2, 2), 0, "lrp-0")
    >>> sentence(e, "cat").startswith("The map accounts for 100.0 % of the score of cat")
    True
    """
    what = e.asked[0] if len(e.asked) == 1 else name
    if e.ledger is None:
        return f"Red speaks for {what}. This method keeps no account of how much of the score its map holds."
    if e.method == "agreement":
        shown = (
            f"Red speaks for the first and blue for the second of {what}, where two explanations agree."
            if e.asked
            else f"Red is where two explanations agree on what speaks for {what}."
        )
        return f"{shown} It says where, not how much."
    if accounted(e) is None:
        against = ", blue against it" if e.signed else ""
        return f"Red speaks for {what}{against}. The map is a difference: it says where, not how much."
    s = e.ledger.summary()
    start = float(s["start"])
    arrived = percent(float(s["input"]), start)
    several = e.targets.numel()
    # A ledger keeps one account for all maps of an explanation.
    held = (
        f"The map accounts for {arrived} of the score of {what}"
        if several == 1
        else f"The {several} maps of this explanation together account for {arrived} of their scores"
    )
    rest = kept_back(start, float(s["bias"]), float(s["stabiliser"]), float(s["lost"]))
    closes = "" if e.ledger.closes else " The account does not add up: don't trust this map."
    return f"{held}; {rest}.{closes}"


def accounted(e: Explanation) -> float | None:
    """The share of the score that an explanation's maps account for; None where there is no such share.

    There is none without a ledger, and none where the map is made of two explanations or starts from relevance
    that sums to nearly nothing (a contrast).
    """
    if e.ledger is None or combination(e) or nearly_nothing(e.ledger):
        return None
    summary = e.ledger.summary()
    return float(summary["input"]) / float(summary["start"])


def nearly_nothing(ledger: Ledger) -> bool:
    """Whether what starts sums to nearly nothing (a contrast), so that shares of it would mean nothing."""
    start, rows = float(ledger.summary()["start"]), ledger.rows
    return start == 0 or bool(rows and abs(start) < _CONTRAST * rows[0].absolute)


def kept_back(start: float, bias: float, stabiliser: float, lost: float) -> str:
    """Where the score went that no place has, in words; the stabiliser is named where it took something.

    Args:
        start: the score.
        bias, stabiliser, lost: what each took of it.

    >>> kept_back(2.0, 0.5, 0.1, 0.0)
    'biases, which belong to no place, hold 25.0 %, the stabiliser took 5.0 %, and 0.0 % was lost on the way'
    """
    held, took, gone = (percent(part, start) for part in (bias, stabiliser, lost))
    taken = f", the stabiliser took {took}" if abs(stabiliser) >= _WRITTEN * abs(start) else ""
    return f"biases, which belong to no place, hold {held}{taken}, and {gone} was lost on the way"


def alike(one: Tensor, two: Tensor) -> str:
    """How far two maps have the same strong places, in a sentence: of the strongest tenth of each.

    Args:
        one, two: (H, W), of the same part of a picture.

    >>> import torch
    >>> heat = torch.arange(100.0).reshape(10, 10)
    >>> alike(heat, 2 * heat)
    'Of the strongest tenth of the pixels, 100.0 % are the same in both maps; by chance 10.0 % would be.'
    """
    if one.shape != two.shape:
        return "The two models see pictures of different sizes: compare the maps by eye."
    count = max(1, one.numel() // 10)
    places = [set(m.flatten().argsort(descending=True, stable=True)[:count].tolist()) for m in (one, two)]
    same, chance = percent(len(places[0] & places[1]), count), percent(count, one.numel())
    return f"Of the strongest tenth of the pixels, {same} are the same in both maps; by chance {chance} would be."
