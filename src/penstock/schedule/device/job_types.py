"""What a device policy speaks about: types of jobs, jobs, releases and decisions.

A *job* is one request (or one batch) of a *type*: a model, or a model of one client. A type is cut into *stages*, the
segments of the model that run without a stop. A policy releases one stage of one job at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, final

from penstock.errors import BadInputError
from penstock.schedule.device.window import Need

LONGEST_US = 10**12
"""A stage or a job that takes longer (11 days) is a slip of units; sums of a million of them still fit 64 bits."""


@final
@dataclass(frozen=True)
class JobType:
    """A model (or a client's model) that shares the device.

    ``copies``: how many of its jobs may be between their first and their last stage at once. Each holds one copy
    of the model's buffers, also while it waits between two stages. ``slo_us``: the deadline after arrival of jobs
    that come without one. ``priority``: larger is more urgent (read by the order ``priority`` only). ``stage_us``:
    stage times if they are known before; else the first jobs of the type run first and are measured. ``needs``: what
    each stage takes of the device, read by :class:`~penstock.schedule.device.window.ResourceWindow` only.

    Raises :class:`BadInputError` for figures out of range.
    """

    name: str
    stages: int = 1
    copies: int = 1
    slo_us: int | None = None
    priority: int = 0
    stage_us: tuple[float, ...] | None = None
    needs: tuple[Need, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what no policy could run."""
        for field_name, value, least in (("stages", self.stages, 1), ("copies", self.copies, 1)):
            if value < least:
                raise BadInputError(f"{field_name} (={value}) of {self.name!r} must be >= {least}.")
        if self.slo_us is not None and self.slo_us <= 0:
            raise BadInputError(
                f"slo_us (={self.slo_us}) of {self.name!r} must be > 0, or None for no deadline."
            )
        if self.stage_us is not None and (
            len(self.stage_us) != self.stages or not all(0 <= us <= LONGEST_US for us in self.stage_us)
        ):
            raise BadInputError(
                f"stage_us (={self.stage_us}) of {self.name!r} must hold one time from 0 to {LONGEST_US:,} for each "
                f"of its {self.stages} stages, or be None."
            )
        if self.needs is not None and len(self.needs) != self.stages:
            raise BadInputError(
                f"needs of {self.name!r} must hold one entry for each of its {self.stages} stages."
            )


class Release(NamedTuple):
    """Run ``stage`` (0 is the first) of ``job`` now."""

    job: int
    job_type: int
    stage: int


class DeviceDecision(NamedTuple):
    """All that is to be done at one moment: stages to run, in this order, and jobs to answer as dropped."""

    releases: tuple[Release, ...]
    drops: tuple[int, ...]


class Progress(Enum):
    """What a finished stage means for its job."""

    CONTINUES = "the job waits for its next stage"
    DONE = "that was its last stage: answer the job"
    CANCELLED = "the job was cancelled while the stage ran, and is answered already"


@final
@dataclass(slots=True, eq=False)
class Job:
    """One job inside a policy. Orders read it; only the policy writes it.

    ``remaining_us[s]``: the time that stages ``s`` and later were expected to take when the job arrived; below 0 if
    the type was not measured yet. ``ticket`` grows whenever the job leaves a queue, so that entries of a heap
    that are older than that can be told apart.
    """

    job: int
    job_type: int
    sequence: int
    arrived_us: int
    deadline_us: int
    remaining_us: tuple[float, ...]
    priority: int = 0
    stage: int = 0
    released_us: int = 0
    in_flight: bool = False
    started: bool = False
    given_up: bool = False
    cancelled: bool = False
    ticket: int = field(default=0)

    def left_us(self) -> float:
        """The expected time of the stages that are not finished; below 0 if unknown."""
        return self.remaining_us[self.stage]

    def is_late(self, now_us: int) -> bool:
        """Whether the job misses its deadline even if it runs alone from now on. An unmeasured job is not late yet."""
        return now_us + max(0.0, self.remaining_us[self.stage]) > self.deadline_us
