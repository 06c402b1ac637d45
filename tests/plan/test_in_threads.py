"""Work for several models at once: all of it, in order, by the caller too, and errors come out."""

from __future__ import annotations

import threading

import pytest

from penstock.plan.large.in_threads import THREADS, in_threads


def test_answers_are_in_the_order_of_the_items_and_the_caller_works_too() -> None:
    both = threading.Barrier(THREADS)

    def work(item: int) -> tuple[int, int]:
        if item < THREADS:
            both.wait(timeout=60)  # each thread takes one of the first items
        return item * item, threading.get_ident()

    found = in_threads(work, range(20))
    assert [square for square, _ in found] == [item * item for item in range(20)]
    assert threading.get_ident() in {who for _, who in found[:THREADS]}
    assert len({who for _, who in found[:THREADS]}) == THREADS


def test_nothing_to_do_is_done_and_an_error_is_raised() -> None:
    assert in_threads(str, []) == []
    for bad in range(3):
        with pytest.raises(ZeroDivisionError):
            in_threads(lambda item, bad=bad: 1 // (item - bad), range(3))
