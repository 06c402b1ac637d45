"""Fixed priorities of types: the larger first, within one priority by arrival."""

from __future__ import annotations

from penstock.schedule.device.job_types import Job


def priority_key(job: Job) -> int:
    """The priority of the job's type, negated."""
    return -job.priority
