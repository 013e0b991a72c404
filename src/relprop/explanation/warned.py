"""Warned: what a reader has to know before a map is read, derived in one place for all methods."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from relprop.errors import RelpropWarning
from relprop.propagate.ledger import Balance, Ledger

__all__ = ["ALL_ZERO", "all_zero", "biases_note", "tell", "telling", "untold", "verdict", "warnings_about"]

P = ParamSpec("P")
R = TypeVar("R")

ALL_ZERO = "all zero"
_GROWTH = 100.0  # sum of |R| over the start's from which small differences of large numbers are what one sees
_ROUNDED = 1e-3  # by which rounding may push a share of all of it beyond all of it
_TAKEN = 0.9  # share of the start from which the map is about the little that is left
_CANCELS = 0.01  # a start whose sum is a smaller part of its sum of |R| is a contrast


def warnings_about(
    method: str,
    relevance: Tensor,
    targets: Tensor,
    ledger: Ledger | None = None,
    explained: Tensor | None = None,
    negative: str = "",
) -> tuple[str, ...]:
    """The warnings that a result deserves: one sentence or two a kind, none where all is well.

    - the ledger is open;
    - a map is zero everywhere;
    - the explained output isn't positive, and the method explains positive ones only;
    - the sum of |R| grew to more than 100 times the start's;
    - more than 90 % of the start was lost, or was taken by the stabiliser.

    What biases hold is exact and no fault: see `biases_note`.

    Args:
        method: its name.
        relevance: (K, N, ...).
        targets: class indices (K, N).
        ledger: where the relevance went, if the method keeps books.
        explained: the value that was explained, (K, N); None where there is no such.
        negative: what the method makes of values that aren't positive; "" where they are as good as others.
    """
    found = [_open(ledger)] if ledger is not None and not ledger.closes else []
    zero = ~relevance.flatten(2).any(-1)
    if bool(zero.any()):
        found.append(
            f"{_maps(method, zero, targets)} zero everywhere: no relevance was left at the start or on the way."
        )
    if negative and explained is not None and bool((explained <= 0).any()):
        wrong = explained <= 0
        least = float(explained[wrong][0])
        found.append(f"The explained output is {_number(least)}{_which(wrong, targets)}. {negative}")
    if ledger is not None:
        found += _from_books(ledger, targets)
    return tuple(found)


def tell(found: Sequence[str], stacklevel: int) -> None:
    """Raise the warnings of a call as one `RelpropWarning`; none where there are none.

    Args:
        found: the sentences.
        stacklevel: as for `warnings.warn`, counted from the caller of this function.
    """
    if found:
        warnings.warn(" ".join(found), RelpropWarning, stacklevel=stacklevel + 1)


def telling(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function raise the `warnings` of what it returns, as one `RelpropWarning` at its caller's line.

    Of several results, a tuple or a mapping, the first one's: they share them. Of a list of results, each from a
    method of its own, those of all, with the methods' names.
    """

    @wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        found = function(*args, **kwargs)
        if isinstance(found, list):
            each = map(_first_of, found)
            tell([f"{one.method}: {' '.join(one.warnings)}" for one in each if one.warnings], stacklevel=2)
        else:
            tell(_first_of(found).warnings, stacklevel=2)
        return found

    return told


def _first_of(found: Any) -> Any:
    several = tuple(found.values()) if isinstance(found, Mapping) else found
    return several[0] if isinstance(several, tuple) else several


def untold(function: Callable[P, R]) -> Callable[P, R]:
    """What `telling` was put around: for callers that tell the warnings their own way."""
    quiet: Callable[P, R] = function.__wrapped__  # type: ignore[attr-defined]
    return quiet


def all_zero(relevance: Tensor) -> bool:
    """Whether there is no relevance at all.

    >>> import torch
    >>> all_zero(torch.zeros(1, 3)), all_zero(torch.ones(1, 3))
    (True, False)
    """
    return not bool(relevance.any())


def verdict(ledger: Ledger | None, relevance: Tensor, targets: Tensor) -> str:
    """Whether maps add up, in a word or two: "yes", "NO", "all zero", "yes, 2 all zero" or "no ledger".

    A map without relevance says nothing, whatever its ledger says.

    Args:
        ledger: where the relevance went.
        relevance: (N, ...) or (K, N, ...).
        targets: (N,) or (K, N).

    >>> import torch
    >>> of, maps = torch.tensor([0, 0]), torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    >>> verdict(None, maps, of), verdict(None, 0 * maps, of), verdict(None, maps[:1], of[:1])
    ('no ledger, 1 all zero', 'all zero', 'no ledger')
    """
    if ledger is not None and not ledger.closes:
        return "NO"
    empty = int((~relevance.flatten(targets.dim()).any(-1)).sum())
    if empty == targets.numel():
        return ALL_ZERO
    word = "no ledger" if ledger is None else "yes"
    return f"{word}, {empty} {ALL_ZERO}" if empty else word


