"""One run of a trace: by the policy, or by launching every job when it comes (the baselines)."""

from __future__ import annotations

import gc
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device_gpu_parts.loaded import Loaded, now_us
from device_gpu_parts.stand_in import ThreadStreams
from device_gpu_parts.trace import LONG, SHORT, Trace, summary
from penstock.schedule.device import DeviceDecision, DevicePolicy, JobType, Progress
from penstock.serve.scheduled.graphed import Copy, GraphedModel
from penstock.serve.scheduled.stream_driver import StreamDriver
from penstock.serve.scheduled.streams import Streams

STREAMS = 32
MOST_ARRIVALS = 16
"""Taken in at one turn."""


@dataclass(frozen=True)
class Order:
    """A row of the table under the policy. ``cut``: whether the long model runs in segments."""

    name: str
    window: int
    cut: bool = True
    theta: float | None = None
    late: str = "keep"
    miss_budget: float | None = None

    @property
    def label(self) -> str:
        theta = "" if self.theta is None else f" theta {self.theta:g}"
        late = "" if self.late == "keep" else f" {self.late}"
        budget = "" if self.miss_budget is None else f" budget {self.miss_budget:g}"
        return f"{self.name}{theta}{late}{budget}, {'cut' if self.cut else 'whole'}, window {self.window}"


@dataclass(frozen=True)
class Direct:
    """A row without a dispatcher: every job is launched when it comes, as soon as a copy is free."""

    name: str  # many-streams | one-stream | priorities | green-contexts | processes | mps

    @property
    def label(self) -> str:
        return f"direct, {self.name}"


Mode = Order | Direct


