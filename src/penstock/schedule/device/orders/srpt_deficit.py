"""Paella's rule: shortest remaining time, unless a type waits too long.

On each release with N types queued, every queued type's deficit grows by 1/N and that of the chosen type falls
by 1; their sum stays the same while the queued set does. If the largest deficit reaches ``theta``, the shortest
job of that type goes first, else the shortest of all. ``theta`` infinite is SRPT, ``theta`` near 0 is a round
robin. A type that leaves the queue keeps its deficit. Source: Ng, Demoulin, Liu, "Paella: Low-latency Model
Serving with Virtualized GPU Scheduling", SOSP 2023, section 5.

The 1/N that all queued types get is counted once for all (``_shared``), so a release costs O(log N).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import final

from penstock.errors import BadInputError
from penstock.schedule.device.job_types import Job
from penstock.schedule.device.orders.order import Copies
from penstock.schedule.device.orders.ready_heap import ReadyHeap
from penstock.schedule.device.orders.srpt import srpt_key


@final
class SrptDeficitOrder:
    """SRPT with a bound on how far a queued type may fall behind."""

    def __init__(self, copies: Copies, theta: float) -> None:
        if not theta > 0:
            raise BadInputError(f"theta (={theta}) must be > 0 stages; infinity is SRPT.")
        self._theta = theta
        self._heap = ReadyHeap(copies, by_type=True)
        self._raw = [0.0] * len(copies.limits)  # a queued type's deficit is this + _shared
        self._is_queued = [False] * len(copies.limits)
        self._queued_types = 0
        self._shared = 0.0
        self._by_deficit: list[tuple[float, int]] = []  # (-raw, type), with stale entries

    def deficit(self, job_type: int) -> float:
        """How many releases the type is behind an equal share of them."""
        return self._raw[job_type] + (self._shared if self._is_queued[job_type] else 0.0)

    def add(self, job: Job) -> None:
        """Queue by remaining time."""
        job_type = job.job_type
        if not self._is_queued[job_type]:
            self._is_queued[job_type] = True
            self._queued_types += 1
            self._set_raw(job_type, self._raw[job_type] - self._shared)
        self._heap.add(job, srpt_key(job))

    def best(self, now_us: int) -> Job | None:
        """The shortest job of the type that waits most, or of all."""
        overdue = self._most_behind()
        return self._heap.best() if overdue is None else overdue

    def take(self, job: Job) -> None:
        """Settle the deficits of this release."""
        self._shared += 1.0 / self._queued_types
        self._set_raw(job.job_type, self._raw[job.job_type] - 1.0)
        self.remove(job)

    def remove(self, job: Job) -> None:
        """Leave the queue; the type's deficit stays if it was the last of its type."""
        job_type = job.job_type
        self._heap.take_out(job)
        if not self._heap.queued(job_type):
            self._raw[job_type] += self._shared
            self._is_queued[job_type] = False
            self._queued_types -= 1

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

    def _set_raw(self, job_type: int, raw: float) -> None:
        self._raw[job_type] = raw
        heappush(self._by_deficit, (-raw, job_type))
        if len(self._by_deficit) > 64 + 4 * len(self._raw):
            self._by_deficit = sorted(
                (-self._raw[t], t) for t, queued in enumerate(self._is_queued) if queued
            )

    def _most_behind(self) -> Job | None:
        """The best job of the type with the largest deficit of at least theta among those that can start one."""
        heap = self._by_deficit
        blocked = []
        found = None
        while heap and self._shared - heap[0][0] >= self._theta:
            negated, job_type = heap[0]
            if not self._is_queued[job_type] or -negated != self._raw[job_type]:
                heappop(heap)
                continue
            found = self._heap.best_of(job_type)
            if found is not None:
                break
            blocked.append(heappop(heap))
        for entry in blocked:
            heappush(heap, entry)
        return found
