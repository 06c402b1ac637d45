"""Solver runs at the same time, each in its own process, because HiGHS uses one core per run.

Processes are spawned, not forked, because a process with several threads cannot be forked safely. They are ended as
soon as their results are not needed any more.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from penstock.partition.budget import Deadline

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def in_order_of_ending(
    work: Callable[[Task], Answer], tasks: Iterable[Task], workers: int, deadline: Deadline
) -> Iterator[Answer]:
    """The answers of ``work`` (a function of a module) to each task. If ``workers`` is 1, it runs in this process.

    When the deadline passes, or the caller stops asking, all runs are ended, because a solver checks its own time
    limit only from time to time.
    """
    tasks = list(tasks)
    if workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield work(task)
            if deadline.is_over():
                break
        return
    with multiprocessing.get_context("spawn").Pool(min(workers, len(tasks))) as pool:
        answers = pool.imap_unordered(work, tasks)
        for _ in tasks:
            try:
                yield answers.next(timeout=deadline.left_s())
            except multiprocessing.TimeoutError:
                return
