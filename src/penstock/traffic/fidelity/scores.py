"""All measures of one sample of streams against held-out real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.fidelity.classifier import classifier_auc
from penstock.traffic.fidelity.distances import largest_cdf_distance, mix
from penstock.traffic.fidelity.memorisation import TELLING, memorised_share, whole_copies
from penstock.traffic.fidelity.sojourns import FEWEST, Stays, stays_by_state
from penstock.traffic.load_figures import describe
from penstock.traffic.machine import Machine, find_violations
from penstock.traffic.streams import Streams, split_streams


@dataclass(frozen=True)
class Measure:
    """One figure. ``kind``: ``distance`` (0 is best), ``share`` (0 is best), or ``level`` (the real level is best).

    ``value`` of the generated streams; ``truth`` the same figure of real streams: between two real samples for a
    distance, of the held-out sample for a share or level. None: too few events to say.
    """

    name: str
    kind: str
    value: float | None
    truth: float | None

    @property
    def miss(self) -> float | None:
        """How far it is from the best: for a level, the distance from the real level."""
        if self.value is None or self.kind != "level":
            return self.value
        return None if self.truth is None else abs(self.value - self.truth)


@dataclass(frozen=True)
class Scores:
    """Every measure of one sample, by name, in order."""

    measures: tuple[Measure, ...]

    def __getitem__(self, name: str) -> Measure:
        """The measure ``name``."""
        return {measure.name: measure for measure in self.measures}[name]

    def names(self) -> tuple[str, ...]:
        """The names of the measures, in order."""
        return tuple(measure.name for measure in self.measures)


def score_streams(
    streams: Streams,
    held_out: Streams,
    *,
    training: Streams | None = None,
    machine: Machine | None = None,
    seed: int = 0,
    with_classifier: bool = True,
) -> Scores:
    """Score generated ``streams`` against real ones that no model has seen.

    ``training`` is the real sample that the generator was fitted on: it is the second real sample that the held-out
    one is compared with, and what could have been memorised. Without it, ``held_out`` is cut in two, whose distance
    is that of samples half as large, and memorisation is not measured. Raises :class:`BadInputError` if the samples
    do not name the same events.
    """
    for other in (held_out, training):
        if other is not None and other.events != streams.events:
            raise BadInputError(
                f"the samples name different events ({', '.join(streams.events)} and {', '.join(other.events)}): "
                f"score streams of one vocabulary, in one order."
            )
    real, second = split_streams(held_out, 0.5, seed) if training is None else (held_out, training)
    measures = [
        *_of_machine(streams, real, machine),
        *_of_stays(streams, real, second, machine),
        Measure(
            "events a stream",
            "distance",
            largest_cdf_distance(streams.sizes, real.sizes),
            largest_cdf_distance(second.sizes, real.sizes),
        ),
        Measure("event mix", "distance", _mix_distance(streams, real), _mix_distance(second, real)),
        *_of_load(streams, real),
    ]
    if with_classifier:
        measures.append(
            Measure(
                "classifier AUC",
                "level",
                classifier_auc(real, streams, seed),
                classifier_auc(real, second, seed),
            )
        )
    if training is not None:
        measures.append(
            Measure(
                "memorised 16-grams",
                "level",
                memorised_share(streams, training),
                memorised_share(held_out, training),
            )
        )
        for name, fewest in (("whole streams copied", 2), (f"copied, {TELLING} events or more", TELLING)):
            measures.append(
                Measure(
                    name,
                    "share",
                    whole_copies(streams, training, fewest=fewest) / len(streams),
                    whole_copies(held_out, training, fewest=fewest) / len(held_out),
                )
            )
    return Scores(tuple(measures))


def _of_machine(streams: Streams, real: Streams, machine: Machine | None) -> list[Measure]:
    if machine is None:
        return []
    own, truth = find_violations(streams, machine), find_violations(real, machine)
    return [
        Measure("events breaking the machine", "share", own.event_share, truth.event_share),
        Measure("streams breaking the machine", "share", own.stream_share, truth.stream_share),
    ]


def _of_stays(streams: Streams, real: Streams, second: Streams, machine: Machine | None) -> list[Measure]:
    own, truth, other = (stays_by_state(one, machine) for one in (streams, real, second))
    distances = [
        Measure(
            f"time in {name}",
            "distance",
            _stay_distance(own, truth, name),
            _stay_distance(other, truth, name),
        )
        for name in truth
    ]
    levels = [Measure(f"lag-1 of {name}", "level", own[name].lag_1(), truth[name].lag_1()) for name in truth]
    return [measure for measure in distances + levels if measure.truth is not None]


def _stay_distance(a: Mapping[str, Stays], b: Mapping[str, Stays], name: str) -> float | None:
    first, second = a[name].length_us, b[name].length_us
    if min(len(first), len(second)) < FEWEST:
        return None
    return largest_cdf_distance(first, second)


def _mix_distance(a: Streams, b: Streams) -> float:
    """The largest difference of an event's share."""
    return float(np.abs(mix(a) - mix(b)).max())


def _of_load(streams: Streams, real: Streams) -> list[Measure]:
    """Burstiness of all streams together, each sample cut to the same number of streams."""
    count = min(len(streams), len(real))
    own, truth = (
        describe(np.sort(one.time_us[: one.first[count]]), one.window_us).dispersion
        for one in (streams, real)
    )
    return [
        Measure(f"dispersion over {window_s:g} s", "level", own.get(window_s), truth[window_s])
        for window_s in truth
    ]
