"""Jobs by deadline in one array, and which of them to give up so that the most meet their deadlines.

``book`` has a row each for deadline, remaining time, type and arrival number, and a column a job, by (deadline,
arrival number). Jobs are in the columns from ``book[SPAN, 0]`` up to ``book[SPAN, 1]``: the first job in order
leaves most often, and then only the first number moves. Kernels, as every decision reads the whole book.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.schedule.kernel import inner, kernel

ROWS, SPAN = 5, 4


def new_book(columns: int = 64) -> NDArray[np.int64]:
    """An empty book."""
    return np.zeros((ROWS, columns), np.int64)


def with_room(book: NDArray[np.int64]) -> NDArray[np.int64]:
    """``book``, or the same jobs in a larger one if its last column is used."""
    first, last = book[SPAN, :2].tolist()
    if last < book.shape[1]:
        return book
    larger = new_book(max(64, 2 * (last - first)))
    larger[:SPAN, : last - first] = book[:SPAN, first:last]
    larger[SPAN, 1] = last - first
    return larger


@kernel
def insert(book: NDArray[np.int64], deadline_us: int, remaining_us: int, job_type: int, sequence: int) -> int:
    """Put a job in its place, and return the place; the last column must be free (:func:`with_room`)."""
    first, place = book[4, 0], book[4, 1]
    while place > first and (
        book[0, place - 1] > deadline_us
        or (book[0, place - 1] == deadline_us and book[3, place - 1] > sequence)
    ):
        for row in range(4):
            book[row, place] = book[row, place - 1]
        place -= 1
    book[0, place] = deadline_us
    book[1, place] = remaining_us
    book[2, place] = job_type
    book[3, place] = sequence
    book[4, 1] += 1
    return place


@kernel
def delete(book: NDArray[np.int64], deadline_us: int, sequence: int) -> bool:
    """Take out the job with that deadline and arrival number; False if it is not there."""
    first, last = book[4, 0], book[4, 1]
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if book[0, middle] < deadline_us or (book[0, middle] == deadline_us and book[3, middle] < sequence):
            low = middle + 1
        else:
            high = middle
    if low == last or book[3, low] != sequence:
        return False
    if low == first:
        book[4, 0] += 1
        return True
    for row in range(4):
        for later in range(low + 1, last):
            book[row, later - 1] = book[row, later]
    book[4, 1] -= 1
    return True


@kernel
def surplus(book: NDArray[np.int64], start_us: int, width: int, budgets: NDArray[np.float64]) -> int:
    """The arrival number of the job to give up, -1 if all meet their deadlines.

    Jobs run in order of deadline from ``start_us``, ``width`` at a time: the k-th is taken to end when all work up
    to it is done at full width, and not before its own time. At the first job that would be late, one of the jobs
    up to it goes: the longest of the types whose budget affords a whole miss (``budgets`` of at least 1), else one of
    the type with the largest budget.
    """
    first, last = book[4, 0], book[4, 1]
    work = 0
    for place in range(first, last):
        remaining = book[1, place]
        work += remaining
        time_left = book[0, place] - start_us
        if remaining > time_left:
            return book[3, place]
        # The first comparison also keeps the product of a job without a deadline from overflowing.
        if work > time_left and work > time_left * width:
            return book[3, _to_give_up(book, first, place, budgets)]
    return -1


@inner
def _to_give_up(book: NDArray[np.int64], first: int, last: int, budgets: NDArray[np.float64]) -> int:
    # A type that affords only part of a miss must not lead: each type would end one miss above its share.
    chosen = affordable = -1
    for place in range(first, last + 1):
        remaining = book[1, place]
        budget = budgets[book[2, place]]
        if budget >= 1.0:
            if affordable < 0 or remaining > book[1, affordable]:
                affordable = place
        elif (
            chosen < 0
            or budget > budgets[book[2, chosen]]
            or (budget == budgets[book[2, chosen]] and remaining > book[1, chosen])
        ):
            chosen = place
    return chosen if affordable < 0 else affordable
