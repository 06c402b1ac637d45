"""Shortest remaining processing time: the least mean latency on one preemptive server.

Source: L. Schrage, "A proof of the optimality of the shortest remaining processing time discipline", Operations
Research 16(3), 1968. Preemption is at the end of a stage only.
"""

from __future__ import annotations

from penstock.schedule.device.job_types import Job


def srpt_key(job: Job) -> float:
    """The time of the stages that are left, in microseconds; -1, so first, if the type is unknown."""
    return job.remaining_us[job.stage]
