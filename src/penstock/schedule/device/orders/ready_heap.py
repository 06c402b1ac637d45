"""Queued jobs by key, and the best of those that can start, in O(log n).

One heap a type holds the jobs that wait for their first stage. A common heap holds what can start: every job
between two stages, and for each type with a free copy the best of its waiting jobs. The rule that keeps this true:
whenever a type may start another job (a copy came free, its best left, a better one arrived), its best waiting job
is pushed.
Entries are never searched for. An entry is stale if its job has left the queue since (its ticket moved), and is
dropped when it reaches the top, or when stale entries could outnumber the live ones.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any, final

from penstock.schedule.device.job_types import Job
from penstock.schedule.device.orders.order import Copies

_Entry = tuple[Any, int, int, int, Job]
"""(key, arrival number, push number, ticket, job): the push number is unique, so jobs are never compared."""

_SMALL = 512
"""Heaps up to this size are never swept."""


@final
class LazyHeap:
    """A heap of jobs whose entries die when the job leaves the queue."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._pushes = 0
        self._sweep_at = _SMALL

    def push(self, key: Any, job: Job) -> None:
        """Add an entry; amortised O(log n)."""
        heap = self._heap
        self._pushes += 1
        heappush(heap, (key, job.sequence, self._pushes, job.ticket, job))
        if len(heap) > self._sweep_at:
            self._sweep()

    def top(self) -> Job | None:
        """The job with the least (key, arrival) among live entries."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if entry[3] == entry[4].ticket:
                return entry[4]
            heappop(heap)
        return None

    def top_key(self) -> Any:
        """The key of the job that :meth:`top` just returned."""
        return self._heap[0][0]

    def pop(self) -> None:
        """Drop the entry of :meth:`top`."""
        heappop(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if entry[3] == entry[4].ticket]
        heapify(self._heap)
        self._sweep_at = max(_SMALL, 2 * len(self._heap))


@final
class ReadyHeap:
    """The queued jobs of all types. ``key`` of a job must not change while it is queued."""

    def __init__(self, copies: Copies, *, by_type: bool = False) -> None:
        self._copies = copies
        types = len(copies.limits)
        self._waiting = [LazyHeap() for _ in range(types)]
        self._between = [LazyHeap() for _ in range(types)] if by_type else None
        self._queued = [0] * types
        self._ready = LazyHeap()

    def add(self, job: Job, key: Any) -> None:
        """Queue ``job`` by ``key`` (any type that compares)."""
        job_type = job.job_type
        self._queued[job_type] += 1
        if job.started:
            self._ready.push(key, job)
            if self._between is not None:
                self._between[job_type].push(key, job)
            return
        waiting = self._waiting[job_type]
        waiting.push(key, job)
        if self._copies.free[job_type] > 0 and waiting.top() is job:
            self._ready.push(key, job)

    def best(self) -> Job | None:
        """The job with the least (key, arrival) among those that can start."""
        ready = self._ready
        copies_free = self._copies.free
        while (job := ready.top()) is not None:
            if job.started or copies_free[job.job_type] > 0:
                return job
            ready.pop()  # its type lost its last copy since; pushed again when one comes back
        return None

    def best_of(self, job_type: int) -> Job | None:
        """As :meth:`best`, among the jobs of one type; for heaps made with ``by_type``."""
        assert self._between is not None
        started = self._between[job_type]
        waiting = self._waiting[job_type]
        one = started.top()
        other = waiting.top() if self._copies.free[job_type] > 0 else None
        if one is None or other is None:
            return other if one is None else one
        return one if (started.top_key(), one.sequence) < (waiting.top_key(), other.sequence) else other

    def take_out(self, job: Job) -> None:
        """``job`` leaves the queue. If it was released for the first time, its copy is taken already."""
        job.ticket += 1
        self._queued[job.job_type] -= 1
        if not job.started:
            self.copy_freed(job.job_type)

    def copy_freed(self, job_type: int) -> None:
        """Make the best waiting job of the type ready, if the type may start one."""
        if self._copies.free[job_type] > 0:
            waiting = self._waiting[job_type]
            best = waiting.top()
            if best is not None:
                self._ready.push(waiting.top_key(), best)

    def queued(self, job_type: int) -> int:
        """How many jobs of the type are queued."""
        return self._queued[job_type]

    def __len__(self) -> int:
        return sum(self._queued)
