"""The loads of part (a): real sessions, another real sample, generated ones, and plain processes at the same
rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

from penstock.simulate.decisive.contestants import Contestant
from penstock.traffic.generator.protocol import Generator
from penstock.traffic.processes.renewal import gamma, poisson
from penstock.traffic.source.requests import requests_of
from penstock.traffic.source.superposed import SuperposedStreams, fixed_sampler
from penstock.traffic.streams import Streams, split_streams
from penstock.traffic.truth.truth_generator import TruthGenerator

HOURS = 5
"""Independent hours: simulations of one hour of the day with seeds of their own."""
GAMMA_CV = 4.0


def simulated_hours(name: str, role: str, truth: TruthGenerator) -> Contestant:
    """The ground truth: hour i is a world of its own, the ``truth.world`` + i-th."""
    worlds = [dataclasses.replace(truth, world=truth.world + number) for number in range(HOURS)]
    return Contestant(name, role, [SuperposedStreams(world.sample, world.window_us) for world in worlds])


def recorded_halves(streams: Streams, seed: int) -> tuple[Contestant, Contestant]:
    """A recording's streams in two halves: the real load and another real sample."""
    loads = [
        SuperposedStreams(fixed_sampler(half), half.window_us, requests_per_stream=_requests_per_stream(half))
        for half in split_streams(streams, 0.5, seed)
    ]
    return Contestant("real", "real", loads[:1]), Contestant("other real half", "other real", loads[1:])


def second_half(streams: Streams, seed: int) -> Streams:
    """The half that is not the real load, for a fit."""
    return split_streams(streams, 0.5, seed)[1]


def generated(
    name: str, generator: Generator, mix: Mapping[str, float] | None = None, hour: int | None = None
) -> Contestant:
    """The load of a generator, the same for all hours."""

    def sample(count: int, seed: int) -> Streams:
        return generator.sample(count, seed, mix=mix, hour=hour)

    return Contestant(name, "generated", [SuperposedStreams(sample, generator.window_us)])


def plain_loads() -> list[Contestant]:
    """Poisson, and gamma gaps of a CV that people take for bursty traffic."""
    return [
        Contestant("poisson", "plain", [poisson]),
        Contestant(f"gamma, CV {GAMMA_CV:g}", "plain", [partial(gamma, cv=GAMMA_CV)]),
    ]


def streams_of_load(contestant: Contestant, rates_rps: list[float]) -> float | None:
    """How many streams make up the load at these rates; None if it has none."""
    load = contestant.of_run(0)
    return load.streams_for(rates_rps) if isinstance(load, SuperposedStreams) else None


def _requests_per_stream(streams: Streams) -> float:
    return len(requests_of(streams).time_us) / len(streams)
