"""Earliest deadline first: meets every deadline on one preemptive server if any order does.

Source: C. L. Liu, J. W. Layland, "Scheduling algorithms for multiprogramming in a hard-real-time environment",
Journal of the ACM 20(1), 1973. Under overload it serves jobs that are nearly lost; see the rules for late jobs.
"""

from __future__ import annotations

from penstock.schedule.device.job_types import Job


def edf_key(job: Job) -> int:
    """The absolute deadline, in microseconds."""
    return job.deadline_us
