"""The engine: it starts every process of the server, and starts again those that die.

Dispatcher and gateways are its children. The workers are those of a keeper: children too (``WorkerKeeper``), or
children of the agents of many hosts (:mod:`penstock.serve.hosts`). Agents may have gateways too.

The supervisor has one thread. It sleeps in ``select`` on the control lines of its children and on a pipe to which
signal handlers write. Whatever ends it, its children see their line end, and end too.

What each process must know after a restart is said again here: which plans are served, which gateways and workers are
up. What waits and what was sent, the gateways say themselves.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import FrameType
from typing import final

from penstock.clock import MonotonicClock
from penstock.errors import BadInputError, PenstockError
from penstock.serve.control import (
    Alive,
    ControlLine,
    ControlMessage,
    Drained,
    GatewayDown,
    GatewayUp,
    PlanAdded,
    Problem,
    Ready,
    Serving,
    Stop,
    Switch,
    SwitchTo,
    WorkerCouldRun,
    WorkerDown,
    WorkerHung,
    WorkerSilent,
    WorkerUp,
)
from penstock.serve.engine.backoff import RestartDelays, Restarts
from penstock.serve.engine.child import Child
from penstock.serve.engine.control_socket import ControlSocket
from penstock.serve.engine.elsewhere import ChildElsewhere, GatewayEnded, GatewaySaid
from penstock.serve.engine.epochs import Epochs
from penstock.serve.engine.live_scaling import LiveScaling
from penstock.serve.engine.process import KnownWorker, Process
from penstock.serve.engine.replan_on_loss import ReplanOnLoss, used_by
from penstock.serve.engine.watch.hang_watch import HangWatch
from penstock.serve.engine.worker_keeper import END_S, Keeper, KeeperReport, WorkerEnded, WorkerKeeper
from penstock.serve.spec import ServerSpec
from penstock.units import NEVER_US, US_PER_S

MakeKeeper = Callable[[selectors.BaseSelector, Callable[[KeeperReport], None], Callable[[str], None]], Keeper]
"""Makes the keeper of the workers from the engine's selector, who hears its reports, and who notes for people."""

EARLY_LOSSES = 3
"""So often may a host be lost before the server is ready, and be waited for: a start is when cores are scarce."""

ASK_AGAIN_US = US_PER_S // 4
"""How often a gateway that is to start asks whether its host is there."""

_log = logging.getLogger("penstock.serve")


