"""A run of the load generator: ask the server what it serves, prepare requests, send them, and make the record.

The lag of the client, the actual minus the intended send time, is recorded too: if it is not small, the run says little
about the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.errors import BadInputError
from penstock.serve.load.access import NO_SECRETS, Access
from penstock.serve.load.client import Client, LoadClient
from penstock.serve.load.pace import Pace
from penstock.serve.load.sample_request import Samples, Subject, describe
from penstock.serve.load.sent import LoadResult
from penstock.traffic.arrivals import Arrivals
from penstock.units import US_PER_S

MOST_CONNECTIONS = 512
ANSWER_TIMEOUT_S = 60.0
GRPC = ("grpc://", "grpcs://")


@dataclass(frozen=True)
class Concurrency:
    """A closed loop of ``senders`` over ``duration_us``, whose models are drawn by ``shares``."""

    senders: int
    duration_us: int
    shares: Sequence[float]


@dataclass(frozen=True)
class LoadSettings:
    """How requests are made and sent.

    ``closed``: a stream sends its next request when the one before is answered and its think time, the gap between
    the two arrivals, has passed. ``fresh``: a camera has one frame on its way; of those that wait, only the newest is
    sent. ``deadlines``: each request carries the time that is left to its deadline. ``samples``: what is sent.
    """

    closed: bool = False
    fresh: bool = False
    deadlines: bool = False
    samples: Samples | None = None


PLAIN = LoadSettings()


def check_streams(load: Arrivals | Concurrency, settings: LoadSettings) -> None:
    """Raise :class:`BadInputError` if ``settings`` ask for streams that ``load`` has not."""
    if isinstance(load, Arrivals) and load.stream is None and (settings.closed or settings.fresh):
        raise BadInputError(
            "a closed loop needs streams, whose next request waits for the last answer, and so does --fresh. Use "
            "cameras:fps=30, generator:BUNDLE or streams:FILE, or --concurrency."
        )


async def run_load(
    url: str,
    models: Sequence[str],
    load: Arrivals | Concurrency,
    *,
    slo_us: int | None,
    rng: np.random.Generator,
    settings: LoadSettings = PLAIN,
    access: Access = NO_SECRETS,
) -> LoadResult:
    """Send ``load`` (models by index in ``models``) to the server at ``url`` and wait for every answer.

    ``url``: ``http://HOST:PORT``, ``grpc://HOST:PORT``, or ``https`` and ``grpcs`` for TLS. Raises
    :class:`BadInputError` if the server cannot be reached or has no such model, or if ``settings`` ask for
    streams that the load has not.
    """
    check_streams(load, settings)
    async with _client(url, access) as client:
        server = await client.server()
        subjects = [await _subject(client, model, slo_us, rng, settings) for model in models]
        await client.open_connections(_connections(load, subjects))
        pace = Pace(client, subjects, deadlines=settings.deadlines)
        if isinstance(load, Concurrency):
            await pace.concurrent(load.senders, load.duration_us, load.shares, rng)
        elif settings.closed:
            await pace.think(load)
        elif settings.fresh:
            await pace.fresh(load)
        else:
            await pace.open(load)
    return pace.sent.result(subjects, server)


def _client(url: str, access: Access) -> Client:
    if url.startswith(GRPC):
        from penstock.serve.load.grpc_client import GrpcLoadClient

        return GrpcLoadClient(url, ANSWER_TIMEOUT_S, access)
    return LoadClient(url, ANSWER_TIMEOUT_S, access)


async def _subject(
    client: Client, model: str, slo_us: int | None, rng: np.random.Generator, settings: LoadSettings
) -> Subject:
    metadata = await client.model(model)
    config = await client.config(model) if slo_us is None else {}
    return describe(metadata, config, slo_us, rng, encode=client.body, samples=settings.samples)


def _connections(load: Arrivals | Concurrency, subjects: Sequence[Subject]) -> int:
    """Twice what is in flight on average (Little's law) if every request takes its whole SLO."""
    if isinstance(load, Concurrency):
        return min(load.senders, MOST_CONNECTIONS)
    if not len(load):
        return 0
    span_us = int(load.arrival_us[-1]) + US_PER_S
    wanted = 2 * len(load) * max(subject.slo_us for subject in subjects) // span_us + 8
    return min(wanted, len(load), MOST_CONNECTIONS)
