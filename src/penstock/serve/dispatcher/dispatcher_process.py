"""The dispatcher's process: one thread, one loop, woken by messages and by the policy's own wake time."""

from __future__ import annotations

import gc
import select
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import final

import msgspec

from penstock.clock import MonotonicClock
from penstock.schedule.policy import Policy
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.serve.control import (
    ControlLine,
    ControlMessage,
    Drained,
    GatewayDown,
    GatewayUp,
    PlanAdded,
    Ready,
    Stop,
    Switch,
    WorkerCouldRun,
    WorkerDown,
    WorkerUp,
)
from penstock.serve.dispatcher.carried import carried_models
from penstock.serve.dispatcher.dispatcher import Dispatcher
from penstock.serve.dispatcher.dispatcher_metrics import DispatcherMetrics
from penstock.serve.dispatcher.journal import JournalFile, journal_path
from penstock.serve.dispatcher.outgoing import EVERY, ForGateway, ForWorker, Messages
from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.live_record import LiveBatches
from penstock.serve.messages import (
    Arrive,
    Cancel,
    Pong,
    StageDone,
    StageDropped,
    ToDispatcher,
)
from penstock.serve.spec import ServerSpec, TransportName, last_epoch, read_spec
from penstock.serve.transport import (
    Link,
    Links,
    Turns,
    decoded,
    dispatcher_endpoint,
    open_transport,
)
from penstock.units import LATEST_US, NEVER_US, US_PER_S

# The longest sleep. Nothing depends on it: it only limits the harm if the clock is wrong.
LONGEST_SLEEP_US = 100_000

# How long to wait for reports after the stop: the gateway may have the results of batches whose reports are on their
# way.
LAST_BATCHES_US = US_PER_S

# The most messages of one turn: however many come, decisions are made and the supervisor is heard.
MOST_MESSAGES = 1_024


def run_dispatcher(folder: Path, line: ControlLine, number: int) -> None:
    """Decide until told to stop, then leave the batches' rows in ``folder`` if the spec asks for them.

    ``number``: each start of a dispatcher has a new one. A standby hears nothing until it takes over: only then are
    the sockets its own.
    """
    spec = read_spec(folder, last_epoch(folder))
    _warm_up(spec)
    # The objects of the start-up live as long as the process, so the garbage collector need not visit them again.
    gc.collect()
    gc.freeze()
    orders = _first_orders(line)
    if orders is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    loop = _Loop(folder, line, number, spec.transport)
    loop.run(orders)
    loop.close()
    if loop.is_orphan:
        # The supervisor is gone, so this process removes the files of the run.
        shutil.rmtree(folder, ignore_errors=True)


def _first_orders(line: ControlLine) -> list[ControlMessage] | None:
    """What the supervisor says first of all; None if it is gone."""
    while True:
        orders = line.receive()
        if orders is None or orders:
            return orders


