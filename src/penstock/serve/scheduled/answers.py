"""What a dispatcher of one device says of a job, exactly once for each job that was submitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import final

from penstock.profile.segments.segmented import Tensors


class Ending(Enum):
    """How a job ended; the value is what its client is told."""

    DONE = "done"
    FAILED = "the executor failed"
    DROPPED = "dropped: its deadline can no longer be met"
    CANCELLED = "cancelled"
    REFUSED = "refused: the queue is full"
    UNLOADED = "its model was unloaded"
    STOPPED = "the device's server stopped before the job was done"


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """The end of a job. Times are of the dispatcher's clock.

    ``started_us``: the start of the first segment, -1 if none started. ``run_us``: the segments' time, summed;
    ``cpu_us``: the CPU time of the threads that ran them, which another process on the same core does not
    lengthen. ``outputs`` are there if the job is done; ``problem`` says what failed.
    """

    job: int
    job_type: int
    ending: Ending
    arrived_us: int
    started_us: int
    ended_us: int
    run_us: int
    cpu_us: int
    outputs: Tensors | None = None
    problem: str = ""


OnAnswer = Callable[[Answer], None]
"""Called once for each job, by the thread that saw its end, with no lock held. It must not block for long."""
