"""Sentence: what a map says and how much of the score it accounts for, in plain words."""

from __future__ import annotations

from torch import Tensor

from relprop.explanation.explanation import Explanation
from relprop.reports.text import percent

__all__ = ["alike", "sentence"]


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
    s = e.ledger.summary()
    start = float(s["start"])
    if e.method == "agreement":
        shown = (
            f"Red speaks for the first and blue for the second of {what}, where two explanations agree."
            if e.asked
            else f"Red is where two explanations agree on what speaks for {what}."
        )
        return f"{shown} It says where, not how much."
    shares = {key: percent(float(s[key]), start) for key in ("input", "bias", "lost")}
    held = f"The map accounts for {shares['input']} of the score of {what}"
    rest = (
        f"biases, which belong to no place, hold {shares['bias']}, and {shares['lost']} was lost on the way"
    )
    closes = "" if e.ledger.closes else " The account does not add up: don't trust this map."
    return f"{held}; {rest}.{closes}"


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
