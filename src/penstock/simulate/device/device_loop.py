"""The driver: a device policy, simulated arrivals, and a device that slows down with the jobs on it.

All running segments have the same speed, so one clock of *work* is enough: it runs at that speed, a segment
that starts at work W with length L ends at work W + L, and a heap of these ends says what comes next, however
often the speed changes in between. Times are floats; the policy gets whole microseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import final

import numpy as np

from penstock.schedule.device import DevicePolicy, Progress, Release
from penstock.simulate.device.device_record import PARTS, DeviceRecord
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import JobArrivals, SharedModel
from penstock.simulate.device.service_shares import ServiceShares
from penstock.units import NEVER_US

QUEUE, DECIDE, LAUNCH, RUN, NOTICE, GAPS = range(len(PARTS))


@final
@dataclass(frozen=True)
class Overheads:
    """What a release costs besides running, in us: deciding and launching before it, the notice of its end
    after it.

    A segment keeps its place in the window during all three; other segments run meanwhile.
    """

    decide_us: float = 0.0
    launch_us: float = 0.0
    notice_us: float = 0.0


NONE = Overheads()


@final
class DeviceLoop:
    """One run. ``service`` collects who was served while waiting, if given."""

    def __init__(
        self,
        policy: DevicePolicy,
        models: Sequence[SharedModel],
        device: Interference,
        overheads: Overheads = NONE,
        service: ServiceShares | None = None,
    ) -> None:
        self._policy = policy
        self._segments = [model.segment_us for model in models]
        self._models = tuple(models)
        self._device = device
        self._overheads = overheads
        self._service = service
        self._now_us = 0.0
        self._work_us = 0.0
        self._ends: list[tuple[float, int, Release]] = []
        # Delays are the same for all segments, so what starts or is noticed next is what was put in first.
        self._starts: deque[tuple[float, Release]] = deque()
        self._notices: deque[tuple[float, Release]] = deque()
        self._released = 0

    def run(self, arrivals: JobArrivals) -> DeviceRecord:
        """Every job to its end."""
        jobs = len(arrivals.arrival_us)
        self._parts = np.zeros((len(PARTS), jobs))
        self._since_us = arrivals.arrival_us.tolist()  # the end of what is accounted for
        self._end_us = np.full(jobs, np.inf)
        self._given_up = 0
        moments, model = arrivals.arrival_us.tolist(), arrivals.model.tolist()
        next_job = 0
        while True:
            arrival_us = moments[next_job] if next_job < jobs else np.inf
            event_us = min(self._next_us(), arrival_us)
            if event_us == np.inf:
                break
            self._advance(event_us)
            if arrival_us == event_us:
                self._policy.arrive(int(event_us), next_job, model[next_job])
                if self._service is not None:
                    self._service.came(model[next_job])
                next_job += 1
            else:
                self._device_event()
            self._decide()
        slo_us = np.array([NEVER_US if m.slo_us is None else m.slo_us for m in self._models], np.float64)
        return DeviceRecord(
            tuple(m.name for m in self._models),
            np.array([m.own_us for m in self._models]),
            arrivals.model,
            arrivals.arrival_us,
            arrivals.arrival_us + slo_us[arrivals.model],
            self._end_us,
            self._parts,
            self._given_up,
        )

    def _next_us(self) -> float:
        """When the device does something next."""
        next_us = float("inf")
        if self._ends:
            left_us = (self._ends[0][0] - self._work_us) / self._device.speed(len(self._ends))
            next_us = self._now_us + max(0.0, left_us)
        if self._starts:
            next_us = min(next_us, self._starts[0][0])
        if self._notices:
            next_us = min(next_us, self._notices[0][0])
        return next_us

    def _advance(self, now_us: float) -> None:
        passed_us = now_us - self._now_us
        if self._ends:
            self._work_us += passed_us * self._device.speed(len(self._ends))
        if self._service is not None:
            self._service.passed(passed_us)
        self._now_us = now_us

    def _device_event(self) -> None:
        """One start, one end or one notice that is due."""
        if self._notices and self._notices[0][0] <= self._now_us:
            self._noticed(self._notices.popleft()[1])
        elif self._starts and self._starts[0][0] <= self._now_us:
            self._start(self._starts.popleft()[1])
        else:
            self._work_us = self._ends[0][0]
            one = heappop(self._ends)[2]
            self._account(RUN, one.job)
            if self._service is not None:
                self._service.ended(one.job_type)
            if self._overheads.notice_us > 0:
                self._notices.append((self._now_us + self._overheads.notice_us, one))
            else:
                self._noticed(one)

    def _start(self, one: Release) -> None:
        self._account(LAUNCH, one.job)
        self._parts[DECIDE, one.job] += self._overheads.decide_us
        self._parts[LAUNCH, one.job] -= self._overheads.decide_us
        self._released += 1
        heappush(self._ends, (self._work_us + self._segments[one.job_type][one.stage], self._released, one))
        if self._service is not None:
            self._service.started(one.job_type)

    def _noticed(self, one: Release) -> None:
        self._account(NOTICE, one.job)
        if self._policy.finished(int(self._now_us), one.job, one.stage) is Progress.DONE:
            self._end_us[one.job] = self._now_us
            if self._service is not None:
                self._service.left(one.job_type)

    def _decide(self) -> None:
        decision = self._policy.decide(int(self._now_us))
        for one in decision.releases:
            self._account(GAPS if one.stage else QUEUE, one.job)
            delay_us = self._overheads.decide_us + self._overheads.launch_us
            if delay_us > 0:
                self._starts.append((self._now_us + delay_us, one))
            else:
                self._start(one)
        self._given_up += len(decision.drops)

    def _account(self, part: int, job: int) -> None:
        self._parts[part, job] += self._now_us - self._since_us[job]
        self._since_us[job] = self._now_us
