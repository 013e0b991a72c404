"""Order: things of one kind are worked on together, and come out as they went in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

__all__ = ["InOrder"]

S = TypeVar("S")
T = TypeVar("T")


class InOrder(Generic[S, T]):
    """Forms batches of one kind among the next few things, and gives the results in the order of the things.

    As long as the first thing's batch isn't full, more are drawn; the batch runs when it is full, when nothing
    more comes, or when as much is held as may be.

    Args:
        kind: only things of one kind run together.
        size: how many of a kind run together, by one of them.
        work: things of one kind -> as many results.
        held: how many bytes a thing or a result holds.
        bytes_held: at most so many are held, one batch aside.
        held_most: at most so many times a batch's size are held.

    >>> pairs = InOrder(kind=lambda s: len(s), size=lambda s: 2, work=lambda many: ["+".join(many)] * len(many))
    >>> list(pairs(["a", "bb", "c", "dd", "e"]))
    ['a+c', 'bb+dd', 'a+c', 'bb+dd', 'e']
    """

    def __init__(
        self,
        kind: Callable[[S], Hashable],
        size: Callable[[S], int],
        work: Callable[[Sequence[S]], Sequence[T]],
        held: Callable[[S | T], int] = lambda _: 0,
        bytes_held: int = 2**27,
        held_most: int = 16,
    ) -> None:
        self._kind, self._size, self._work, self._held = kind, size, work, held
        self._bytes_held, self._held_most = bytes_held, held_most

    def __call__(self, things: Iterable[S]) -> Iterator[T]:
        """The results, one a thing, in the same order."""
        source = iter(things)
        waiting: dict[Hashable, deque[tuple[int, S]]] = {}
        kinds: dict[int, Hashable] = {}  # of what waits, by place
        done: dict[int, T] = {}
        drawn = given = held = 0
        ended = False
        while not ended or kinds or done:
            if given in done:
                result = done.pop(given)
                held -= self._held(result)
                given += 1
                yield result
                continue
            if given in kinds:
                same = waiting[kinds[given]]
                size = self._size(same[0][1])
                full = held >= self._bytes_held or len(kinds) + len(done) >= self._held_most * size
                if len(same) >= size or ended or full:
                    batch = [same.popleft() for _ in range(min(size, len(same)))]
                    if not same:
                        del waiting[kinds[given]]
                    results = self._work([thing for _, thing in batch])
                    for (place, thing), result in zip(batch, results, strict=True):
                        del kinds[place]
                        done[place] = result
                        held += self._held(result) - self._held(thing)
                    continue
            try:
                thing = next(source)
            except StopIteration:
                ended = True
                continue
            kind = self._kind(thing)
            waiting.setdefault(kind, deque()).append((drawn, thing))
            kinds[drawn] = kind
            held += self._held(thing)
            drawn += 1
