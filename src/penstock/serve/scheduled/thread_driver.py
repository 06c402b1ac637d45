"""The driver of a policy on the CPU: ``threads`` worker threads are the device.

There is no thread for decisions. Whoever brings an event (a client that submits or cancels, a worker whose
segment ended) tells the policy under one lock, and wakes as many workers as there are new releases. A worker whose
segment ended takes the next release in the same step, so a busy device changes threads for nothing. Nobody
spins: idle workers wait on a condition. Answers are given with the lock released, and before the thread runs another
segment.

Why not :mod:`.stream_driver`: that one asks events of a device that runs by itself; here the threads that run the
segments bring the news.

Every job submitted is answered exactly once. An exception of a segment fails its job and no other. An
exception from anywhere else (the policy, an ``on_answer``) is a defect: the driver stops, answers what is left, tells
``on_fault``, and raises it from :meth:`ThreadDriver.close`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, final

from penstock.clock import Clock, MonotonicClock
from penstock.errors import BadInputError, PenstockError
from penstock.profile.segments.segmented import Tensors
from penstock.schedule.device import DeviceDecision, Progress, Release
from penstock.serve.scheduled.answers import Answer, Ending, OnAnswer

CLOSE_S = 30.0
"""How long :meth:`ThreadDriver.close` waits for segments that run."""


class SegmentRunner(Protocol):
    """A model in segments. Called by several threads at once, each with tensors of its own."""

    @property
    def n_segments(self) -> int:
        """How many there are."""
        ...

    def run(self, segment: int, tensors: Tensors) -> Tensors:
        """What crosses the end of ``segment``, from what crosses its start. Any exception fails this job."""
        ...


class SharedPolicy(Protocol):
    """What the driver calls of a :class:`~penstock.schedule.device.DevicePolicy`, or of one that keeps a journal."""

    def arrive(self, now_us: int, job: int, job_type: int, deadline_us: int | None = None) -> bool:
        """Queue a job; False if the queue is full."""
        ...

    def decide(self, now_us: int) -> DeviceDecision:
        """What to run and what to drop now."""
        ...

    def finished(self, now_us: int, job: int, stage: int) -> Progress:
        """A released stage has ended."""
        ...

    def failed(self, now_us: int, job: int, stage: int) -> bool:
        """A released stage could not run; True if its job is still to be answered."""
        ...

    def cancel(self, job: int) -> bool:
        """Forget a job; True if it is to be answered now."""
        ...

    def unload(self, job_type: int) -> tuple[int, ...]:
        """Take no more jobs of a type; the jobs to answer now."""
        ...

    def load(self, job_type: int) -> None:
        """Take jobs of the type again."""
        ...


@dataclass(eq=False, slots=True)
class _Begun:
    """A job that the policy knows. ``is_in_flight``: a segment of it is released and not reported.

    ``is_answered``: only that report is missing.
    """

    job: int
    job_type: int
    tensors: Tensors
    tell: OnAnswer
    arrived_us: int
    started_us: int = -1
    run_us: int = 0
    cpu_us: int = 0
    is_in_flight: bool = False
    is_answered: bool = False


_Told = list[tuple[OnAnswer, Answer]]


@final
class ThreadDriver:
    """``models[t]`` runs the jobs of type t. A context manager: :meth:`close` at its end.

    The policy must allow at least one segment in flight; with a window above ``threads`` released segments wait here
    and can no longer be reordered. ``on_fault`` is told of a defect once, on the thread that met it.
    """

    def __init__(
        self,
        policy: SharedPolicy,
        models: Sequence[SegmentRunner],
        *,
        threads: int,
        clock: Clock | None = None,
        on_fault: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        if threads < 1:
            raise BadInputError(f"threads (={threads}) must be >= 1: they are the device.")
        self._policy = policy
        self._models = list(models)
        self._clock = MonotonicClock() if clock is None else clock
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._is_work = threading.Condition(self._lock)
        self._is_idle = threading.Condition(self._lock)
        self._ready: deque[Release] = deque()
        self._jobs: dict[int, _Begun] = {}
        self._unloaded: set[int] = set()
        self._next_job = 0
        self._is_stopping = False
        self._fault: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"device-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def in_flight(self) -> int:
        """Jobs that are not over: queued, running, or cancelled with a segment still running."""
        return len(self._jobs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(
        self,
        job_type: int,
        tensors: Tensors,
        on_answer: OnAnswer,
        *,
        deadline_us: int | None = None,
        arrived_us: int | None = None,
    ) -> int:
        """Queue a job; its number. ``on_answer`` may be called before this returns, e.g. if the queue is full.

        ``deadline_us``: absolute; None: the type's SLO. ``arrived_us``: when the job was meant to come, for its
        latency; now by default. Raises :class:`BadInputError` for a type that does not exist.
        """
        if not 0 <= job_type < len(self._models):
            raise BadInputError(f"job_type (={job_type}) must be one of 0 to {len(self._models) - 1}.")
        told: _Told = []
        with self._lock:
            now_us = self._clock.now_us()
            job = self._next_job
            self._next_job += 1
            one = _Begun(job, job_type, tensors, on_answer, now_us if arrived_us is None else arrived_us)
            refusal = None
            if self._is_stopping or job_type in self._unloaded:
                refusal = Ending.STOPPED if self._is_stopping else Ending.UNLOADED
            elif not self._policy.arrive(now_us, job, job_type, deadline_us):
                refusal = Ending.REFUSED
            if refusal is None:
                self._jobs[job] = one
                self._decide(now_us, told)
            else:
                told.append((on_answer, _answer(one, refusal, now_us)))
        self._deliver(told)
        return job

    def cancel(self, job: int) -> bool:
        """Forget ``job``: True if that is its answer, False if it was answered before."""
        told: _Told = []
        with self._lock:
            is_mine = self._cancel(job, Ending.CANCELLED, told)
            if is_mine:
                self._decide(self._clock.now_us(), told)
        self._deliver(told)
        return is_mine

    def unload(self, job_type: int) -> int:
        """Take no more jobs of the type, and answer those that are here; how many."""
        told: _Told = []
        with self._lock:
            self._unloaded.add(job_type)
            now_us = self._clock.now_us()
            jobs = self._policy.unload(job_type)
            for job in jobs:
                self._leave(self._jobs[job], Ending.UNLOADED, now_us, told)
            self._decide(now_us, told)
        self._deliver(told)
        return len(jobs)

    def load(self, job_type: int) -> None:
        """Take jobs of an unloaded type again."""
        with self._lock:
            self._policy.load(job_type)
            self._unloaded.discard(job_type)

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until no job is here; False if that took longer than ``timeout_s``."""
        with self._lock:
            return self._is_idle.wait_for(lambda: not self._jobs, timeout_s)

    def close(self) -> None:
        """Answer every job that is left, wait for the segments that run, and end the threads.

        Raises the fault that stopped the driver if there was one, and :class:`PenstockError` if a segment does not
        end within :data:`CLOSE_S`.
        """
        self._stop()
        until_s = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        if self._fault is not None:
            raise self._fault
        if any(thread.is_alive() for thread in self._threads):
            raise PenstockError(
                f"a segment still runs {CLOSE_S:.0f} s after the stop: its thread is left behind. "
                f"End the process."
            )

    def _work(self) -> None:
        try:
            release = self._next()
            while release is not None:
                release = self._run(release)
                if release is None:
                    release = self._next()
        except Exception as error:
            # Not a segment's: see the rules above.
            self._break(error)

    def _next(self) -> Release | None:
        """The next release, after waiting for one; None at the end."""
        release = None
        while release is None:
            told: _Told = []
            with self._lock:
                self._is_work.wait_for(lambda: self._ready or self._is_stopping)
                release = self._take(told)
                is_over = release is None and self._is_stopping
            self._deliver(told)
            if is_over:
                break
        return release

    def _take(self, told: _Told) -> Release | None:
        """A release to run now. Those of jobs that are answered are reported and passed over."""
        while self._ready:
            release = self._ready.popleft()
            one = self._jobs[release.job]
            if not one.is_answered:
                return release
            # Not ``finished``: it did not run, so it took no time that is worth learning.
            now_us = self._clock.now_us()
            self._policy.failed(now_us, release.job, release.stage)
            self._forget(release.job)
            self._decide(now_us, told, here=1)
        return None

    def _run(self, release: Release) -> Release | None:
        """Run one segment, report it, and take what is to run next on this thread, if anything is."""
        one = self._jobs[release.job]
        start_us, cpu_ns = self._clock.now_us(), time.thread_time_ns()
        if one.started_us < 0:
            one.started_us = start_us
        problem = ""
        outputs: Tensors = {}
        try:
            outputs = self._models[release.job_type].run(release.stage, one.tensors)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        spent_ns = time.thread_time_ns() - cpu_ns
        told: _Told = []
        with self._lock:
            now_us = self._clock.now_us()
            one.run_us += now_us - start_us
            one.cpu_us += spent_ns // 1_000
            one.tensors = outputs
            one.is_in_flight = False
            if problem:
                self._failed(now_us, one, release.stage, problem, told)
            else:
                self._finished(now_us, one, release.stage, told)
            self._decide(now_us, told, here=1)
            following = self._take(told)
        self._deliver(told)
        return following

    def _failed(self, now_us: int, one: _Begun, stage: int, problem: str, told: _Told) -> None:
        if self._policy.failed(now_us, one.job, stage):
            self._end(one, Ending.FAILED, now_us, told, problem)
        else:
            self._forget(one.job)

    def _finished(self, now_us: int, one: _Begun, stage: int, told: _Told) -> None:
        progress = self._policy.finished(now_us, one.job, stage)
        if progress is Progress.DONE:
            self._end(one, Ending.DONE, now_us, told)
        elif progress is Progress.CANCELLED:
            self._forget(one.job)

    def _decide(self, now_us: int, told: _Told, *, here: int = 0) -> None:
        """Do what the policy says; ``here``: releases that the calling worker takes itself."""
        decision = self._policy.decide(now_us)
        for job in decision.drops:
            self._end(self._jobs[job], Ending.DROPPED, now_us, told)
        for release in decision.releases:
            self._jobs[release.job].is_in_flight = True
            self._ready.append(release)
        self._is_work.notify(max(0, len(self._ready) - here))

    def _cancel(self, job: int, ending: Ending, told: _Told) -> bool:
        if not self._policy.cancel(job):
            return False
        self._leave(self._jobs[job], ending, self._clock.now_us(), told)
        return True

    def _leave(self, one: _Begun, ending: Ending, now_us: int, told: _Told) -> None:
        """The policy forgot ``one``; a segment of it may be released, and is then reported later."""
        if one.is_in_flight:
            one.is_answered = True
            told.append((one.tell, _answer(one, ending, now_us)))
        else:
            self._end(one, ending, now_us, told)

    def _end(self, one: _Begun, ending: Ending, now_us: int, told: _Told, problem: str = "") -> None:
        """Answer ``one`` and forget it."""
        told.append((one.tell, _answer(one, ending, now_us, problem)))
        self._forget(one.job)

    def _forget(self, job: int) -> None:
        del self._jobs[job]
        if not self._jobs:
            self._is_idle.notify_all()

    def _deliver(self, told: _Told) -> None:
        for tell, answer in told:
            try:
                tell(answer)
            except Exception as error:
                self._break(error)

    def _break(self, error: Exception) -> None:
        with self._lock:
            is_first = self._fault is None
            if is_first:
                self._fault = error
        if is_first:
            self._on_fault(error)
        self._stop()

    def _stop(self) -> None:
        """Answer all that is left, and let the workers end."""
        told: _Told = []
        with self._lock:
            self._is_stopping = True
            for job in list(self._jobs):
                self._cancel(job, Ending.STOPPED, told)
            self._is_work.notify_all()
        self._deliver(told)


def _answer(one: _Begun, ending: Ending, now_us: int, problem: str = "") -> Answer:
    outputs = one.tensors if ending is Ending.DONE else None
    return Answer(
        one.job,
        one.job_type,
        ending,
        one.arrived_us,
        one.started_us,
        now_us,
        one.run_us,
        one.cpu_us,
        outputs,
        problem,
    )
