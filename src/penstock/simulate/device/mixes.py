"""What arrives at one device: models with their times and segments, their shares, and the moments of arrival."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.profile.cutting import wanted_segments
from penstock.schedule.device import JobType
from penstock.units import US_PER_S


@final
@dataclass(frozen=True)
class SharedModel:
    """A model on the device: its segments' times alone (us, float), its share of the jobs, its SLO.

    ``cut_costs``: how much longer the cut model runs than the whole one (0.02 is 2%); it is in ``segment_us``
    already.
    """

    name: str
    segment_us: tuple[float, ...]
    share: float = 1.0
    slo_us: int | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        if not self.segment_us or min(self.segment_us) <= 0:
            raise BadInputError(f"segment_us (={self.segment_us}) of {self.name!r} must hold times > 0.")
        if not self.share > 0:
            raise BadInputError(f"share (={self.share}) of {self.name!r} must be > 0.")

    @property
    def own_us(self) -> float:
        """The time of a job that runs alone."""
        return sum(self.segment_us)

    def whole(self) -> SharedModel:
        """The same model without cuts."""
        return replace(self, segment_us=(self.own_us,))

    def job_type(self, copies: int, *, known: bool) -> JobType:
        """The type of this model's jobs for a policy; ``known``: its times are told, not learned."""
        return JobType(
            self.name,
            len(self.segment_us),
            copies=copies,
            slo_us=self.slo_us,
            priority=self.priority,
            stage_us=self.segment_us if known else None,
        )


def cut_by_rule(models: list[SharedModel]) -> list[SharedModel]:
    """Each model in ``min(8, round(L / L_shortest))`` equal segments; the shortest stays whole.

    The rule of ``penstock profile`` without its measurement: cuts are taken to cost nothing.
    """
    shortest_us = min(model.own_us for model in models)
    cut = []
    for model in models:
        pieces = wanted_segments(model.own_us, shortest_us)
        cut.append(replace(model, segment_us=(model.own_us / pieces,) * pieces))
    return cut


def equal_work(models: list[SharedModel]) -> list[SharedModel]:
    """The same models with shares by which each brings the same work: share is 1 / own time."""
    return [replace(model, share=1.0 / model.own_us) for model in models]


def with_slo(models: list[SharedModel], times_own: float) -> list[SharedModel]:
    """The same models with an SLO of ``times_own`` times each one's own time."""
    return [replace(model, slo_us=round(times_own * model.own_us)) for model in models]


def mean_own_us(models: list[SharedModel]) -> float:
    """The mean time alone of a job that arrives."""
    total = sum(model.share for model in models)
    return sum(model.share * model.own_us for model in models) / total


# Mean latencies of one request on an idle GV100, in us, and shares of requests, of the public eight-model workload
# (Ng et al., SOSP 2023; raw results rerun by Shen et al., OSDI 2025).
_EIGHT = {
    "mobilenetv2": (2257.0, 0.257),
    "densenet121": (5137.0, 0.0706),
    "googlenet": (7824.0, 0.0546),
    "inceptionv3": (21371.0, 0.0138),
    "resnet18": (1512.0, 0.272),
    "resnet34": (2410.0, 0.168),
    "resnet50": (4424.0, 0.0745),
    "squeezenet1.1": (2444.0, 0.0895),
}


def eight_models() -> list[SharedModel]:
    """The public mix of eight classifiers, whole."""
    return [SharedModel(name, (own_us,), share) for name, (own_us, share) in _EIGHT.items()]


def two_extremes() -> list[SharedModel]:
    """ResNet-18 and InceptionV3 in the published shares .952 and .048, whole."""
    pick = {model.name: model for model in eight_models()}
    return [replace(pick["resnet18"], share=0.952), replace(pick["inceptionv3"], share=0.048)]


def equal_extremes() -> list[SharedModel]:
    """ResNet-18 and InceptionV3 with equal work, whole."""
    return equal_work(two_extremes())


MIXES = {"eight": eight_models, "extremes": two_extremes, "equal-work": equal_extremes}


@final
@dataclass(frozen=True)
class JobArrivals:
    """Jobs in order of arrival: ``arrival_us`` (float, ascending) and ``model`` (index in the mix)."""

    arrival_us: F64
    model: I64

    def at_rate(self, rate_rps: float) -> JobArrivals:
        """The same jobs with all gaps scaled, so that the realised rate is ``rate_rps`` exactly."""
        span_us = float(self.arrival_us[-1] - self.arrival_us[0])
        scale = (len(self.arrival_us) - 1) * US_PER_S / rate_rps / span_us
        return replace(self, arrival_us=(self.arrival_us - self.arrival_us[0]) * scale)


def draw_jobs(
    models: list[SharedModel],
    rate_rps: float,
    jobs: int,
    rng: np.random.Generator,
    *,
    sigma: float | None = None,
) -> JobArrivals:
    """``jobs`` arrivals at a realised rate of ``rate_rps``: lognormal gaps of deviation ``sigma``, or Poisson
    if None.

    Heavy-tailed gaps miss their mean by much in a short run, so the gaps are scaled to the nominal rate. Raises
    :class:`BadInputError` for fewer than two jobs or a rate that is not > 0.
    """
    if jobs < 2 or not rate_rps > 0:
        raise BadInputError(f"jobs (={jobs}) must be >= 2 and rate_rps (={rate_rps}) > 0.")
    gaps = rng.exponential(1.0, jobs) if sigma is None else rng.lognormal(-sigma * sigma / 2, sigma, jobs)
    shares = np.array([model.share for model in models])
    model = rng.choice(len(models), jobs, p=shares / math.fsum(shares))
    return JobArrivals(np.cumsum(gaps), model.astype(np.int64)).at_rate(rate_rps)
