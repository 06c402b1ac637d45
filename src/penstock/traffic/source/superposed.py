"""Streams superposed to a rate: as many users as the rate needs, each as it was generated.

Every stream is rotated within its window by an offset of its own, and all are added up. Within a stream
the order and the think times stay; only at the end of the window a stream continues with its own beginning. Superposing
n independent streams shrinks the swings of the load, relative to its mean, by sqrt(n): so it matters how many there
are, and
:meth:`SuperposedStreams.streams_for` says it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import ArrivalProcess, Arrivals, ArrivalSource, check_draw
from penstock.traffic.source.requests import Requests, models_by_name, requests_of
from penstock.traffic.streams import Streams, select_streams
from penstock.units import us_from_seconds

Sampler = Callable[[int, int], Streams]
"""(streams, seed) -> Streams; stream i depends on (seed, i) alone."""

CALIBRATION_STREAMS = 2_000
CALIBRATION_SEED = 0xCA11B
TOGETHER_S = 1.0
"""Users of a group act within this time of each other."""
MOST_STREAMS = 5_000_000


@dataclass(frozen=True)
class WhatIf:
    """Changes to a load. ``rate_rps``: of all models together, in place of the one asked for.

    ``speed``: everything that a stream does comes so many times faster. ``burst``: so many users act as one, within
    a second of each other, which multiplies the index of dispersion over longer windows by as much. ``by_name``:
    events name the model; otherwise each stream asks one model, in the proportion of the rates.
    """

    rate_rps: float | None = None
    speed: float = 1.0
    burst: int = 1
    by_name: bool = False


@dataclass
class SuperposedStreams:
    """An arrival source. ``requests_per_stream``: their mean in a window; None estimates it from the sampler."""

    sample: Sampler
    window_us: int
    what_if: WhatIf = field(default_factory=WhatIf)
    requests_per_stream: float | None = None
    _drawn: dict[int, Requests] = field(default_factory=dict)

    def draw(self, rates_rps: Sequence[float], seconds: float, rng: np.random.Generator) -> Arrivals:
        """As :meth:`penstock.traffic.arrivals.ArrivalSource.draw`. Streams are numbered over models and windows."""
        rates = self._rates(rates_rps)
        check_draw(sum(rates), seconds)
        if self.what_if.by_name:
            return self._joined([(None, sum(rates))], len(rates), seconds, rng)
        return self._joined(list(enumerate(rates)), len(rates), seconds, rng)

    def streams_for(self, rates_rps: Sequence[float]) -> float:
        """How many streams are superposed at these rates, in the mean."""
        return sum(map(self._count, self._rates(rates_rps)))

    def own_rate_rps(self) -> float | None:
        """The rate that the options fix, if they do."""
        return self.what_if.rate_rps

    def _rates(self, rates_rps: Sequence[float]) -> list[float]:
        total, wanted = sum(rates_rps), self.what_if.rate_rps
        if wanted is None or not total:
            return list(rates_rps)
        return [rate * wanted / total for rate in rates_rps]

    def _count(self, rate_rps: float) -> float:
        if self.requests_per_stream is None:
            found = requests_of(self.sample(CALIBRATION_STREAMS, CALIBRATION_SEED))
            self.requests_per_stream = len(found.time_us) / CALIBRATION_STREAMS
            if not self.requests_per_stream:
                raise BadInputError(
                    "the streams hold no requests. Name some events infer, infer:MODEL or follow-up."
                )
        window_s = self.window_us / 1e6 / self.what_if.speed
        count = rate_rps * window_s / self.requests_per_stream
        if count > MOST_STREAMS:
            raise BadInputError(
                f"{rate_rps:g} requests a second need {count:g} streams, but at most {MOST_STREAMS:,} are drawn. Lower "
                f"the rate, or use a trace:FILE."
            )
        return count

    def _joined(
        self, parts: list[tuple[int | None, float]], models: int, seconds: float, rng: np.random.Generator
    ) -> Arrivals:
        times, owners, asked = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        begin = 0
        for (model, rate_rps), own in zip(parts, rng.spawn(len(parts)), strict=True):
            if not rate_rps:
                continue
            window_s = self.window_us / 1e6 / self.what_if.speed
            for lap in range(math.ceil(seconds / window_s)):
                time_us, stream, which, count = self._window(model, models, rate_rps, own)
                at_us = time_us + round(lap * window_s * 1e6)
                kept = at_us < us_from_seconds(seconds)
                times.append(at_us[kept])
                owners.append(stream[kept] + begin)
                asked.append(which[kept])
                begin += count
        time_us, stream, which = map(np.concatenate, (times, owners, asked))
        order = np.lexsort((which, time_us))
        return Arrivals(time_us[order], which[order], stream=stream[order])

    def _window(
        self, model: int | None, models: int, rate_rps: float, rng: np.random.Generator
    ) -> tuple[I64, I64, I64, int]:
        """Times, streams and models of one window in any order, and how many streams it has."""
        seed, chance = int(rng.integers(2**31)), rng.random()
        exact = self._count(rate_rps)
        count = math.floor(exact) + int(chance < exact - math.floor(exact))
        if not count:
            empty = np.zeros(0, np.int64)
            return empty, empty, empty, 0
        burst = self.what_if.burst
        groups = -(-count // burst)
        requests = self._requests(groups, seed)
        sizes = np.diff(requests.first)[:groups]
        rows = np.arange(requests.first[groups])
        group = np.repeat(np.arange(groups), sizes)
        which = (
            models_by_name(requests, models)[rows] if model is None else np.full(len(rows), model, np.int64)
        )
        window_us = max(1, round(self.window_us / self.what_if.speed))
        # Offsets come from a generator of their own, in order: more streams leave those of the first as they are.
        offset_us = np.random.default_rng([seed, 1]).integers(0, window_us, groups)
        time_us = np.floor(requests.time_us[rows] / self.what_if.speed).astype(np.int64) + offset_us[group]
        if burst == 1:
            return time_us % window_us, group, which, count
        late_us = np.random.default_rng([seed, 2]).integers(0, round(TOGETHER_S * 1e6), groups * burst)
        members = group[:, None] * burst + np.arange(burst)
        joined_us = (time_us[:, None] + late_us[members]) % window_us
        kept = members < count
        return joined_us[kept], members[kept], np.broadcast_to(which[:, None], members.shape)[kept], count

    def _requests(self, count: int, seed: int) -> Requests:
        """The requests of at least ``count`` streams of ``seed``; they are kept, because a search over rates asks
        for the same ones many times."""
        found = self._drawn.get(seed)
        if found is None or len(found.first) <= count:
            if len(self._drawn) > 8:
                self._drawn.clear()
            # A search goes up from its first rate by a quarter or so: one sample then serves all of it.
            found = requests_of(self.sample(count + count // 4 + 1, seed))
            self._drawn[seed] = found
        return found


def fixed_sampler(streams: Streams) -> Sampler:
    """A sampler that gives the streams of a recording, whole, in an order drawn by the seed.

    If more are asked for than there are, each comes several times: the recording is added to itself, as ``trace:``
    does.
    """

    def sample(count: int, seed: int) -> Streams:
        laps = -(-count // len(streams))
        order = [np.random.default_rng([seed, lap]).permutation(len(streams)) for lap in range(laps)]
        return select_streams(streams, np.concatenate(order)[:count])

    return sample


def refuse_fixed_rate(process: ArrivalProcess | ArrivalSource) -> None:
    """Raise :class:`BadInputError` if the load has a rate of its own: a search for the rate would never end."""
    own_rps = process.own_rate_rps() if isinstance(process, ArrivalSource) else None
    if own_rps is not None:
        raise BadInputError(
            f"the arrivals fix the load (at {own_rps:g} requests a second), but the rate is what is looked for here. "
            f"Leave out rate=; of cameras, count= or fps=."
        )


def check_what_if(speed: float, burst: float, rate_rps: float | None) -> None:
    """Raise :class:`BadInputError` for a change that makes no load."""
    if not 0.001 <= speed <= 1000:
        raise BadInputError(
            f"speed (={speed:g}) must be 0.001 to 1000: 2 makes everything come twice as fast."
        )
    if not (1 <= burst <= 10_000 and burst == math.floor(burst)):
        raise BadInputError(
            f"burst (={burst:g}) must be a whole number of users that act as one, 1 to 10,000."
        )
    if rate_rps is not None and not 0 < rate_rps < math.inf:
        raise BadInputError(f"rate (={rate_rps:g}) must be a number of requests a second > 0.")


def parse_mix(text: str) -> Mapping[str, float]:
    """``phone:3/tablet:1`` as weights. Raises :class:`BadInputError` with what is wrong."""
    mix: dict[str, float] = {}
    for part in text.split("/"):
        name, colon, weight = part.rpartition(":")
        try:
            value = float(weight)
        except ValueError:
            value = math.nan
        if not colon or not name or name in mix or not (0 <= value < math.inf):
            raise BadInputError(f"mix: {part!r} must be CLASS:WEIGHT, each class once: phone:3/tablet:1.")
        mix[name] = value
    return mix
