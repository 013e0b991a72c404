"""Sentence: what a map says and how much of the score it accounts for, in plain words."""

from __future__ import annotations

from torch import Tensor

from relprop.explanation.explanation import Explanation
from relprop.explanation.sheet import combination
from relprop.reports.text import percent

__all__ = ["accounted", "alike", "sentence"]

_CONTRAST = 0.01  # of a seed's Σ|R|: where its sum is smaller, shares of that sum mean nothing


def sentence(e: Explanation, name: str) -> str:
    """One or two sentences for a reader who doesn't know the methods.

    Args:
        e: the explanation of one target and sample.
        name: of the class.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2, bias=False), torch.nn.Flatten())
    >>> e = relprop.explain(net, torch.ones(1, 1, 2, 2), 0, "lrp-0")
    >>> sentence(e, "cat").startswith("The map accounts for 100.0 % of the score of cat")
    True
    """
    what = e.asked[0] if e.asked else name
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
    shares = {key: percent(float(s[key]), start) for key in ("input", "bias", "lost")}
    several = e.targets.numel()
    # A ledger keeps one account for all maps of an explanation.
    held = (
        f"The map accounts for {shares['input']} of the score of {what}"
        if several == 1
        else f"The {several} maps of this explanation together account for {shares['input']} of their scores"
    )
    rest = (
        f"biases, which belong to no place, hold {shares['bias']}, and {shares['lost']} was lost on the way"
    )
    closes = "" if e.ledger.closes else " The account does not add up: don't trust this map."
    return f"{held}; {rest}.{closes}"


def accounted(e: Explanation) -> float | None:
    """The share of the score that an explanation's maps account for; None where there is no such share.

    There is none without a ledger, and none where the map is made of two explanations or starts from relevance
    that sums to nearly nothing (a contrast).
    """
    if e.ledger is None or combination(e):
        return None
    summary, rows = e.ledger.summary(), e.ledger.rows
    start = float(summary["start"])
    if start == 0 or (rows and abs(start) < _CONTRAST * rows[0].absolute):
        return None
    return float(summary["input"]) / start


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
