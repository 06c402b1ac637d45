"""The process of a worker: it holds the pieces of its pool on one share of a device.

It takes batches in the order in which they come, runs the blocks that each one needs, and sends it to the next worker
of its route, or in pieces to several; after the last stage, each gateway gets its own rows. A thread receives, so that
batches are gathered and pings are answered while another batch runs.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import msgspec

from penstock.clock import Clock
from penstock.errors import BadInputError, DeviceLostError
from penstock.runtime.device_errors import is_poisoned
from penstock.serve.control import ControlLine, Ready, end_with_supervisor
from penstock.serve.engine.silent_workers import Times, longest_wait_us, thread_times
from penstock.serve.executor.base import Executor
from penstock.serve.executor.make import make_executors
from penstock.serve.executor.shapes import check_shapes
from penstock.serve.hops.gather import Gather, Whole
from penstock.serve.hops.onward import Onward
from penstock.serve.hosts.host_clock import clock_at
from penstock.serve.messages import (
    BatchHeader,
    GatewayGone,
    Ping,
    Pong,
    StageDone,
    StageFailed,
    StageTiming,
    ToWorker,
)
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import ServerSpec, StageSpec, read_spec
from penstock.serve.transport import (
    Group,
    Link,
    Received,
    Transport,
    decoded,
    dispatcher_endpoint,
    open_transport,
    read_groups,
    worker_endpoint,
)
from penstock.units import US_PER_S

GATHER_US = 2 * US_PER_S
"""How long a batch waits for a share of a gateway that is not known to be dead."""
PIECE_RUN_TIMES = 20
"""A piece waits longer if the plan's batches take long: so many times the longest one. Its parts come from workers that
need not run at the same time."""


def run_worker(folder: Path, line: ControlLine, epoch: int, worker: int, generation: int) -> None:
    """Serve batches until the supervisor ends it."""
    spec = read_spec(folder, epoch)
    transport = open_transport(spec.transport, f"worker {worker}", folder)
    running = _Worker(spec, folder, worker, transport)
    inbox = _Inbox(worker, running.clock, longest_us=max(max(stage.latency_us) for stage in spec.stages))
    endpoint = worker_endpoint(folder, worker, generation)
    receiving = (transport, endpoint, folder, line, inbox.take)
    threading.Thread(target=receive, args=receiving, daemon=True).start()
    end_with_supervisor(line)
    while True:
        queued_us, item = inbox.items.get()
        if isinstance(item, GatewayGone):
            running.forget(item.gateway)
        else:
            inbox.running_since_us = running.now_us()
            if not inbox.is_lost(item.header):
                running.serve(queued_us, item)
            inbox.finished()
        del item  # else the memory of this batch is held until another one comes


def receive(
    transport: Transport,
    endpoint: str,
    folder: Path,
    line: ControlLine,
    take: Callable[[Link, Received], None],
) -> None:
    """Give ``take`` what comes to ``endpoint``, with a link to the dispatcher, for ever; say that the worker is ready.

    A thread of its own: it answers pings while another one runs a batch. A link belongs to one thread, so this is not
    the one on which batches are reported.
    """
    inbox = transport.listen(endpoint)
    dispatcher = transport.connect(dispatcher_endpoint(folder))
    line.send(Ready(inbox.endpoint))
    while True:
        inbox.wait()
        for received in inbox.waiting():
            take(dispatcher, received)
            del received  # else the memory of the last batch is held until another one comes


@final
class _Inbox:
    """What came and was not run yet. One thread receives, and another one takes :attr:`items`."""

    def __init__(self, worker: int, clock: Clock, longest_us: int) -> None:
        self.items: queue.SimpleQueue[tuple[int, Whole[memoryview] | GatewayGone]] = queue.SimpleQueue()
        self.running_since_us = -1
        self._worker = worker
        self._clock = clock
        self._gather: Gather[memoryview] = Gather()
        self._piece_waits_us = max(GATHER_US, PIECE_RUN_TIMES * longest_us)
        self._decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
        self._taken = 0
        self._finished = 0
        self._first_look: tuple[int, int, Times] | None = None

    def finished(self) -> None:
        """The batch that was taken last is done with."""
        self.running_since_us = -1
        self._finished += 1

    def is_lost(self, header: BatchHeader) -> bool:
        """Whether the batch of a piece was named as lost, so that nobody waits for the rest of it."""
        return header.split is not None and self._gather.is_forgotten(header.batch)

    def take(self, dispatcher: Link, received: Received) -> None:
        message = decoded(self._decoder, received.head)
        now_us = self._clock.now_us()
        if isinstance(message, BatchHeader):
            self._put(now_us, self._gather.add(now_us, message, list(received.frames)))
        elif isinstance(message, GatewayGone):
            for one in self._gather.without(message.gateway):
                self._put(now_us, one)
            self.items.put((now_us, message))
        elif isinstance(message, Ping):
            late = self._gather.older_than(now_us - GATHER_US, now_us - self._piece_waits_us)
            self._fail(dispatcher, late, "a part of the batch did not come")
            held = self._taken - self._finished + len(self._gather)
            since_us = self.running_since_us
            dispatcher.send(Pong(self._worker, held, since_us, self._waited_us(now_us, since_us)))
        else:
            self._gather.forget(message.batch)

    def _waited_us(self, now_us: int, since_us: int) -> int:
        """How long a thread waited for a core since the first ping in the run that began ``since_us``."""
        if since_us < 0:
            return 0
        times = thread_times(os.getpid())
        if self._first_look is None or self._first_look[0] != since_us:
            self._first_look = since_us, now_us, times
        _, looked_us, before = self._first_look
        return longest_wait_us(before, times, now_us - looked_us)

    def _put(self, now_us: int, whole: Whole[memoryview] | None) -> None:
        if whole is not None:
            self._taken += 1
            self.items.put((now_us, whole))

    def _fail(self, dispatcher: Link, batches: Sequence[int], why: str) -> None:
        for batch in batches:
            dispatcher.send(StageFailed(batch, self._worker, f"{why}.", is_incomplete=True))


@final
class _Worker:
    """The executors of the pieces and the links to the peers."""

    def __init__(self, spec: ServerSpec, folder: Path, worker: int, transport: Transport) -> None:
        self._spec = spec
        self._worker = worker
        stages = [spec.stages[stage] for stage in spec.stages_of(worker)]
        self._device = spec.device_of(worker)
        if self._device is not None:
            self._device.check()
        for stage in stages:
            if stage.model_file is not None and not Path(stage.model_file).exists():
                raise BadInputError(
                    f"{stage.model_file}: the sub-model is gone. "
                    f"The server wrote it when it started: start it again, and leave its run folder alone."
                )
        # The kind is chosen by device class, so all stages of a worker have the same.
        self._executors = make_executors(stages)
        self.clock = clock_at(folder)
        self._dispatcher = transport.connect(dispatcher_endpoint(folder))
        self._onward = Onward(transport)

    def now_us(self) -> int:
        """The clock of the head."""
        return self.clock.now_us()

    def forget(self, gateway: int) -> None:
        """``gateway`` is gone."""
        self._onward.forget(gateway)

    def serve(self, queued_us: int, batch: Whole[memoryview]) -> None:
        """Run one batch and pass it on; a failure of the executor fails the batch, not the worker."""
        header = batch.header
        start_us = self.clock.now_us()
        try:
            groups = self._execute(header, batch.frames)
        except Exception as error:
            message = f"worker {self._worker} could not run the batch: {type(error).__name__}: {error}"
            self._dispatcher.send(StageFailed(header.batch, self._worker, message))
            self._end_if_poisoned(error)
            return
        end_us = self.clock.now_us()
        transfer_us = queued_us - header.sent_us
        piece = 0 if header.split is None else header.split.piece
        if header.is_traced:
            times = (queued_us, start_us, end_us, transfer_us)
            timing = StageTiming(self._worker, header.size, *times, header.stage, piece)
            header = msgspec.structs.replace(header, timings=(*header.timings, timing))
        stage = self._spec.stage_at(header.pipeline, header.stage)
        outputs = self._spec.models[stage.model].outputs
        self._onward.pass_on(header, groups, stage, outputs, end_us, end_us - start_us)
        self._dispatcher.send(
            StageDone(
                epoch=header.epoch,
                batch=header.batch,
                pipeline=header.pipeline,
                stage=header.stage,
                worker=self._worker,
                size=header.size,
                queued_us=queued_us,
                start_us=start_us,
                end_us=end_us,
                transfer_us=transfer_us,
                piece=piece,
            ),
        )

    def _end_if_poisoned(self, error: Exception) -> None:
        """Raise :class:`DeviceLostError` if no later batch can run here either: the process must start anew."""
        if self._device is None:
            return
        why = self._device.why_lost()
        if why is None and is_poisoned(error):
            why = f"device {self._device.uuid} cannot be used by this process any more: {error}"
        if why is not None:
            raise DeviceLostError(why)

    def _execute(self, header: BatchHeader, frames: Sequence[memoryview]) -> list[Group]:
        if header.epoch != self._spec.epoch:
            raise BadInputError(
                f"batch {header.batch} is of epoch {header.epoch}, but this worker serves {self._spec.epoch}."
            )
        stage = self._spec.stage_at(header.pipeline, header.stage)
        return run_groups(stage, self._executors[stage.piece], header, frames)


def run_groups(
    stage: StageSpec, executor: Executor, header: BatchHeader, frames: Sequence[memoryview]
) -> list[Group]:
    """Run the groups of a batch, one after the other. Raises :class:`BadInputError` if an output has a wrong shape."""
    # What is sent on must not lie in memory that the next batch overwrites.
    sent_on = {spec.name for spec in stage.forwarded}
    groups = read_groups(
        header, frames, lambda name, size: None if name in sent_on else executor.place(name, size)
    )
    return [Group(size, _run(stage, executor, tensors, size)) for size, tensors in groups]


def _run(stage: StageSpec, executor: Executor, tensors: Sequence[Tensor], size: int) -> list[Tensor]:
    """What leaves the stage: computed tensors, then forwarded ones."""
    inputs = {tensor.name: tensor for tensor in tensors}
    computed = executor.run({name: tensor.array for name, tensor in inputs.items()}, size)
    check_shapes(stage, computed, size)
    made = [Tensor(spec.name, spec.datatype, computed[spec.name]) for spec in stage.computed]
    return made + [inputs[spec.name] for spec in stage.forwarded]