def _open(ledger: Ledger) -> str:
    worst = max(ledger.rows, key=lambda row: row.error, default=None)
    where = "" if worst is None else f", most at {worst.operator} ({worst.module or worst.node})"
    return (
        f"The ledger does not close: relevance is unaccounted for (error {ledger.max_error:.1e}, allowed "
        f"{ledger.tolerance:.0e}{where}). Don't trust the map before you know why."
    )


def _from_books(ledger: Ledger, targets: Tensor) -> list[str]:
    balances = ledger.balances
    found = []
    grown = _first(balances, lambda b: b.largest / b.size if b.size else 0.0, _GROWTH)
    if grown is not None:
        times, which = grown
        found.append(
            f"The sum of |relevance| grows to {_number(times)} times the start's"
            f"{_named(which, balances, targets)}: small differences of large numbers decide what the map shows."
        )
    kinds: list[tuple[Callable[[Balance], float], str]] = [
        (lambda b: b.lost, "was lost on the way, at units to which the rule finds no input that counts"),
        (lambda b: b.stabiliser, "was taken by the stabiliser (epsilon)"),
    ]
    for column, words in kinds:
        taken = _taken(balances, column)
        if taken is not None:
            share, which = taken
            part = f"{100 * share:.0f} % of the start" if share <= 1 + _ROUNDED else _more(share)
            found.append(f"{part} {words}{_named(which, balances, targets)}: the map is about what is left.")
    return found


def _more(share: float) -> str:
    """Of a contrast: more than its start, in which what speaks for and against has cancelled."""
    return (
        f"{_number(share)} times the difference that is explained, in which what speaks for and against largely "
        "cancels,"
    )


def _taken(
    balances: Sequence[Sequence[Balance]], column: Callable[[Balance], float]
) -> tuple[float, tuple[int, int, int]] | None:
    """The largest share of a start that a column of the books holds, where that is nearly all of it."""
    return _first(balances, lambda b: _share(b, column(b)), _TAKEN)


def biases_note(ledger: Ledger | None, targets: Tensor) -> tuple[str, ...]:
    """A sentence where biases hold more than 90 % of the start, or more than 90 % against it; else none.

    Args:
        ledger: where the relevance went.
        targets: class indices (K, N).
    """
    if ledger is None:
        return ()
    held = _first(ledger.balances, lambda b: abs(_share(b, b.bias)), _TAKEN)
    if held is None:
        return ()
    _, which = held
    k, n, _ = which
    share = _share(ledger.balances[k][n], ledger.balances[k][n].bias)
    percent = f"{100 * share:.0f} %".replace("-", "−")
    where = _named(which, ledger.balances, targets)
    held_by = f"Biases, which belong to no pixel, hold {percent} of the start{where}"
    return (f"{held_by}; the map's values add up to the rest of it.",)


def _share(b: Balance, part: float) -> float:
    """A part of the start; of its sum of |R| where its own sum nearly cancels."""
    whole = b.start if abs(b.start) > _CANCELS * b.size else b.size
    return part / whole if whole else 0.0


def _first(
    balances: Sequence[Sequence[Balance]], value: Callable[[Balance], float], limit: float
) -> tuple[float, tuple[int, int, int]] | None:
    """The largest value beyond a limit, with its target and sample and how many are beyond; None: none is."""
    beyond = [
        (value(b), k, n) for k, row in enumerate(balances) for n, b in enumerate(row) if value(b) > limit
    ]
    if not beyond:
        return None
    most, k, n = max(beyond)
    return most, (k, n, len(beyond))


def _named(which: tuple[int, int, int], balances: Sequence[Sequence[Balance]], targets: Tensor) -> str:
    k, n, count = which
    total = sum(len(row) for row in balances)
    if total == 1:
        return ""
    parts = []
    if len(balances) == targets.shape[0] > 1 or (len(balances) == targets.shape[0] and len(balances[k]) > 1):
        parts.append(f"target {int(targets[k, n])}")
    if len(balances[k]) > 1:
        parts.append(f"sample {n}")
    worst = f" (the most: {', '.join(parts)})" if parts else ""
    return f" in {count} of {total} {'maps' if total == targets.numel() else 'walks'}{worst}"


def _maps(method: str, which: Tensor, targets: Tensor) -> str:
    if which.numel() == 1:
        return f"The map of {method} is"
    k, n = which.nonzero()[0].tolist()
    first = f"the first: target {int(targets[k, n])}, sample {n}"
    return f"{int(which.sum())} of {which.numel()} maps of {method} ({first}) are"


def _which(which: Tensor, targets: Tensor) -> str:
    if which.numel() == 1:
        return ""
    k, n = which.nonzero()[0].tolist()
    return (
        f" for target {int(targets[k, n])} of sample {n}, and not positive in {int(which.sum())} of "
        f"{which.numel()} cases"
    )


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")
