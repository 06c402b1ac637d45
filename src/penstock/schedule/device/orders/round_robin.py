"""Round robin over types: one stage of each type in turn, within a type by arrival."""

from __future__ import annotations

from collections import deque
from typing import final

from penstock.schedule.device.job_types import Job
from penstock.schedule.device.orders.order import Copies
from penstock.schedule.device.orders.ready_heap import ReadyHeap


@final
class RoundRobinOrder:
    """A type that gets its turn goes to the end of the line; a type that comes back joins at the end."""

    def __init__(self, copies: Copies) -> None:
        self._heap = ReadyHeap(copies, by_type=True)
        self._line: deque[int] = deque()

    def add(self, job: Job) -> None:
        """Queue, and join the line if the type was not queued."""
        if self._heap.queued(job.job_type) == 0:
            self._line.append(job.job_type)
        self._heap.add(job, job.sequence)

    def best(self, now_us: int) -> Job | None:
        """The oldest job of the first type in line that can start one."""
        for job_type in self._line:
            job = self._heap.best_of(job_type)
            if job is not None:
                return job
        return None

    def take(self, job: Job) -> None:
        """The type had its turn."""
        self._line.remove(job.job_type)
        self._heap.take_out(job)
        if self._heap.queued(job.job_type):
            self._line.append(job.job_type)

    def remove(self, job: Job) -> None:
        """Leave the queue; the type keeps its place while it has other jobs."""
        self._heap.take_out(job)
        if not self._heap.queued(job.job_type):
            self._line.remove(job.job_type)

    def copy_freed(self, job_type: int) -> None:
        """Pass on."""
        self._heap.copy_freed(job_type)

    def surplus(self, now_us: int) -> Job | None:
        """The best job itself, if it is late."""
        job = self.best(now_us)
        return job if job is not None and job.is_late(now_us) else None

    def arrived(self, job: Job) -> None:
        """Nothing to count."""

    def ended(self, job: Job, *, met: bool | None) -> None:
        """Nothing to count."""