class Watched:
    """A policy that is timed: every call goes to ``policy`` itself."""

    def __init__(self, policy: DevicePolicy, segment_us: list[list[float]]) -> None:
        self._policy = policy
        self._segment_us = segment_us
        self.decide_ns: list[int] = []
        self.released_us: dict[tuple[int, int], tuple[int, float]] = {}  # asked, decided
        self.waiting = [0, 0]
        self.served_us = [0.0, 0.0]
        self._types: dict[int, int] = {}

    def arrive(self, now: int, job: int, job_type: int, deadline_us: int) -> None:
        self._types[job] = job_type
        self.waiting[job_type] += 1
        self._policy.arrive(now, job, job_type, deadline_us)

    def finished(self, now: int, job: int, stage: int) -> Progress:
        progress = self._policy.finished(now, job, stage)
        self.waiting[self._types[job]] += progress is Progress.CONTINUES
        return progress

    def decide(self, now: int) -> DeviceDecision:
        start = time.perf_counter_ns()
        decision = self._policy.decide(now)
        end = time.perf_counter_ns()
        if decision.releases:
            self.decide_ns.append((end - start) // len(decision.releases))
        for job in decision.drops:
            self.waiting[self._types[job]] -= 1
        for release in decision.releases:
            self.released_us[release.job, release.stage] = now, end / 1e3
            # Service counts while both types wait: only then does the policy choose between them.
            if all(self.waiting):
                self.served_us[release.job_type] += self._segment_us[release.job_type][release.stage]
            self.waiting[release.job_type] -= 1
        return decision


class Stamped:
    """A device that notes when each mark was made: then its segment's launch is over for the host."""

    def __init__(self, device: Streams) -> None:
        self._device = device
        self.marked_us: dict[int, float] = {}

    def mark(self, event: Any, stream: Any) -> None:
        self._device.mark(event, stream)
        self.marked_us[id(event)] = now_us()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


class Contender(Protocol):
    """What a run drives."""

    def arrive(self, now: int, job: int) -> None: ...
    def turn(self, now: int) -> int: ...


def job_types(loaded: Loaded, models: list[GraphedModel], segment_us: list[list[float]]) -> list[JobType]:
    """The two types as the policy sees them: measured alone, and learned on from there. The short one is urgent."""
    return [
        JobType(
            name=model.name,
            stages=model.n_segments,
            copies=len(model.copies),
            slo_us=max(1, round(slo_us)),
            priority=priority,
            stage_us=tuple(times_us),
        )
        for model, slo_us, priority, times_us in zip(models, loaded.slo_us, (1, 0), segment_us, strict=True)
    ]


class Scheduled:
    """The policy and its driver."""

    def __init__(self, run: _Run, order: Order) -> None:
        loaded = run.loaded
        models = [loaded.short, loaded.long_cut if order.cut else loaded.long_whole]
        # A cut balances its segments, so each is an equal part of the whole.
        segment_us = [
            [us / m.n_segments] * m.n_segments for us, m in zip(loaded.whole_us, models, strict=True)
        ]
        policy = DevicePolicy(
            order.name,
            order.late,
            order.window,
            job_types(loaded, models, segment_us),
            theta=50.0 if order.theta is None else order.theta,
            miss_budget=order.miss_budget,
        )
        self._run = run
        self.watched = Watched(policy, segment_us)
        self.driver = StreamDriver(
            self.watched,
            models,
            run.stamped or loaded.device,
            streams=order.window,
            on_done=run.done,
            on_dropped=run.dropped,
        )
        self.peak = 0

    def arrive(self, now: int, job: int) -> None:
        run = self._run
        job_type = int(run.trace.types[job])
        deadline = run.start_us + run.trace.due_us[job] + run.loaded.slo_us[job_type]
        self.watched.arrive(now, job, job_type, int(deadline))

    def turn(self, now: int) -> int:
        events = self.driver.turn(now)
        self.peak = max(self.peak, self.driver.in_flight)
        return events


class Undirected:
    """Launch on arrival: ``many-streams``, ``one-stream``, or ``priorities`` (the short model's streams go first)."""

    def __init__(self, run: _Run, direct: Direct) -> None:
        loaded, device = run.loaded, run.loaded.device
        prior = direct.name == "priorities"
        self._run = run
        self._device = device
        self._copies = [
            list((loaded.short_high if prior else loaded.short).copies),
            list(loaded.long_whole.copies),
        ]
        if loaded.own_streams is not None:
            self._streams = [deque(streams) for streams in loaded.own_streams]
        else:
            normal = deque(device.streams(1 if direct.name == "one-stream" else STREAMS))
            high = deque(device.streams(STREAMS, device.highest_priority)) if prior else normal
            self._streams = [high, normal]
        self._due: list[deque[int]] = [deque(), deque()]
        self._flying: deque[tuple[int, int, Copy]] = deque()
        self.peak = 0

    def arrive(self, now: int, job: int) -> None:
        self._due[int(self._run.trace.types[job])].append(job)

    def turn(self, now: int) -> int:
        launched = 0
        for job_type in (SHORT, LONG):
            due, copies, streams = self._due[job_type], self._copies[job_type], self._streams[job_type]
            while due and copies:
                copy, stream = copies.pop(), streams[0]
                streams.rotate(-1)
                self._device.launch(copy.graphs[0], stream)
                self._device.mark(copy.done[0], stream)
                self._flying.append((due.popleft(), job_type, copy))
                launched += 1
        self.peak = max(self.peak, len(self._flying))
        # The oldest few each time: with 64 in flight, asking all would take longer than a job.
        for _ in range(min(len(self._flying), 8)):
            job, job_type, copy = self._flying.popleft()
            if copy.done[0].query():
                self._run.done(job, job_type, copy)
                self._copies[job_type].append(copy)
                launched += 1
            else:
                self._flying.append((job, job_type, copy))
        return launched


class _Run:
    """The books of one run."""

    def __init__(self, loaded: Loaded, trace: Trace, *, stack: bool) -> None:
        self.loaded, self.trace = loaded, trace
        self.stamped = Stamped(loaded.device) if stack else None
        self.latency_us: NDArray[np.float64] = np.full(trace.n, np.nan)
        self.answered = 0
        self.start_us = 0.0
        self.reference: Any = None
        self.segments_us: dict[int, list[tuple[float, float]]] = {}  # marked, ended

    def done(self, job: int, job_type: int, copy: Copy) -> None:
        device = self.loaded.device
        end_us = device.end_us(self.reference, copy.done[-1])
        self.latency_us[job] = end_us - self.start_us - self.trace.due_us[job]
        self.answered += 1
        if self.stamped is not None:
            marked_us = self.stamped.marked_us
            self.segments_us[job] = [(marked_us[id(e)], device.end_us(self.reference, e)) for e in copy.done]

    def dropped(self, job: int) -> None:
        self.answered += 1


def run(
    loaded: Loaded,
    trace: Trace,
    mode: Mode,
    *,
    limit_s: float,
    start_us: float | None = None,
    stack: bool = False,
) -> dict[str, Any]:
    """Run ``trace`` under ``mode``; jobs without an answer ``limit_s`` after the last was due are told as lost."""
    device: Streams = loaded.device
    books = _Run(loaded, trace, stack=stack)
    contender: Scheduled | Undirected = (
        Scheduled(books, mode) if isinstance(mode, Order) else Undirected(books, mode)
    )
    # A collection takes up to half a second with all graphs loaded: it must be over before the first job is due.
    gc.collect()
    gc.disable()
    device.wait()
    books.reference = device.reference()
    books.start_us = now_us() + 5_000 if start_us is None else start_us
    try:
        ended_us = _drive(books, contender, limit_s * 1e6)
    finally:
        gc.enable()
    device.wait()
    row = {
        "mode": mode.label,
        **vars(mode),
        "rate_rps": round(books.answered / (ended_us - books.start_us) * 1e6, 1),
    }
    row |= summary(trace, books.latency_us, loaded.slo_us) | {"peak_in_flight": contender.peak}
    if isinstance(contender, Scheduled):
        row |= _watched_figures(contender.watched)
        row["is_clear"] = contender.driver.is_clear
        if stack:
            row["stack"] = _stack(books, contender.watched)
    return row


def _drive(books: _Run, contender: Contender, limit_us: float) -> float:
    trace, due = books.trace, (books.start_us + books.trace.due_us).tolist()
    stop_us = due[-1] + limit_us
    yields = isinstance(books.loaded.device, ThreadStreams)
    came = 0
    now = now_us()
    while books.answered < trace.n and now <= stop_us:
        # A backlog comes in little by little, so that the device is fed from the start.
        for job in range(came, min(came + MOST_ARRIVALS, trace.n)):
            if due[job] > now:
                break
            contender.arrive(int(now), job)
            came += 1
        # The stand-in's threads need the interpreter too. On a GPU the loop turns without rest: even sleep(0) costs
        # some 60 us, which the device would stand idle.
        if not contender.turn(int(now)) and yields and not _is_near(due, came, now):
            time.sleep(0)
        now = now_us()
    return now


def _is_near(due: list[float], came: int, now: float) -> bool:
    return came < len(due) and due[came] - now < 50


def _watched_figures(watched: Watched) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    if watched.decide_ns:
        decide_us = np.array(watched.decide_ns) / 1e3
        figures["decide_us"] = {
            "p50": round(float(np.median(decide_us)), 2),
            "p99": round(float(np.quantile(decide_us, 0.99)), 2),
        }
    if sum(watched.served_us):
        first, second = watched.served_us
        figures["jain_of_backlogged_service"] = round((first + second) ** 2 / (2 * (first**2 + second**2)), 4)
        figures["long_share_of_backlogged_service"] = round(second / (first + second), 4)
    return figures


STACK = ("queue_us", "decide_us", "launch_us", "run_us", "gaps_us", "total_us")


def _stack(books: _Run, watched: Watched) -> dict[str, Any]:
    """Where a job's time goes, means in microseconds by type; the parts sum to the latency.

    ``queue``: due to the turn of the driver that releases the first segment. Then for every segment ``decide``,
    ``launch`` (until the host has sent it, also those released before it in the same turn), ``run`` (until the device's
    own end), and ``gaps``: from that end to the turn that releases the next: notice, and waiting for one's turn.
    """
    out: dict[str, Any] = {}
    for job_type, name in enumerate(("short", "long")):
        jobs = [job for job in books.segments_us if books.trace.types[job] == job_type]
        if jobs:
            means = np.array([_parts_us(books, watched, job) for job in jobs]).mean(axis=0)
            out[name] = {key: round(value, 1) for key, value in zip(STACK, means.tolist(), strict=True)}
    return out


def _parts_us(books: _Run, watched: Watched, job: int) -> tuple[float, ...]:
    due = books.start_us + books.trace.due_us[job]
    before, queue, decide, launch, running, gaps = due, 0.0, 0.0, 0.0, 0.0, 0.0
    for stage, (marked, ended) in enumerate(books.segments_us[job]):
        asked, decided = watched.released_us[job, stage]
        if stage == 0:
            queue = asked - before
        else:
            gaps += asked - before
        decide += decided - asked
        launch += marked - decided
        running += ended - marked
        before = ended
    return queue, decide, launch, running, gaps, before - due
