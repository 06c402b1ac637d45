"""The most jobs within their deadlines: earliest deadline first, without the jobs that cost the others too much.

Take jobs by deadline; when one would be late, give up the longest so far. On one machine this leaves the fewest late
jobs (J. M. Moore, "An n job, one machine sequencing algorithm for minimizing the number of late jobs", Management
Science 15(1), 1968, with Hodgson's variant). We use remaining times and decide anew at every release, so jobs in
progress and later arrivals are taken into account. With miss budgets, the longest job of the types that can afford
a whole miss goes; if no type can, one of the type that is nearest to it. So no type pays for all the others, and
each keeps its share of misses as far as that can be done.
"""

from __future__ import annotations

from typing import final

import numpy as np

from penstock.schedule.device.job_types import LONGEST_US, Job
from penstock.schedule.device.late import MissBudgets
from penstock.schedule.device.orders.edd_kernels import delete, insert, new_book, surplus, with_room
from penstock.schedule.device.orders.edf import edf_key
from penstock.schedule.device.orders.order import Copies
from penstock.schedule.device.orders.ready_heap import ReadyHeap


@final
class MooreHodgsonOrder:
    """EDF over the jobs that are not given up. ``width`` segments run at a time."""

    def __init__(self, copies: Copies, width: int, miss_budget: float | None = None) -> None:
        types = len(copies.limits)
        self._heap = ReadyHeap(copies)
        self._budgets = None if miss_budget is None else MissBudgets(types, miss_budget)
        # Without budgets every type can afford every miss.
        self._left = np.ones(types) if miss_budget is None else np.zeros(types)
        self._width = width
        self._book = new_book()
        self._jobs: dict[int, Job] = {}
        self._in_flight_us: dict[Job, float] = {}
        self._busy_us = 0.0
        self._compile()

    def add(self, job: Job) -> None:
        """Queue by deadline."""
        self._landed(job)
        self._book = with_room(self._book)
        insert(self._book, job.deadline_us, _whole_us(job.left_us()), job.job_type, job.sequence)
        self._jobs[job.sequence] = job
        self._heap.add(job, edf_key(job))

    def best(self, now_us: int) -> Job | None:
        """The earliest deadline among what can start."""
        return self._heap.best()

    def take(self, job: Job) -> None:
        """Leave the queue; what is left of the job still takes the device's time."""
        self.remove(job)
        self._in_flight_us[job] = left_us = max(0.0, job.left_us())
        self._busy_us += left_us

    def remove(self, job: Job) -> None:
        """Leave the queue."""
        delete(self._book, job.deadline_us, job.sequence)
        del self._jobs[job.sequence]
        self._heap.take_out(job)

    def copy_freed(self, job_type: int) -> None:
        """Pass on."""
        self._heap.copy_freed(job_type)

    def surplus(self, now_us: int) -> Job | None:
        """A job without which the others up to its deadline can meet theirs."""
        start_us = now_us + round(self._busy_us / self._width)
        sequence = surplus(self._book, start_us, self._width, self._left)
        if sequence < 0:
            return None
        job = self._jobs[sequence]
        if self._budgets is not None:
            self._budgets.missed(job.job_type)
            self._left[job.job_type] = self._budgets.left[job.job_type]
        return job

    def arrived(self, job: Job) -> None:
        """The budget of the job's type grows."""
        if self._budgets is not None:
            self._budgets.arrived(job.job_type)
            self._left[job.job_type] = self._budgets.left[job.job_type]

    def ended(self, job: Job, *, met: bool | None) -> None:
        """Correct the budget if the job did better or worse than was decided."""
        self._landed(job)
        if self._budgets is not None and met is job.given_up:
            (self._budgets.met_after_all if met else self._budgets.missed)(job.job_type)
            self._left[job.job_type] = self._budgets.left[job.job_type]

    def _compile(self) -> None:
        """Call every kernel once: a server must not wait for the compiler at its first decision."""
        insert(self._book, 0, 0, 0, 0)
        surplus(self._book, 0, self._width, self._left)
        delete(self._book, 0, 0)
        self._book = new_book()

    def _landed(self, job: Job) -> None:
        self._busy_us -= self._in_flight_us.pop(job, 0.0)
        if not self._in_flight_us:
            self._busy_us = 0.0  # no drift from rounding


def _whole_us(left_us: float) -> int:
    return min(max(0, round(left_us)), LONGEST_US)
