"""Open-loop load: requests leave at times drawn beforehand, whatever became of those before.

Latency counts from the *intended* send time: a client that waits for a slow server, and measures from when
it got round to sending, leaves out just the requests that suffered (G. Tene's "coordinated omission").
The client's own lag, actual less intended, is kept beside it: it must be small for the run to mean much.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.clock import MonotonicClock
from penstock.record import I64, Batches, Outcome, Record, Requests
from penstock.serve.load.client import LoadClient
from penstock.serve.load.subject import Subject, describe
from penstock.traffic.arrivals import Arrivals
from penstock.units import US_PER_S

# Until the first request: time to draw breath, so that the first is not late.
HEAD_START_US = 20_000

MOST_CONNECTIONS = 512
ANSWER_TIMEOUT_S = 60.0

_OUTCOMES = {503: Outcome.DROPPED_EARLY, 504: Outcome.DROPPED_DEADLINE}


@dataclass(frozen=True)
class LoadResult:
    """What came of a run. ``lag_us``: actual less intended send time, by request.

    ``statuses``: answers by HTTP status, 0 for none. ``server`` is the server's own metadata.
    """

    record: Record
    lag_us: I64
    statuses: Mapping[int, int]
    server: Mapping[str, object]


async def run_load(
    url: str,
    models: Sequence[str],
    arrivals: Arrivals,
    *,
    slo_us: int | None,
    rng: np.random.Generator,
) -> LoadResult:
    """Send ``arrivals`` (``model`` indexes ``models``) to the server at ``url`` and wait for every answer.

    A 503 counts as ``dropped:early``, a 504 as ``dropped:deadline``, anything else but 200 as ``error``. Raises
    :class:`BadInputError` where the server cannot be reached or has no such model.
    """
    async with LoadClient(url, ANSWER_TIMEOUT_S) as client:
        server = await client.ask("/v2")
        subjects = [await _subject(client, model, slo_us, rng) for model in models]
        await client.open_connections(_connections(arrivals, subjects))
        run = _Run(client, subjects, arrivals)
        await run.drive()
    return LoadResult(run.record(), run.lag_us, Counter(run.status.tolist()), server)


async def _subject(client: LoadClient, model: str, slo_us: int | None, rng: np.random.Generator) -> Subject:
    metadata = await client.ask(f"/v2/models/{model}")
    config = await client.ask(f"/v2/models/{model}/config") if slo_us is None else {}
    return describe(metadata, config, slo_us, rng)


def _connections(arrivals: Arrivals, subjects: Sequence[Subject]) -> int:
    """Twice what is in flight on average (Little's law) if every request takes its whole SLO."""
    if not len(arrivals):
        return 0
    span_us = int(arrivals.arrival_us[-1]) + US_PER_S
    wanted = 2 * len(arrivals) * max(subject.slo_us for subject in subjects) // span_us + 8
    return min(wanted, len(arrivals), MOST_CONNECTIONS)


class _Run:
    """One pass over the arrivals."""

    def __init__(self, client: LoadClient, subjects: Sequence[Subject], arrivals: Arrivals) -> None:
        self._client = client
        self._subjects = subjects
        self._arrivals = arrivals
        self._clock = MonotonicClock()
        self._origin_us = 0
        self.lag_us = np.zeros(len(arrivals), np.int64)
        self.status = np.zeros(len(arrivals), np.int64)
        self._finish_us = np.zeros(len(arrivals), np.int64)

    async def drive(self) -> None:
        """Send everything at its time; return when all is answered."""
        self._origin_us = self._clock.now_us() + HEAD_START_US
        async with asyncio.TaskGroup() as group:
            for index, (arrival_us, model) in enumerate(
                zip(self._arrivals.arrival_us.tolist(), self._arrivals.model.tolist(), strict=True)
            ):
                wait_us = self._origin_us + arrival_us - self._clock.now_us()
                # Behind time or not, those already started must get their turn.
                await asyncio.sleep(max(wait_us, 0) / US_PER_S)
                group.create_task(self._send(index, arrival_us, self._subjects[model]))

    async def _send(self, index: int, arrival_us: int, subject: Subject) -> None:
        self.lag_us[index] = self._clock.now_us() - self._origin_us - arrival_us
        body = subject.bodies[index % len(subject.bodies)]
        self.status[index] = await self._client.infer(subject.name, body)
        self._finish_us[index] = self._clock.now_us() - self._origin_us

    def record(self) -> Record:
        """The requests as the client saw them; batches it cannot see."""
        arrivals = self._arrivals
        slo_us = np.array([subject.slo_us for subject in self._subjects], np.int64)[arrivals.model]
        deadline_us = arrivals.arrival_us + slo_us
        unknown = np.full(len(arrivals), -1, np.int64)
        answered = self.status == 200
        in_time = np.where(self._finish_us <= deadline_us, Outcome.MET, Outcome.LATE)
        failed = np.array([_OUTCOMES.get(s, Outcome.ERROR) for s in self.status.tolist()], np.int64)
        return Record(
            models=tuple(subject.name for subject in self._subjects),
            requests=Requests(
                model=arrivals.model.astype(np.int64),
                request=np.arange(len(arrivals), dtype=np.int64),
                arrival_us=arrivals.arrival_us,
                deadline_us=deadline_us,
                pipeline=unknown,
                batch=unknown,
                finish_us=np.where(answered, self._finish_us, -1),
                outcome=np.where(answered, in_time, failed).astype(np.int64),
            ),
            batches=Batches(*(np.zeros(0, np.int64) for _ in Batches.__dataclass_fields__)),
            source="measured",
        )
