"""Things of one kind run together and come out in order, with a bounded number of them held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relprop.many.ahead import ahead
from relprop.many.order import InOrder


def kinds(n: int) -> str:
    """Seven kinds in no order."""
    return "abcdefg"[n * n * 3 % 7]


def test_results_come_in_order_and_batches_are_of_one_kind() -> None:
    ran: list[list[int]] = []

    def work(many: Sequence[int]) -> list[int]:
        ran.append(list(many))
        return [10 * n for n in many]

    found = list(InOrder(kinds, lambda _: 4, work)(range(200)))
    assert found == [10 * n for n in range(200)]
    assert all(len({kinds(n) for n in batch}) == 1 for batch in ran)
    assert all(len(batch) <= 4 for batch in ran)
    full = sum(len(batch) == 4 for batch in ran)
    assert full >= 200 // 4 - 7  # the last of each kind may be fewer


def test_what_is_held_is_bounded() -> None:
    drawn, given = 0, 0
    most = 0

    def source() -> Iterator[int]:
        nonlocal drawn, most
        for n in range(300):
            drawn += 1
            most = max(most, drawn - given)
            yield n

    # The first is the only one of its kind: it would wait for company until the end.
    lonely = InOrder(lambda n: n == 0, lambda _: 4, lambda many: list(many), held_most=5)
    for n in lonely(source()):
        assert n == given
        given += 1
    assert most <= 5 * 4 + 1


def test_bytes_that_are_held_are_bounded() -> None:
    drawn, given, most = 0, 0, 0

    def source() -> Iterator[int]:
        nonlocal drawn, most
        for n in range(100):
            drawn += 1
            most = max(most, drawn - given)
            yield n

    in_order = InOrder(lambda n: n % 50, lambda _: 8, lambda many: list(many), lambda _: 10, bytes_held=100)
    for _ in in_order(source()):
        given += 1
    assert most <= 100 // 10 + 1


def test_nothing_is_drawn_before_it_is_asked_for() -> None:
    drawn: list[int] = []

    def source() -> Iterator[int]:
        for n in range(1000):
            drawn.append(n)
            yield n

    found = InOrder(lambda _: 0, lambda _: 4, lambda many: list(many))(ahead(source(), lambda n: n, 6))
    assert drawn == []
    assert next(found) == 0
    assert len(drawn) <= 4 + 6


def test_a_size_that_shrinks_meanwhile_is_followed() -> None:
    sizes = [8]

    def work(many: Sequence[int]) -> list[int]:
        sizes[0] = 2
        return list(many)

    assert list(InOrder(lambda _: 0, lambda _: sizes[0], work)(range(30))) == list(range(30))
