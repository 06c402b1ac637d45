"""When each request is sent: at its time (open), after the last answer (closed), or only the newest frame (fresh).

Latency counts from the *intended* send time. If a client waits for a slow server and measures from the actual send
time, it leaves out the very requests that had to wait (G. Tene calls this "coordinated omission"). A frame that waits
until its camera is free counts from its own time too. In a closed loop the next request is due when the last answer
came, so there is nothing to leave out; but such a load slows down with the server, and says nothing about an overload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import final

import numpy as np

from penstock.clock import MonotonicClock
from penstock.serve.load.client import Client
from penstock.serve.load.sample_request import Subject
from penstock.serve.load.sent import Sent
from penstock.traffic.arrivals import Arrivals
from penstock.units import US_PER_S

# A pause before the first request, so that it is not sent late.
HEAD_START_US = 20_000


@final
class Pace:
    """One run. ``deadlines``: each request says how long its answer is of use (``timeout``)."""

    def __init__(
        self,
        client: Client,
        subjects: Sequence[Subject],
        *,
        deadlines: bool,
        clock: MonotonicClock | None = None,
    ) -> None:
        self._client = client
        self._subjects = subjects
        self._deadlines = deadlines
        self._clock = MonotonicClock() if clock is None else clock
        self._origin_us = 0
        self.sent = Sent()

    async def open(self, arrivals: Arrivals) -> None:
        """Send everything at its time, whatever became of the requests before; return when all is answered."""
        number_of = _numbers(arrivals)
        self._begin()
        async with asyncio.TaskGroup() as group:
            for index, (due_us, model) in enumerate(
                zip(arrivals.arrival_us.tolist(), arrivals.model.tolist(), strict=True)
            ):
                # Even if we are late, the requests that were started must run: the sleep gives them a turn.
                await self._until(due_us)
                group.create_task(self._send(self.sent.add(model, due_us), number_of(index)))

    async def think(self, arrivals: Arrivals) -> None:
        """Each stream sends its next request when the last is answered and the gap of the stream has passed."""
        assert arrivals.stream is not None
        self._begin()
        async with asyncio.TaskGroup() as group:
            for turns in _turns(arrivals):
                group.create_task(self._converse(arrivals, turns))

    async def concurrent(
        self, senders: int, duration_us: int, shares: Sequence[float], rng: np.random.Generator
    ) -> None:
        """``senders`` requests are on their way at all times, until ``duration_us``; models drawn by ``shares``."""
        self._begin()
        cumulative = np.cumsum(shares)
        cumulative /= cumulative[-1]

        async def keep_sending() -> None:
            number = 0
            while (now_us := self._now_us()) < duration_us:
                model = int(np.searchsorted(cumulative, rng.random(), side="right"))
                number += 1
                await self._send(self.sent.add(model, max(now_us, 0)), number)

        await self._until(0)
        async with asyncio.TaskGroup() as group:
            for _ in range(senders):
                group.create_task(keep_sending())

    async def fresh(self, arrivals: Arrivals) -> None:
        """As :meth:`open`, but a camera has one frame on its way, and one at most that waits: the newest.

        A frame that a newer one replaces is skipped, and so is one whose deadline passes while it waits.
        """
        assert arrivals.stream is not None
        number_of = _numbers(arrivals)
        busy: set[int] = set()
        waiting: dict[int, tuple[int, int]] = {}
        self._begin()

        async def run(camera: int, row: int, number: int) -> None:
            while True:
                await self._send(row, number)
                following = waiting.pop(camera, None)
                if following is None or self._left_us(following[0]) <= 0:
                    busy.discard(camera)
                    return
                row, number = following

        async with asyncio.TaskGroup() as group:
            for index, (due_us, model, camera) in enumerate(
                zip(
                    *(c.tolist() for c in (arrivals.arrival_us, arrivals.model, arrivals.stream)), strict=True
                )
            ):
                await self._until(due_us)
                row = self.sent.add(model, due_us)
                if camera in busy:
                    waiting[camera] = (row, number_of(index))
                else:
                    busy.add(camera)
                    group.create_task(run(camera, row, number_of(index)))

    async def _converse(self, arrivals: Arrivals, turns: Sequence[int]) -> None:
        """The requests ``turns`` of one stream, in order."""
        last_us, last_row = 0, -1
        for number, index in enumerate(turns):
            arrival_us = int(arrivals.arrival_us[index])
            due_us = arrival_us if last_row < 0 else self.sent.finish_us[last_row] + arrival_us - last_us
            await self._until(due_us)
            last_us, last_row = arrival_us, self.sent.add(int(arrivals.model[index]), due_us)
            await self._send(last_row, number)

    async def _send(self, row: int, number: int) -> None:
        subject = self._subjects[self.sent.model[row]]
        body = subject.bodies[number % len(subject.bodies)]
        if self._deadlines:
            body = body.due_in(max(self._left_us(row), 1))
        self.sent.lag_us[row] = self._now_us() - self.sent.due_us[row]
        self.sent.status[row] = await self._client.infer(subject.name, body)
        self.sent.finish_us[row] = self._now_us()

    def _left_us(self, row: int) -> int:
        slo_us = self._subjects[self.sent.model[row]].slo_us
        return self.sent.due_us[row] + slo_us - self._now_us()

    def _begin(self) -> None:
        self._origin_us = self._clock.now_us() + HEAD_START_US

    def _now_us(self) -> int:
        return self._clock.now_us() - self._origin_us

    async def _until(self, due_us: int) -> None:
        await asyncio.sleep(max(due_us - self._now_us(), 0) / US_PER_S)


def _turns(arrivals: Arrivals) -> list[list[int]]:
    """The requests of each stream, in order."""
    assert arrivals.stream is not None
    order = np.argsort(arrivals.stream, kind="stable")
    cuts = np.flatnonzero(np.diff(arrivals.stream[order])) + 1
    return [turns.tolist() for turns in np.split(order, cuts) if len(turns)]


def _numbers(arrivals: Arrivals) -> Callable[[int], int]:
    """Which of the prepared requests is sent: the next of its stream, whose first is the stream's own choice."""
    if arrivals.stream is None:
        return lambda index: index
    numbers = np.zeros(len(arrivals), np.int64)
    for stream, turns in enumerate(_turns(arrivals)):
        # Cameras that begin at the same frame would send the same bytes at the same time; 7 has no meaning.
        numbers[turns] = np.arange(len(turns)) + 7 * stream
    found: list[int] = numbers.tolist()
    return found.__getitem__
