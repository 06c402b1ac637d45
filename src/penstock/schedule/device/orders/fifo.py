"""First in, first out: by arrival. A started job goes on before a later one starts."""

from __future__ import annotations

from penstock.schedule.device.job_types import Job


def fifo_key(job: Job) -> int:
    """The arrival number."""
    return job.sequence
