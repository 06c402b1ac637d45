"""A journal of a device policy's calls, and its replay: a live run's decisions, checked without a device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

from penstock.errors import BadInputError
from penstock.schedule.device.device_policy import DevicePolicy
from penstock.schedule.device.job_types import DeviceDecision, Progress

DeviceEvent = tuple[Any, ...]
"""(kind, arguments...): ``("arrive", now_us, job, job_type, deadline_us)``, ``("decide", now_us)``, ``("started" |
"finished" | "failed", now_us, job, stage)``, ``("cancel", job)``, ``("unload" | "load", job_type)``."""

_LENGTHS = {
    "arrive": 5, "decide": 2, "started": 4, "finished": 4, "failed": 4, "cancel": 2, "unload": 2, "load": 2,
}  # fmt: skip


def replay_device(policy: DevicePolicy, events: Iterable[DeviceEvent]) -> list[DeviceDecision]:
    """The decisions of a fresh ``policy`` on ``events``, one for each ``decide``, in order.

    Raises :class:`BadInputError` for an event of an unknown kind or length, and for calls that the policy refuses.
    """
    decisions = []
    for event in events:
        kind, *arguments = event
        if _LENGTHS.get(kind) != len(event):
            raise BadInputError(f"event {event!r} is none of {', '.join(_LENGTHS)} with its arguments.")
        answer = getattr(policy, kind)(*arguments)
        if kind == "decide":
            decisions.append(answer)
    return decisions


@final
class JournalingDevicePolicy:
    """A device policy that notes in ``events`` every call that was accepted."""

    def __init__(self, policy: DevicePolicy) -> None:
        self._policy = policy
        self.events: list[DeviceEvent] = []

    def arrive(self, now_us: int, job: int, job_type: int, deadline_us: int | None = None) -> bool:
        """Pass on and note."""
        answer = self._policy.arrive(now_us, job, job_type, deadline_us)
        self.events.append(("arrive", now_us, job, job_type, deadline_us))
        return answer

    def decide(self, now_us: int) -> DeviceDecision:
        """Pass on and note."""
        answer = self._policy.decide(now_us)
        self.events.append(("decide", now_us))
        return answer

    def started(self, now_us: int, job: int, stage: int) -> None:
        """Pass on and note."""
        self._policy.started(now_us, job, stage)
        self.events.append(("started", now_us, job, stage))

    def finished(self, now_us: int, job: int, stage: int) -> Progress:
        """Pass on and note."""
        answer = self._policy.finished(now_us, job, stage)
        self.events.append(("finished", now_us, job, stage))
        return answer

    def failed(self, now_us: int, job: int, stage: int) -> bool:
        """Pass on and note."""
        answer = self._policy.failed(now_us, job, stage)
        self.events.append(("failed", now_us, job, stage))
        return answer

    def cancel(self, job: int) -> bool:
        """Pass on and note."""
        answer = self._policy.cancel(job)
        self.events.append(("cancel", job))
        return answer

    def unload(self, job_type: int) -> tuple[int, ...]:
        """Pass on and note."""
        answer = self._policy.unload(job_type)
        self.events.append(("unload", job_type))
        return answer

    def load(self, job_type: int) -> None:
        """Pass on and note."""
        self._policy.load(job_type)
        self.events.append(("load", job_type))
