"""The dispatcher's process: one thread, one loop, woken by messages and by the policy's own wake time."""

from __future__ import annotations

import gc
import select
import shutil
from pathlib import Path
from typing import final

import msgspec
import zmq

from penstock.clock import MonotonicClock
from penstock.schedule.policy import Policy
from penstock.schedule.reservation import ReservationPolicy
from penstock.serve.control import ControlLine, Ready, Stop, WorkerDown, WorkerUp
from penstock.serve.dispatcher.core import Dispatcher, Told
from penstock.serve.dispatcher.journal import JournalFile
from penstock.serve.messages import Arrive, StageDone, ToDispatcher
from penstock.serve.rows import BatchRows
from penstock.serve.spec import ServerSpec, read_spec
from penstock.serve.transport import connect, dispatcher_endpoint, gateway_endpoint, listen, received, send
from penstock.units import NEVER_US, US_PER_S

# The longest sleep: nothing depends on it, it only bounds the effect of a clock that misbehaves.
LONGEST_SLEEP_US = 100_000

# The gateway may have answered a batch whose worker's report is still on its way here.
LAST_BATCHES_US = US_PER_S


def run_dispatcher(folder: Path, line: ControlLine) -> None:
    """Decide until told to stop, then leave the batches' rows in ``folder`` if the spec asks for them."""
    spec = read_spec(folder)
    loop = _Loop(folder, spec, line)
    _warm_up(spec)
    # What start-up left behind lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    line.send(Ready())
    loop.run()
    loop.close(folder)
    if loop.is_orphan:
        # Nobody else is left to remove the run's files.
        shutil.rmtree(folder, ignore_errors=True)


@final
class _Loop:
    """The sockets and the books of one dispatcher."""

    def __init__(self, folder: Path, spec: ServerSpec, line: ControlLine) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._clock = MonotonicClock()
        self._line = line
        self._inbox = listen(self._context, dispatcher_endpoint(folder))
        self._gateway = connect(self._context, gateway_endpoint(folder))
        self._decoder: msgspec.msgpack.Decoder[ToDispatcher] = msgspec.msgpack.Decoder(ToDispatcher)
        self._rows = BatchRows(spec) if spec.keep_record else None
        self._stop_us = NEVER_US
        self.is_orphan = False
        table = spec.dispatch_table()
        policy = _policy(spec)
        self._journal = None
        if spec.journal is not None:
            self._journal = JournalFile(
                policy,
                Path(spec.journal),
                table,
                rule=spec.policy,
                dispatch_us=spec.dispatch_us,
                overhead_us=spec.overhead_us,
            )
            policy = self._journal.policy
        self._dispatcher = Dispatcher(policy, table, self._clock.now_us(), late_us=spec.overhead_us)

    def run(self) -> None:
        """Until the supervisor says stop and all batches are back, or the supervisor is gone."""
        line = self._line.fileno()
        while self._clock.now_us() < self._stop_us:
            sleep_us = min(self._dispatcher.wake_us - self._clock.now_us(), LONGEST_SLEEP_US)
            if sleep_us > 0:
                # zmq's own poll counts in milliseconds; a decision may be due in microseconds.
                ready = select.select([self._inbox.fileno(), line], [], [], sleep_us / US_PER_S)[0]
                if line in ready:
                    self._hear_supervisor()
            # The socket's descriptor tells of changes only: it must be emptied each time.
            for frames in received(self._inbox):
                self._tell(self._handle(self._decoder.decode(frames[0].buffer)))
            self._tell(self._dispatcher.catch_up(self._clock.now_us()))
            if self._journal is not None:
                self._journal.flush()
            if self._stop_us < NEVER_US and not self._dispatcher.in_flight:
                return

    def close(self, folder: Path) -> None:
        """Close the sockets, and write what was asked for."""
        self._context.destroy(linger=0)
        if self._journal is not None:
            self._journal.close()
        if self._rows is not None:
            self._rows.save(folder)

    def _handle(self, message: ToDispatcher) -> Told:
        now_us = self._clock.now_us()
        if isinstance(message, Arrive):
            return self._dispatcher.arrive(now_us, message)
        if isinstance(message, StageDone):
            if self._rows is not None:
                self._rows.add(message)
            return self._dispatcher.stage_done(now_us, message)
        return self._dispatcher.stage_failed(now_us, message)

    def _hear_supervisor(self) -> None:
        messages = self._line.receive()
        for message in messages or ():
            now_us = self._clock.now_us()
            if isinstance(message, WorkerUp):
                self._tell(self._dispatcher.worker_up(now_us, message.worker, message.endpoint))
            elif isinstance(message, WorkerDown):
                self._tell(self._dispatcher.worker_down(now_us, message.worker, message.reason))
            elif isinstance(message, Stop):
                self._stop_us = now_us + LAST_BATCHES_US
        if messages is None:
            self.is_orphan = True
            self._stop_us = 0

    def _tell(self, told: Told) -> None:
        for message in told:
            send(self._gateway, message)


def _policy(spec: ServerSpec) -> Policy:
    return ReservationPolicy(
        spec.dispatch_table(),
        rule=spec.policy,
        dispatch_us=spec.dispatch_us,
        overhead_us=spec.overhead_us,
    )


def _warm_up(spec: ServerSpec) -> None:
    """Compile the kernels on a policy that is thrown away: the first request must not wait for that."""
    policy = _policy(spec)
    policy.arrive(0, 0, 0, US_PER_S)
    policy.arrive(0, 0, 1, US_PER_S)
    policy.cancel(1)
    decision = policy.decide(0)
    decision = policy.decide(decision.wake_us) if not decision.dispatches else decision
    for dispatch in decision.dispatches:
        policy.complete(1, dispatch.batch, 0)
        policy.abandon(1, dispatch.batch)
    policy.worker_down(2, 0)
    policy.worker_up(2, 0)
