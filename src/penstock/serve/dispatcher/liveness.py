"""Which workers hang: judged by batches that are overdue, and by what a worker answers to a ping.

A worker that is only slow must be left alone: it answers the ping at once, because a thread of its own does. Two
kinds of hanging are told apart from that. If the process is stopped, no answer comes. If the executor hangs, the
answer says since when it runs.

A process that gets no core does not answer either. So a silent worker gets no work and its batches go another way, if
there is one; but it is replaced only if its host says that it could have answered
(:mod:`penstock.serve.engine.silent_workers`). If the answer comes after all, it works again. For the same reason, what
a batch waited for a core does not count as its run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from penstock.arrays import I64
from penstock.serve.dispatcher.flights import AnyFlight
from penstock.serve.messages import Ping, Pong
from penstock.units import US_PER_S

OVERDUE_US = 20_000
"""How late a batch is when its worker is pinged. A ping is harmless, so this is short."""
ANSWER_US = 300_000
"""How long an answer may take before the worker's batches go another way. And how long after an answer a worker is
pinged again."""
MOST_RUN_TIMES = 20
"""A batch that runs so many times as long as the slowest one of the plan hangs, not counting what it waited for a core.
A device that throttles is 3 to 5 times slower."""
LEAST_RUN_US = 2 * US_PER_S
"""...but never before this time."""
LOST_US = 2 * US_PER_S
"""A batch that is overdue by this, and that an idle worker does not know of, got lost on its way."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do about an overdue batch. ``silent`` and ``lost`` say why, for people."""

    check_us: int
    ping: Ping | None = None
    silent: str | None = None
    lost: str | None = None


@dataclass(slots=True)
class _Known:
    """A worker that was pinged: ``pinged_us`` is -1 after its answer."""

    pinged_us: int
    answered_us: int = -1
    is_idle: bool = False


@final
class Liveness:
    """The workers that were found overdue."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def first_check_us(self, flight: AnyFlight) -> int:
        """When to look at a batch that leaves now."""
        return flight.first_end_us + OVERDUE_US

    def heard_of(self, worker: int) -> None:
        """``worker`` reported something, or was replaced: what was known of it no longer counts."""
        self._known.pop(worker, None)

    def overdue(self, now_us: int, worker: int, due_us: int) -> Step:
        """Look at a batch at its check time: ``worker`` should have been done with it at ``due_us``."""
        if now_us < due_us + OVERDUE_US:
            return Step(due_us + OVERDUE_US)  # it went a stage further meanwhile
        known = self._known.get(worker)
        if known is None or (known.pinged_us < 0 and now_us >= known.answered_us + ANSWER_US):
            is_lost = known is not None and known.is_idle and now_us > due_us + LOST_US
            if is_lost:
                return Step(now_us + ANSWER_US, lost=f"the batch did not reach worker {worker}.")
            answered_us = -1 if known is None else known.answered_us
            self._known[worker] = _Known(now_us, answered_us)
            return Step(now_us + ANSWER_US, ping=Ping())
        if known.pinged_us < 0:
            return Step(known.answered_us + ANSWER_US)
        if now_us >= known.pinged_us + ANSWER_US:
            return Step(now_us + ANSWER_US, silent=f"no answer to a ping for {now_us - known.pinged_us} us")
        return Step(known.pinged_us + ANSWER_US)

    def pong(self, now_us: int, message: Pong, latency_us: I64) -> str | None:
        """An answer came: why the worker hangs all the same, or None."""
        self._known[message.worker] = _Known(-1, now_us, message.held == 0)
        since_us = message.running_since_us
        limit_us = max(LEAST_RUN_US, MOST_RUN_TIMES * int(latency_us.max()))
        if since_us >= 0 and now_us - since_us - message.waited_us > limit_us:
            return f"a batch runs for {now_us - since_us} us"
        return None
