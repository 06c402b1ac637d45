"""What every order is: jobs go in and out, and it names the best that can start.

A job between two stages holds a copy of its model, and a job that waits for its first stage needs one. The best
job may thus be unable to start, and to wait for it could be for ever (its copies are held by jobs that rank
behind it). So an order chooses among what *can* start.
"""

from __future__ import annotations

from typing import Protocol, final

from penstock.schedule.device.job_types import Job


@final
class Copies:
    """The copies of each type, and how many are held."""

    def __init__(self, limits: list[int]) -> None:
        self.limits = limits
        self.free = list(limits)

    def can_start(self, job: Job) -> bool:
        """Whether ``job`` holds a copy, or one of its type is free."""
        return job.started or self.free[job.job_type] > 0

    def all_free(self) -> bool:
        """Whether no job holds a copy."""
        return self.free == self.limits


class Order(Protocol):
    """A queue of jobs. Calls come in the order of events; ``now_us`` never goes back."""

    def add(self, job: Job) -> None:
        """``job`` waits for the stage ``job.stage``: it arrived, or its stage before that ended."""
        ...

    def best(self, now_us: int) -> Job | None:
        """The next job among those that can start; None if there is none."""
        ...

    def take(self, job: Job) -> None:
        """``job`` is released and leaves the queue. ``job.started`` and the copies are up to date."""
        ...

    def remove(self, job: Job) -> None:
        """``job`` leaves the queue without running: it was cancelled or given up."""
        ...

    def copy_freed(self, job_type: int) -> None:
        """A copy of the type is free again."""
        ...

    def surplus(self, now_us: int) -> Job | None:
        """A queued job that is to be given up, so that others meet their deadlines. Call again until None."""
        ...

    def arrived(self, job: Job) -> None:
        """``job`` is new (called once, before ``add``)."""
        ...

    def ended(self, job: Job, *, met: bool | None) -> None:
        """``job`` ended within its deadline or not; None if that says nothing (cancelled, failed)."""
        ...