@final
class _Loop:
    """The sockets, the plans and the record of one dispatcher. ``transport``: of the server; a switch keeps it."""

    def __init__(self, folder: Path, line: ControlLine, number: int, transport: TransportName) -> None:
        self._transport = open_transport(transport, "dispatcher", folder)
        self._clock = MonotonicClock()
        self._folder = folder
        self._line = line
        self._inbox = self._transport.listen(dispatcher_endpoint(folder))
        self._turns = Turns(self._inbox, MOST_MESSAGES)
        self._gateways: dict[int, Link] = {}
        self._workers = Links(self._transport)
        self._endpoints: dict[int, str] = {}
        self._decoder: msgspec.msgpack.Decoder[ToDispatcher] = msgspec.msgpack.Decoder(ToDispatcher)
        self._number = number
        self._dispatcher: Dispatcher | None = None
        self._specs: dict[int, ServerSpec] = {}
        self._served = -1
        self._journals: list[JournalFile] = []
        self._live_record: LiveBatches | None = None
        self._metrics = DispatcherMetrics(folder)
        self._stop_us = NEVER_US
        self.is_orphan = False

    def run(self, orders: Sequence[ControlMessage]) -> None:
        """Obey ``orders``; go on until the supervisor says stop and all batches are back, or the supervisor is gone."""
        for order in orders:
            self._obey(order)
        while self._dispatcher is None:
            if self._stop_us < NEVER_US:
                return
            self._hear_supervisor()
        line = self._line.fileno()
        dispatcher = self._dispatcher
        next_rows_us = 0
        while self._clock.now_us() < self._stop_us:
            sleep_us = min(dispatcher.wake_us - self._clock.now_us(), LONGEST_SLEEP_US)
            # The poll of zmq counts in milliseconds, but a decision may be due in microseconds.
            timeout_s = max(sleep_us, 0) / US_PER_S if self._turns.is_over else 0
            if line in select.select([self._inbox.fileno(), line], [], [], timeout_s)[0]:
                self._hear_supervisor()
            # The descriptor of the socket only tells of changes, so messages must be read each time.
            for one in self._turns.messages():
                self._tell(self._handle(dispatcher, decoded(self._decoder, one.head)))
            self._tell(dispatcher.catch_up(self._clock.now_us()))
            if self._turns.is_over:
                self._tell(dispatcher.look_after(self._clock.now_us()))
            self._metrics.measure(self._clock.now_us())
            for journal in self._journals:
                journal.flush()
            if self._live_record is not None and self._clock.now_us() >= next_rows_us:
                self._live_record.flush()
                next_rows_us = self._clock.now_us() + US_PER_S
            if self._stop_us < NEVER_US and not dispatcher.in_flight:
                return

    def close(self) -> None:
        """Close the sockets, and write what was asked for."""
        self._transport.close()
        for journal in self._journals:
            journal.close()
        if self._live_record is not None:
            self._live_record.flush()

    def _handle(self, dispatcher: Dispatcher, message: ToDispatcher) -> Messages:
        now_us = self._clock.now_us()
        if isinstance(message, Arrive):
            return dispatcher.arrive(now_us, message)
        if isinstance(message, StageDone):
            reserved_us = dispatcher.reserved_end_us(message.batch, message.stage)
            answer = dispatcher.stage_done(now_us, message)
            self._metrics.stage_done(message, reserved_us)
            if self._live_record is not None and message.epoch in self._specs:
                self._live_record.add(message, self._specs[message.epoch])
            return answer
        if isinstance(message, Cancel):
            return dispatcher.cancel(now_us, message)
        if isinstance(message, Pong):
            return dispatcher.pong(now_us, message)
        if isinstance(message, StageDropped):
            return dispatcher.stage_dropped(now_us, message)
        self._metrics.batch_failed(message.worker)
        return dispatcher.stage_failed(now_us, message)

    def _hear_supervisor(self) -> None:
        messages = self._line.receive()
        for message in messages or ():
            self._obey(message)
        if messages is None:
            self.is_orphan = True
            self._stop_us = 0

    def _obey(self, message: ControlMessage) -> None:
        now_us = self._clock.now_us()
        if isinstance(message, Stop):
            self._stop_us = now_us + LAST_BATCHES_US
        elif isinstance(message, PlanAdded):
            self._add_plan(now_us, read_spec(self._folder, message.epoch))
        elif (dispatcher := self._dispatcher) is None:
            return
        elif isinstance(message, Switch):
            spec, before = self._specs[message.epoch], self._specs.get(self._served)
            carried = () if before is None else carried_models(before.models, spec.models)
            self._served = message.epoch
            self._tell(dispatcher.switch(now_us, message.epoch, carried))
        elif isinstance(message, Drained):
            dispatcher.remove_plan(message.epoch)
            self._metrics.end_plan(message.epoch)
        elif isinstance(message, GatewayUp):
            self._gateways[message.gateway] = self._transport.connect(message.endpoint)
            self._tell(dispatcher.gateway_up(now_us, message.gateway, message.endpoint))
        elif isinstance(message, GatewayDown):
            gone = self._gateways.pop(message.gateway, None)
            if gone is not None:
                gone.close()
            self._tell(dispatcher.gateway_down(now_us, message.gateway))
        elif isinstance(message, WorkerUp):
            self._endpoints[message.worker] = message.endpoint
            self._tell(dispatcher.worker_up(now_us, message.worker, message.endpoint))
            self._metrics.worker_up(message.worker)
        elif isinstance(message, WorkerCouldRun):
            dispatcher.could_run(message.worker)
        elif isinstance(message, WorkerDown):
            self._endpoints.pop(message.worker, None)
            self._tell(dispatcher.worker_down(now_us, message.worker, message.reason))
            self._metrics.worker_down(message.worker)

    def _add_plan(self, now_us: int, spec: ServerSpec) -> None:
        self._specs[spec.epoch] = spec
        self._metrics.add_plan(spec)
        if self._dispatcher is None:
            self._dispatcher = Dispatcher(self._number, late_us=spec.overhead_us)
            if spec.rows is not None:
                self._live_record = LiveBatches(Path(spec.rows), self._number)
            self._line.send(Ready())
        table = spec.dispatch_table()
        policy = _policy(spec)
        if spec.journal is not None:
            journal = JournalFile(
                policy,
                journal_path(Path(spec.journal), self._number, spec.epoch),
                table,
                rule=spec.policy,
                dispatch_us=spec.dispatch_us,
                overhead_us=spec.overhead_us,
                epoch=spec.epoch,
                max_queue_delay_us=spec.max_queue_delay_us,
            )
            self._journals.append(journal)
            policy = journal.policy
        plan = ServedPlan(spec.epoch, policy, table, now_us, first_worker=spec.first_worker)
        self._dispatcher.add_plan(plan)

    def _tell(self, messages: Messages) -> None:
        for one in messages:
            if isinstance(one, ForGateway):
                everyone = self._gateways if one.gateway == EVERY else (one.gateway,)
                for gateway in everyone:
                    if gateway in self._gateways:
                        self._gateways[gateway].send(one.message)
            elif isinstance(one, ForWorker):
                for worker in self._endpoints if one.worker == EVERY else (one.worker,):
                    if worker in self._endpoints:
                        self._workers.to(worker, self._endpoints[worker]).send(one.message)
            else:
                self._line.send(one.message)
                if isinstance(one.message, Drained):
                    self._metrics.end_plan(one.message.epoch)


def _policy(spec: ServerSpec) -> Policy:
    if spec.device is not None:
        from penstock.schedule.device.least_work import LeastWorkPolicy

        return LeastWorkPolicy(spec.dispatch_table())
    return ReservationPolicy(
        spec.dispatch_table(),
        rule=spec.policy,
        dispatch_us=spec.dispatch_us,
        overhead_us=spec.overhead_us,
        max_queue_delay_us=spec.max_queue_delay_us,
    )


def _warm_up(spec: ServerSpec) -> None:
    """Compile the kernels with a policy that is thrown away, so that the first request need not wait for it."""
    policy = _policy(spec)
    # This deadline can be met however slow the plan is.
    policy.arrive(0, 0, 0, LATEST_US)
    policy.arrive(0, 0, 1, LATEST_US)
    policy.cancel(1)
    decision = policy.decide(0)
    if not decision.dispatches and decision.wake_us <= LATEST_US:
        decision = policy.decide(decision.wake_us)
    for dispatch in decision.dispatches:
        policy.complete(1, dispatch.batch, 0)
        policy.abandon(1, dispatch.batch)
    policy.worker_down(2, 0)
    policy.worker_up(2, 0)
