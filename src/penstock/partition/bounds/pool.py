"""Solver runs side by side in processes of their own, for HiGHS holds one core each.

Processes are spawned, not forked: a parent with threads of its own may not be forked safely. They are ended as soon as
nobody waits for them.
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
    """The answers of ``work`` (a function of a module) to each task; in this process where ``workers`` is 1.

    When the deadline passes, or the caller stops asking, all runs are ended: a solver looks at its own time limit
    only now and then.
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
