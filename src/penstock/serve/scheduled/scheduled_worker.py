"""A scheduled worker's process: a device with all its models, and the device policy between inbox and executors.

Three kinds of threads. One receives: it decodes a batch, submits it as a job, or cancels one. The driver's worker
threads run segments. The main thread sends, because a socket belongs to one thread: answers come to it by a queue.
Every batch that came in is reported exactly once: done (and passed on), dropped, or failed.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import msgspec

from penstock.clock import MonotonicClock
from penstock.record import Outcome
from penstock.serve.control import ControlLine, Problem, end_with_supervisor
from penstock.serve.hops.onward import Onward
from penstock.serve.messages import (
    BatchHeader,
    CancelBatch,
    GatewayGone,
    Ping,
    Pong,
    StageDone,
    StageDropped,
    StageFailed,
    ToWorker,
)
from penstock.serve.protocol.infer import Tensor
from penstock.serve.scheduled.answers import Answer, Ending
from penstock.serve.scheduled.device_log import LoggedDevicePolicy
from penstock.serve.scheduled.device_spec import DeviceSpec, TypeSpec, copies_of
from penstock.serve.scheduled.stage_runners import OnDevice, stage_runner
from penstock.serve.scheduled.thread_driver import SegmentRunner, ThreadDriver
from penstock.serve.spec import ServerSpec, StageSpec, read_spec
from penstock.serve.transport import (
    Group,
    Link,
    Received,
    decoded,
    dispatcher_endpoint,
    open_transport,
    read_tensors,
    worker_endpoint,
)
from penstock.serve.worker import receive

_CAUSES = {Ending.DROPPED: Outcome.DROPPED_DEADLINE, Ending.REFUSED: Outcome.DROPPED_EARLY}


def run_scheduled_worker(folder: Path, line: ControlLine, epoch: int, worker: int, life: int) -> None:
    """Serve batches until the supervisor ends it."""
    spec = read_spec(folder, epoch)
    running = _Device(spec, worker, life, line)
    transport = open_transport(spec.transport, f"device {worker}", folder)
    receiving = (transport, worker_endpoint(folder, worker, life), folder, line, running.take)
    threading.Thread(target=receive, args=receiving, daemon=True).start()
    end_with_supervisor(line, running.close)
    running.send_reports(_Links(transport.connect(dispatcher_endpoint(folder)), Onward(transport)))


def device_spec(spec: ServerSpec, stages: list[StageSpec]) -> DeviceSpec:
    """The device of a worker that serves ``stages``, a type each."""
    assert spec.device is not None, "only scheduled plans have devices"
    types = tuple(
        TypeSpec(
            spec.models[stage.model].name,
            len(stage.segments),
            slo_us=spec.models[stage.model].slo_us,
            stage_us=tuple(float(segment.latency_us) for segment in stage.segments),
            copies=copies_of(stage.runtime, spec.device.threads),
        )
        for stage in stages
    )
    how = spec.device
    return DeviceSpec(types, how.order, how.late, how.threads, miss_budget=how.miss_budget)


@dataclass(frozen=True)
class _Links:
    """Those of the thread that sends."""

    dispatcher: Link
    onward: Onward


@dataclass(frozen=True, slots=True)
class _Report:
    """A batch that ended, for the thread that sends."""

    header: BatchHeader
    queued_us: int
    answer: Answer | None
    problem: str = ""


@final
class _Device:
    """The driver, and which of its jobs is which batch."""

    def __init__(self, spec: ServerSpec, worker: int, life: int, line: ControlLine) -> None:
        self._spec = spec
        self._worker = worker
        self._stages = list(spec.stages_of(worker))
        stages = [spec.stages[stage] for stage in self._stages]
        own = spec.device_of(worker)
        if own is not None:
            own.check()
        device = device_spec(spec, stages)
        self._policy: Any = device.policy()
        if spec.journal is not None:
            self._policy = LoggedDevicePolicy(device, device_journal(Path(spec.journal), worker, life))
        self._clock = MonotonicClock()
        self._reports: queue.SimpleQueue[_Report | GatewayGone] = queue.SimpleQueue()
        self._jobs: dict[int, int] = {}  # batch -> job, of the receiving thread
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)

        def leave(fault: BaseException) -> None:
            # The supervisor starts a new one, and answers what this one held.
            line.send(Problem(f"the device's driver failed: {type(fault).__name__}: {fault}"))
            sys.stderr.flush()
            os._exit(1)

        runners: list[SegmentRunner] = [
            stage_runner(stage, kind.name, kind.copies)
            for stage, kind in zip(stages, device.types, strict=True)
        ]
        if own is not None:
            runners = [OnDevice(runner, own, leave) for runner in runners]
        self._driver = ThreadDriver(
            self._policy,
            runners,
            threads=device.threads,
            clock=self._clock,
            on_fault=leave,
        )

    def take(self, dispatcher: Link, received: Received) -> None:
        """A batch, which has one share here, a cancellation, a ping, or the death of a gateway."""
        message = decoded(self._decoder, received.head)
        while not self._ended.empty():
            self._jobs.pop(self._ended.get(), None)
        if isinstance(message, CancelBatch):
            job = self._jobs.get(message.batch)
            if job is not None:
                self._driver.cancel(job)
        elif isinstance(message, Ping):
            # Jobs of a device take turns, so how long one of them ran says nothing.
            dispatcher.send(Pong(self._worker, len(self._jobs), -1))
        elif isinstance(message, GatewayGone):
            self._reports.put(message)
        else:
            self._submit(message, received.frames)

    def _submit(self, header: BatchHeader, frames: Sequence[memoryview]) -> None:
        queued_us = self._clock.now_us()
        try:
            stage = self._spec.table["stage_offsets"][header.pipeline] + header.stage
            job_type = self._stages.index(stage)
            tensors = {tensor.name: tensor.array for tensor in read_tensors(header, frames)}
        except Exception as error:
            problem = f"cannot be taken in: {type(error).__name__}: {error}"
            self._reports.put(_Report(header, queued_us, None, problem))
            return

        def tell(answer: Answer) -> None:
            self._ended.put(header.batch)
            self._reports.put(_Report(header, queued_us, answer))

        self._jobs[header.batch] = self._driver.submit(
            job_type, tensors, tell, deadline_us=header.deadline_us, arrived_us=queued_us
        )

    def close(self) -> None:
        """End the device, and write the rest of its journal."""
        self._driver.close()
        if isinstance(self._policy, LoggedDevicePolicy):
            self._policy.close()

    def send_reports(self, to: _Links) -> None:
        """Report batches as they end, for ever. On the main thread."""
        while True:
            # No variable: it would hold the memory of the last batch until another one ends.
            self._report(to, self._reports.get())

    def _report(self, to: _Links, one: _Report | GatewayGone) -> None:
        if isinstance(one, GatewayGone):
            to.onward.forget(one.gateway)
            return
        header, answer = one.header, one.answer
        if answer is None:
            self._fail(to, header, one.problem)
        elif answer.ending is Ending.DONE:
            self._done(to, one, answer)
        elif answer.ending in _CAUSES:
            cause = int(_CAUSES[answer.ending])
            to.dispatcher.send(StageDropped(header.batch, self._worker, cause))
        else:
            problem = f": {answer.problem}" if answer.problem else ""
            self._fail(to, header, answer.ending.value + problem)

    def _done(self, to: _Links, one: _Report, answer: Answer) -> None:
        assert answer.outputs is not None
        header = one.header
        stage = self._spec.stage_at(header.pipeline, header.stage)
        outputs = [
            Tensor(spec.name, spec.datatype, answer.outputs[spec.name])
            for spec in (*stage.computed, *stage.forwarded)
        ]
        groups = [Group(header.size, outputs)]
        outputs_of = self._spec.models[stage.model].outputs
        to.onward.pass_on(header, groups, stage, outputs_of, self._clock.now_us(), answer.run_us)
        to.dispatcher.send(
            StageDone(
                epoch=header.epoch,
                batch=header.batch,
                pipeline=header.pipeline,
                stage=header.stage,
                worker=self._worker,
                size=header.size,
                queued_us=one.queued_us,
                start_us=answer.started_us,
                end_us=answer.ended_us,
                transfer_us=one.queued_us - header.sent_us,
            ),
        )

    def _fail(self, to: _Links, header: BatchHeader, what: str) -> None:
        to.dispatcher.send(StageFailed(header.batch, self._worker, f"device {self._worker}: {what}."))


def device_journal(journal: Path, worker: int, life: int) -> Path:
    """The file of a device's own decisions, beside the journal of the server; one for each life of the worker."""
    return journal.with_name(f"{journal.name}.device-{worker}-{life}")
