"""Shortest job first: by the whole time of the job, whatever part of it is done."""

from __future__ import annotations

from penstock.schedule.device.job_types import Job


def sjf_key(job: Job) -> float:
    """The time expected at arrival, in microseconds; -1, so first, if the type is unknown."""
    return job.remaining_us[0]
