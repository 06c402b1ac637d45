"""Work for several models at once. The calling thread works too.

The clock of solving leaves out the time in which the calling thread waits for a processor (:mod:`penstock.clock`). If
that thread slept while others work, their waits on a busy machine would count as solving.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

THREADS = 2


def in_threads(work: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """``work`` of each item, in their order, by :data:`THREADS` threads. An error of ``work`` is raised."""
    answers: dict[int, Answer] = {}
    # Taking the next number is one step of the interpreter.
    turns = itertools.count()

    def take_turns() -> None:
        while (turn := next(turns)) < len(items):
            answers[turn] = work(items[turn])

    with ThreadPoolExecutor(THREADS - 1) as pool:
        others = [pool.submit(take_turns) for _ in range(THREADS - 1)]
        take_turns()
        for other in others:
            other.result()
    return [answers[turn] for turn in range(len(items))]
