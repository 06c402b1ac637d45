"""The driver of a policy on a device with streams: releases become graph launches, events become notices.

It never blocks: :meth:`StreamDriver.turn` looks at the events in flight, tells the policy, and launches what the
policy then releases. A segment takes a free stream for itself, so it waits for no other in a hardware queue; the
next segment of its job may run on another stream, because it is released only after this one was seen to end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from penstock.errors import BadInputError
from penstock.schedule.device.job_types import DeviceDecision, Progress, Release
from penstock.serve.scheduled.graphed import Copy, GraphedModel
from penstock.serve.scheduled.streams import Streams


class Policy(Protocol):
    """The part of :class:`penstock.schedule.device.policy.DevicePolicy` that the driver calls."""

    def finished(self, now_us: int, job: int, stage: int) -> Progress:
        """Stage ``stage`` of ``job`` has ended."""
        ...

    def decide(self, now_us: int) -> DeviceDecision:
        """What to run and what to drop now."""
        ...


@dataclass(eq=False, slots=True)
class _Begun:
    """A job that holds a copy; ``stream`` is that of its segment in flight, if one is."""

    job_type: int
    copy: Copy
    stage: int = 0
    stream: Any = None


OnDone = Callable[[int, int, Copy], None]
"""Called with (job, type, copy) when a job's last segment has ended, before its copy serves another."""

OnDropped = Callable[[int], None]
"""Called with a job that the policy gives up; one that was cancelled is not told again."""


@final
class StreamDriver:
    """``models[t]`` runs the jobs of type t; the policy's ``copies`` of t must be those of the model."""

    def __init__(
        self,
        policy: Policy,
        models: Sequence[GraphedModel],
        device: Streams,
        *,
        streams: int,
        on_done: OnDone,
        on_dropped: OnDropped,
    ) -> None:
        self._policy = policy
        self._device = device
        self._streams = list(device.streams(streams))
        self._n_streams = streams
        self._copies = [list(model.copies) for model in models]
        self._all_copies = [len(model.copies) for model in models]
        self._begun: dict[int, _Begun] = {}
        self._in_flight: list[int] = []
        self._on_done = on_done
        self._on_dropped = on_dropped

    @property
    def in_flight(self) -> int:
        """Segments on the device."""
        return len(self._in_flight)

    @property
    def is_clear(self) -> bool:
        """Whether every stream and copy is free: so it must be when no job is left."""
        free = [len(own) for own in self._copies]
        return free == self._all_copies and len(self._streams) == self._n_streams and not self._begun

    def turn(self, now_us: int) -> int:
        """Take in what has ended by now, drop and launch what the policy says; the number of all these."""
        looked_at, self._in_flight = self._in_flight, []
        for job in looked_at:
            begun = self._begun[job]
            if begun.copy.done[begun.stage].query():
                self._end(now_us, job, begun)
            else:
                self._in_flight.append(job)
        n_ended = len(looked_at) - len(self._in_flight)
        decision = self._policy.decide(now_us)
        for job in decision.drops:
            self.forget(job)
            self._on_dropped(job)
        for release in decision.releases:
            self._launch(release)
        return n_ended + len(decision.drops) + len(decision.releases)

    def forget(self, job: int) -> None:
        """``job`` was cancelled or dropped: its copy is free, at once or when its segment in flight has ended."""
        begun = self._begun.get(job)
        if begun is not None and begun.stream is None:
            self._free(job, begun)

    def _end(self, now_us: int, job: int, begun: _Begun) -> None:
        self._streams.append(begun.stream)
        begun.stream = None
        progress = self._policy.finished(now_us, job, begun.stage)
        if progress is Progress.DONE:
            self._on_done(job, begun.job_type, begun.copy)
        if progress is not Progress.CONTINUES:
            self._free(job, begun)

    def _free(self, job: int, begun: _Begun) -> None:
        del self._begun[job]
        self._copies[begun.job_type].append(begun.copy)

    def _launch(self, release: Release) -> None:
        if not self._streams:
            raise BadInputError(
                f"the policy released job {release.job} while all {self._n_streams} streams hold a segment: its "
                f"window must be at most the number of streams. Lower the window."
            )
        if release.stage == 0:
            self._begun[release.job] = _Begun(release.job_type, self._copies[release.job_type].pop())
        begun = self._begun[release.job]
        begun.stage, begun.stream = release.stage, self._streams.pop()
        self._device.launch(begun.copy.graphs[release.stage], begun.stream)
        self._device.mark(begun.copy.done[release.stage], begun.stream)
        self._in_flight.append(release.job)