@final
class LocalEngine:
    """Supervises one server from start to stop: ``start``, then ``run``, then ``stop``.

    ``keeper`` makes who supervises the workers; by default they are children of this process. ``gateways_on``: hosts
    that have so many ``gateways`` too, if the keeper reaches them. ``replan_after_us``: see :class:`ReplanOnLoss`.
    ``scaling``: follows the load, if anybody does.
    """

    def __init__(
        self,
        spec: ServerSpec,
        folder: Path,
        *,
        gateways: int = 1,
        gateways_on: Sequence[str] = (),
        standby: bool = False,
        replan_after_us: int | None = None,
        scaling: LiveScaling | None = None,
        keeper: MakeKeeper | None = None,
    ) -> None:
        self._folder = folder
        self._log_format = spec.listen.log_format
        self._clock = MonotonicClock()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._signals = 0
        self._is_started = False
        self._is_stopping = False
        self._dispatcher = Process("dispatcher", 0)
        self._standby = Process("dispatcher", 1)
        self._standby.is_wanted = standby
        hosts = [host for host in (None, *gateways_on) for _ in range(gateways)]
        self._gateways = [Process("gateway", index, host) for index, host in enumerate(hosts)]
        self._scaling = scaling
        self._replan = ReplanOnLoss(spec.plan or "PLAN", used_by(spec), folder, replan_after_us, _log.warning)
        if keeper is None:
            self._keeper: Keeper = WorkerKeeper(
                folder, self._selector, self._clock, self._hear_keeper, _log.warning
            )
        else:
            self._keeper = keeper(self._selector, self._hear_keeper, _log.warning)
        self._numbers = {role: count() for role in ("dispatcher", "gateway")}
        self._delays = RestartDelays()
        self._early_losses: Counter[str] = Counter()
        self._hang_watch = HangWatch(self._clock.now_us())
        self._restarts = Restarts[Process]()
        self._control = ControlSocket(folder, self._selector)
        self._epochs = Epochs(
            spec, folder, self._dispatcher, self._gateways, self._keeper, self._control, self._note_switch
        )

    def start(self) -> bool:
        """Start every process and wait until all are ready; False if a signal came before.

        Raises :class:`PenstockError` if one cannot start.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        for process in (self._dispatcher, *self._gateways):
            self._start(process)
        self._epochs.start_workers()
        while not self._signals and not self._is_up():
            self._turn(NEVER_US)
        self._is_started = self._is_up()
        if self._is_started and self._standby.is_wanted:
            self._start(self._standby)
        return self._is_started

    def run(self, until_us: int = NEVER_US) -> None:
        """Watch and restart until a signal comes or the clock passes ``until_us``."""
        while not self._signals and self._clock.now_us() < until_us:
            self._turn(until_us)

    def stop(self) -> None:
        """Drain the gateways, then end the rest. A child that does not end in time is killed."""
        self._replan.close()
        if self._scaling is not None:
            self._scaling.close()
        self._drain()
        self._standby.is_wanted = False
        for processes in (self._gateways, [self._dispatcher, self._standby]):
            living = [process for process in processes if process.child is not None]
            for process in living:
                process.send(Stop())
            for process in living:
                if isinstance(process.child, Child):
                    process.child.reap(END_S)
        self._keeper.stop()
        self._control.close()
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _drain(self) -> None:
        """Tell the gateways to stop and watch the rest meanwhile: what they wait for may need a restart or a retry."""
        self._is_stopping = True
        drain_us = self._epochs.served.limits.drain_us
        until_us = self._clock.now_us() + drain_us + round(END_S * US_PER_S)
        for gateway in self._gateways:
            gateway.send(Stop())
        while any(gateway.child is not None for gateway in self._gateways):
            if self._clock.now_us() >= until_us or not self._is_started:
                return
            self._turn(until_us)

    def _is_up(self) -> bool:
        return (
            self._dispatcher.is_up
            and all(gateway.is_serving for gateway in self._gateways)
            and all(worker.is_up for worker in self._epochs.workers.values())
        )

    def _turn(self, until_us: int) -> None:
        """Sleep until something happens, and handle it."""
        now_us = self._clock.now_us()
        next_us = min(until_us, self._restarts.next_us, self._keeper.next_us, self._hang_watch.next_us)
        for key, _ in self._selector.select(max(next_us - now_us, 0) / US_PER_S):
            if key.data is None:
                self._wake_reader.recv(64)
            elif isinstance(key.data, ControlSocket):
                key.data.accept()
            elif isinstance(key.data, ControlLine):
                self._obey(key.data)
            elif isinstance(key.data, Process):
                if isinstance(key.data.child, Child):
                    self._hear(key.data, key.data.child)
            else:
                key.data()  # the keeper's
        self._kill_hung()
        self._epochs.switch_if_loaded()
        self._epochs.end_drained()
        self._keeper.turn()
        if self._is_started and not self._is_stopping:
            self._replan.turn(self._clock.now_us(), self._keeper.lost)
            if self._scaling is not None:
                self._scaling.turn(self._clock.now_us())
        for process in self._restarts.due(self._clock.now_us):
            if not (self._is_stopping and process.role == "gateway"):
                self._start(process)

    def _hear(self, process: Process, child: Child) -> None:
        messages = child.line.receive()
        if messages is None:
            self._bury(process, child)
        for message in messages or ():
            if isinstance(message, Problem):
                child.problem = message.message
            elif isinstance(message, Alive):
                self._hang_watch.answered(self._clock.now_us(), child)
            else:
                self._take(process, message)

    def _take(self, process: Process, message: ControlMessage) -> None:
        """What a process of any host says."""
        if isinstance(message, Ready):
            process.up_since_us, process.endpoint = self._clock.now_us(), message.endpoint
            if process.role == "gateway":
                self._dispatcher.send(GatewayUp(process.number, message.endpoint))
            elif self._is_started:
                _log.info("%s is up again", process.name)
        elif isinstance(message, Serving):
            process.is_serving = True
            if self._is_started:
                _log.info("%s is up again", process.name)
        elif isinstance(message, WorkerSilent):
            self._keeper.watch(message.worker)
        elif isinstance(message, WorkerHung):
            self._keeper.replace(message)
        elif isinstance(message, PlanAdded):
            process.plans.add(message.epoch)
        elif isinstance(message, Switch):
            process.serves = message.epoch
        elif isinstance(message, Drained):
            self._epochs.note_drained(message.epoch)

    def _hear_keeper(self, report: KeeperReport) -> None:
        """What becomes of a worker, or of a gateway on another host."""
        if isinstance(report, GatewaySaid | GatewayEnded):
            for process in self._gateways:
                if process.number == report.gateway and process.child is not None:
                    if isinstance(report, GatewaySaid):
                        self._take(process, report.message)
                    else:
                        self._ended(process, report.reason, is_host_gone=report.is_host_gone)
            return
        worker = self._epochs.workers.get(report.worker)
        if worker is None:
            return
        if isinstance(report, WorkerCouldRun):
            self._dispatcher.send(report)
        elif isinstance(report, WorkerUp):
            worker.endpoint = report.endpoint
            if self._is_started and worker.epoch != self._epochs.loading:
                _log.info("worker %d is up again", report.worker)
            self._dispatcher.send(report)
        else:
            self._worker_ended(worker, report)

    def _worker_ended(self, worker: KnownWorker, report: WorkerEnded) -> None:
        name = f"worker {report.worker}"
        worker.endpoint = ""
        if worker.epoch == self._epochs.loading:
            self._epochs.give_up_loading(f"{name} could not start: {report.reason}")
            return
        is_host_gone = report.was_up and report.restart_us < 0
        self._refuse_early_end(
            name, report.reason, is_host_gone=is_host_gone, is_bad_input=report.is_bad_input
        )
        self._dispatcher.send(WorkerDown(report.worker, f"{name} died ({report.reason})."))
        self._note_end(name, report.reason, report.restart_us, was_up=report.was_up)

    def _note_end(self, name: str, reason: str, delay_us: int, *, was_up: bool) -> None:
        ended = "died" if was_up else "could not start"
        again = "waiting for its host" if delay_us < 0 else f"restarting it in {delay_us / US_PER_S:.1f} s"
        _log.warning("%s %s (%s); %s", name, ended, reason, again)

    def _bury(self, process: Process, child: Child) -> None:
        """A child has ended."""
        self._selector.unregister(child.line)
        self._ended(process, child.reap(END_S))

    def _refuse_early_end(
        self, name: str, reason: str, *, is_host_gone: bool, is_bad_input: bool = False
    ) -> None:
        """:class:`PenstockError` if a process ends before the server is ready, unless its host is to come back."""
        if self._is_started:
            return
        self._early_losses[name] += 1
        if not is_host_gone or self._early_losses[name] > EARLY_LOSSES:
            kind = BadInputError if is_bad_input else PenstockError
            raise kind(f"{name} could not start: {reason}")

    def _ended(self, process: Process, reason: str, *, is_host_gone: bool = False) -> None:
        """A process has ended: the dispatcher hears of it, and it is started again later."""
        now_us = self._clock.now_us()
        was_up_us = now_us - process.up_since_us if process.is_up else 0
        process.child, process.up_since_us, process.is_serving = None, -1, False
        if self._is_stopping and process.role == "gateway":
            return
        if process is self._standby and not process.is_wanted:
            return
        if process is self._dispatcher and isinstance(self._standby.child, Child):
            _log.warning("dispatcher died (%s); the standby takes over", reason)
            self._take_over(self._standby.child)
            self._restarts.later(
                self._standby, now_us + self._delays.next_us((process.role, process.index), was_up_us)
            )
            return
        self._refuse_early_end(process.name, reason, is_host_gone=is_host_gone)
        if process.role == "gateway":
            self._dispatcher.send(GatewayDown(process.number))
        delay_us = self._delays.next_us((process.role, process.index), was_up_us)
        self._note_end(process.name, reason, delay_us, was_up=bool(was_up_us))
        self._restarts.later(process, now_us + delay_us)

    def _take_over(self, child: Child) -> None:
        """The standby becomes the dispatcher; another one will be started in its place."""
        self._dispatcher.child, self._dispatcher.number = child, self._standby.number
        self._standby.child = None
        self._selector.modify(child.line, selectors.EVENT_READ, self._dispatcher)
        for message in self._epochs.first_words(self._dispatcher):
            self._dispatcher.send(message)

    def _kill_hung(self) -> None:
        """A dispatcher or gateway that hangs is killed: its line ends, and it is replaced as one that died."""
        processes = (self._dispatcher, self._standby, *self._gateways)
        living = [process.child for process in processes if isinstance(process.child, Child)]
        for child, silent_us in self._hang_watch.look(self._clock.now_us(), living):
            child.problem = f"it hung: no answer for {silent_us / US_PER_S:.1f} s"
            child.kill()

    # Another plan

    def _obey(self, line: ControlLine) -> None:
        """A command asks for something."""
        for message in self._control.hear(line):
            if not isinstance(message, SwitchTo):
                continue
            try:
                self._load(message.epoch)
            except PenstockError as error:
                line.send(Problem(str(error)))

    def _load(self, epoch: int) -> None:
        """Load the plan of ``epoch``. Raises :class:`PenstockError` if that cannot be now."""
        if self._epochs.loading is not None or self._is_stopping or not self._is_started:
            raise BadInputError("the server is starting, stopping or loading another plan. Try again later.")
        self._epochs.load(epoch)

    def _note_switch(self, spec: ServerSpec) -> None:
        self._replan.served(spec.plan or "PLAN", used_by(spec))
        if self._scaling is not None:
            self._scaling.served(spec.plan or "PLAN")

    def _start(self, process: Process) -> None:
        elsewhere = None if process.host is None else self._keeper.gateways
        if process.host is not None and not (elsewhere and elsewhere.can_start(process.host)):
            self._restarts.later(process, self._clock.now_us() + ASK_AGAIN_US)
            return
        process.number = next(self._numbers[process.role])
        if process.host is not None and elsewhere is not None:
            elsewhere.start(process.host, process.number, self._epochs.current)
            process.child = ChildElsewhere(elsewhere, process.number)
        else:
            numbers = (
                (process.number,) if process.role == "dispatcher" else (process.number, self._epochs.current)
            )
            child = Child(process.role, self._folder, *numbers, log_format=self._log_format)
            process.child = child
            self._selector.register(child.line, selectors.EVENT_READ, process)
        if process is not self._standby:
            for message in self._epochs.first_words(process):
                process.send(message)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        try:
            os.write(self._wake_writer.fileno(), b"x")
        except OSError:
            return
