"""A journal of a policy's calls, and its replay: the live server's decisions, checked without a server.

An event is a plain tuple, (kind, now_us, arguments...), so that a driver can write it anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

from penstock.errors import BadInputError
from penstock.schedule.policy import Decision, Policy

Event = tuple[Any, ...]
"""``("arrive", now_us, model, request, deadline_us)``, ``("decide", now_us)``, ``("complete", now_us, batch, stage)``,
``("abandon", now_us, batch)``, ``("cancel", now_us, request)``, ``("worker_down", now_us, worker)`` or
``("worker_up", now_us, worker)``."""

_TIMED = {"arrive": 5, "complete": 4, "abandon": 3, "worker_down": 3, "worker_up": 3}


def replay(policy: Policy, events: Iterable[Event]) -> list[Decision]:
    """The decisions of a fresh ``policy`` on ``events``, one for each ``decide``, in order.

    Raises :class:`BadInputError` for an event of an unknown kind or length.
    """
    decisions = []
    for event in events:
        kind, now_us, *arguments = event
        if kind == "decide" and not arguments:
            decisions.append(policy.decide(now_us))
        elif kind == "cancel" and len(arguments) == 1:
            policy.cancel(*arguments)
        elif _TIMED.get(kind) == len(event):
            getattr(policy, kind)(now_us, *arguments)
        else:
            known = ", ".join(["decide", "cancel", *_TIMED])
            raise BadInputError(f"event {event!r} is none of {known} with its arguments: is this a journal?")
    return decisions


@final
class JournalingPolicy:
    """A policy that notes every call in ``events`` before it passes it on."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.events: list[Event] = []

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        """Note and pass on."""
        self.events.append(("arrive", now_us, model, request, deadline_us))
        self._policy.arrive(now_us, model, request, deadline_us)

    def decide(self, now_us: int) -> Decision:
        """Note and pass on."""
        self.events.append(("decide", now_us))
        return self._policy.decide(now_us)

    def complete(self, now_us: int, batch: int, stage: int) -> None:
        """Note and pass on."""
        self.events.append(("complete", now_us, batch, stage))
        self._policy.complete(now_us, batch, stage)

    def abandon(self, now_us: int, batch: int) -> None:
        """Note and pass on."""
        self.events.append(("abandon", now_us, batch))
        self._policy.abandon(now_us, batch)

    def cancel(self, request: int) -> bool:
        """Note (no time: the policy needs none) and pass on."""
        self.events.append(("cancel", 0, request))
        return self._policy.cancel(request)

    def worker_down(self, now_us: int, worker: int) -> None:
        """Note and pass on."""
        self.events.append(("worker_down", now_us, worker))
        self._policy.worker_down(now_us, worker)

    def worker_up(self, now_us: int, worker: int) -> None:
        """Note and pass on."""
        self.events.append(("worker_up", now_us, worker))
        self._policy.worker_up(now_us, worker)
