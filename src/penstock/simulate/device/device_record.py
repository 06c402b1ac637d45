"""What happened to the jobs of one device, a row a job, and the figures that people ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from penstock.arrays import F64, I64
from penstock.units import NEVER_US, US_PER_S

PARTS = ("queue", "decide", "launch", "run", "notice", "gaps")
"""Where the time of a job goes: before its first release; deciding; launching; on the device; until its end was
noticed; between the notice of one segment and the release of the next."""


@final
@dataclass(frozen=True)
class DeviceRecord:
    """Times in us (float), one entry a job in order of arrival. ``end_us`` is infinite for a job that was dropped.

    ``parts``: float[6, jobs], rows as :data:`PARTS`; the columns of finished jobs sum to their latency.
    """

    names: tuple[str, ...]
    own_us: F64
    model: I64
    arrival_us: F64
    deadline_us: F64
    end_us: F64
    parts: F64
    given_up: int

    @property
    def latency_us(self) -> F64:
        """From the intended arrival to the notice of the end."""
        latency: F64 = self.end_us - self.arrival_us
        return latency

    def of(self, model: int) -> F64:
        """The latencies of one model."""
        of_model: F64 = self.latency_us[self.model == model]
        return of_model

    def mean_us(self, model: int | None = None) -> float:
        """The mean latency of one model, or of all jobs."""
        return float(np.mean(self.latency_us if model is None else self.of(model)))

    def percentile_us(self, percent: float, model: int | None = None) -> float:
        """A percentile of the latency: the smallest latency that at least that share of the jobs does not pass."""
        latency = np.sort(self.latency_us if model is None else self.of(model))
        return float(latency[min(len(latency) - 1, int(len(latency) * percent / 100))])

    def stretch(self) -> F64:
        """Latency over the time alone, for each job."""
        stretch: F64 = self.latency_us / self.own_us[self.model]
        return stretch

    def attainment(self, model: int | None = None) -> float:
        """The share of jobs that ended within their deadline; a drop is a miss."""
        met = self.end_us <= self.deadline_us
        return float(np.mean(met if model is None else met[self.model == model]))

    def least_attainment(self) -> float:
        """The attainment of the model with the lowest."""
        return min(self.attainment(model) for model in np.unique(self.model).tolist())

    def rate_rps(self) -> float:
        """Jobs finished over the time from the first arrival to the last end."""
        ended = self.end_us[np.isfinite(self.end_us)]
        return len(ended) * US_PER_S / float(ended.max() - self.arrival_us[0])

    def has_deadlines(self) -> bool:
        """Whether any job has a deadline."""
        return bool(np.any(self.deadline_us < NEVER_US))

    def mean_parts_us(self, model: int | None = None) -> dict[str, float]:
        """The mean of each part over finished jobs; they sum to the mean latency of those."""
        chosen = np.isfinite(self.end_us)
        if model is not None:
            chosen &= self.model == model
        return {part: float(np.mean(self.parts[row, chosen])) for row, part in enumerate(PARTS)}
