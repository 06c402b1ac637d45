"""A journal of a policy's calls, and its replay, which checks the decisions of a live server without a server.

An event is a plain tuple, (kind, now_us, arguments...), so that a driver can write it to any file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

from penstock.errors import BadInputError
from penstock.schedule.checks import shown
from penstock.schedule.policy import Decision, Policy

Event = tuple[Any, ...]
"""``("arrive", now_us, model, request, deadline_us)``, ``("decide", now_us)``, ``("complete", now_us, batch, stage)``,
``("complete", now_us, batch, stage, piece)`` for a later piece than the first,
``("transferred", now_us, batch, stage, transfer_us)``, ``("abandon", now_us, batch)``, ``("cancel", now_us, request)``,
``("worker_down", now_us, worker)`` or ``("worker_up", now_us, worker)``."""

_ARGUMENTS = {
    "arrive": (3,),
    "decide": (0,),
    "complete": (2, 3),
    "transferred": (3,),
    "abandon": (1,),
    "cancel": (1,),
    "worker_down": (1,),
    "worker_up": (1,),
}
"""How many arguments follow the time of each kind."""


def replay(policy: Policy, events: Iterable[Event]) -> list[Decision]:
    """The decisions of a fresh ``policy`` on ``events``, one for each ``decide``, in order.

    Raises :class:`BadInputError` for an event of an unknown kind or length, and for what the policy refuses.
    """
    decisions = []
    for event in events:
        kind, now_us, arguments = _parts(event)
        if kind == "decide":
            decisions.append(policy.decide(now_us))
        elif kind == "cancel":
            policy.cancel(*arguments)
        else:
            getattr(policy, kind)(now_us, *arguments)
    return decisions


def _parts(event: Any) -> tuple[str, Any, Sequence[Any]]:
    """Kind, time and arguments; :class:`BadInputError` if ``event`` is none."""
    if isinstance(event, tuple | list) and len(event) >= 2 and isinstance(event[0], str):
        kind, now_us, *arguments = event
        if len(arguments) in _ARGUMENTS.get(kind, ()):
            return kind, now_us, arguments
    known = ", ".join(_ARGUMENTS)
    raise BadInputError(f"event (={shown(event)}) is none of {known} with its arguments: is this a journal?")


@final
class JournalingPolicy:
    """A policy that passes every call on, and notes in ``events`` those that were not refused."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.events: list[Event] = []

    @property
    def in_flight(self) -> int:
        """That of the policy."""
        return self._policy.in_flight

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        """Pass on and note."""
        self._policy.arrive(now_us, model, request, deadline_us)
        self.events.append(("arrive", now_us, model, request, deadline_us))

    def decide(self, now_us: int) -> Decision:
        """Pass on and note."""
        decision = self._policy.decide(now_us)
        self.events.append(("decide", now_us))
        return decision

    def complete(self, now_us: int, batch: int, stage: int, piece: int = 0) -> None:
        """Pass on and note."""
        if piece == 0:
            self._policy.complete(now_us, batch, stage)
            self.events.append(("complete", now_us, batch, stage))
            return
        self._policy.complete(now_us, batch, stage, piece)
        self.events.append(("complete", now_us, batch, stage, piece))

    def transferred(self, now_us: int, batch: int, stage: int, transfer_us: int) -> None:
        """Pass on and note."""
        self._policy.transferred(now_us, batch, stage, transfer_us)
        self.events.append(("transferred", now_us, batch, stage, transfer_us))

    def abandon(self, now_us: int, batch: int) -> tuple[int, ...]:
        """Pass on and note."""
        dropped = self._policy.abandon(now_us, batch)
        self.events.append(("abandon", now_us, batch))
        return dropped

    def cancel(self, request: int) -> bool:
        """Pass on and note. The policy needs no time here, so 0 is noted."""
        was_queued = self._policy.cancel(request)
        self.events.append(("cancel", 0, request))
        return was_queued

    def worker_down(self, now_us: int, worker: int) -> tuple[int, ...]:
        """Pass on and note."""
        dropped = self._policy.worker_down(now_us, worker)
        self.events.append(("worker_down", now_us, worker))
        return dropped

    def worker_up(self, now_us: int, worker: int) -> None:
        """Pass on and note."""
        self._policy.worker_up(now_us, worker)
        self.events.append(("worker_up", now_us, worker))
