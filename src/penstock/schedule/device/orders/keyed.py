"""Any order that is a fixed key per stage: the job with the least key first, ties by arrival."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from penstock.schedule.device.job_types import Job
from penstock.schedule.device.orders.order import Copies
from penstock.schedule.device.orders.ready_heap import ReadyHeap

Key = Callable[[Job], Any]


@final
class KeyedOrder:
    """Least ``key(job)`` first; the key is read when the job is queued."""

    def __init__(self, copies: Copies, key: Key) -> None:
        self._heap = ReadyHeap(copies)
        self._key = key

    def add(self, job: Job) -> None:
        """Queue by the key of now."""
        self._heap.add(job, self._key(job))

    def best(self, now_us: int) -> Job | None:
        """The least key among what can start."""
        return self._heap.best()

    def take(self, job: Job) -> None:
        """Leave the queue."""
        self._heap.take_out(job)

    def remove(self, job: Job) -> None:
        """Leave the queue."""
        self._heap.take_out(job)

    def copy_freed(self, job_type: int) -> None:
        """Pass on."""
        self._heap.copy_freed(job_type)

    def surplus(self, now_us: int) -> Job | None:
        """The best job itself, if it is late: no other job is looked at before its turn."""
        job = self._heap.best()
        return job if job is not None and job.is_late(now_us) else None

    def arrived(self, job: Job) -> None:
        """Nothing to count."""

    def ended(self, job: Job, *, met: bool | None) -> None:
        """Nothing to count."""
