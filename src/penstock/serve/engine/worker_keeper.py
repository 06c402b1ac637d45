"""Supervises the workers of one host: starts them, restarts those that die, replaces those that hang.

The local engine has one in its own process; on many hosts, the agent of each host has one
(:mod:`penstock.serve.hosts.agent`). Both turn a selector whose ``data`` is what to call.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol, final

import msgspec

from penstock.clock import Clock
from penstock.serve.control import Problem, Ready, Stop, WorkerCouldRun, WorkerHung, WorkerUp
from penstock.serve.engine.backoff import RestartDelays, Restarts
from penstock.serve.engine.child import Child
from penstock.serve.engine.elsewhere import GatewayEnded, GatewaySaid, GatewaysElsewhere
from penstock.serve.engine.silent_workers import SilentWorkers
from penstock.serve.engine.watch.device_watch import DeviceWatch
from penstock.serve.spec import ServerSpec
from penstock.units import NEVER_US, US_PER_S

LOADED_AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
"""Workers of a new plan that start at the same time: half of the cores stay for the plan that serves."""
END_S = 5.0
"""How long a child may take to end after it was told to, not counting the gateway's drain."""


class WorkerEnded(msgspec.Struct, frozen=True, tag=True):
    """A worker ended. It starts again after ``restart_us``; -1 if its host must come back first.

    ``is_bad_input``: it cannot start because of what the user gave.
    """

    worker: int
    reason: str
    was_up: bool
    restart_us: int
    is_bad_input: bool = False


WorkerReport = WorkerUp | WorkerEnded | WorkerCouldRun
KeeperReport = WorkerReport | GatewaySaid | GatewayEnded


class Keeper(Protocol):
    """Whoever supervises all workers of a server: on this host, or through the agents of others."""

    @property
    def gateways(self) -> GatewaysElsewhere | None:
        """Who reaches gateways on other hosts; None if all are on this one."""
        ...

    @property
    def next_us(self) -> int:
        """When :meth:`turn` has something to do."""
        ...

    @property
    def lost(self) -> frozenset[str]:
        """The devices and hosts that are lost, as ``penstock replan --lost`` names them."""
        ...

    def add_plan(self, spec: ServerSpec, *, is_gentle: bool = False) -> None:
        """Start the workers of ``spec``; if ``is_gentle``, a few at a time, because others serve on the same cores."""
        ...

    def end_plan(self, epoch: int) -> None:
        """The workers of ``epoch`` have nothing more to do: they end, and are reported no more."""
        ...

    def watch(self, worker: int) -> None:
        """``worker`` does not answer: report it (:class:`WorkerCouldRun`) once it has had a core for long enough."""
        ...

    def replace(self, message: WorkerHung) -> None:
        """Kill a worker that hangs; then it is started again like one that died."""
        ...

    def turn(self) -> None:
        """Do what is due."""
        ...

    def stop(self) -> None:
        """End all workers, by force if one does not end in time."""
        ...


@final
class Worker:
    """A worker over all its restarts, as the host sees it. ``generation`` is new with each start."""

    def __init__(self, index: int, epoch: int) -> None:
        self.index = index
        self.epoch = epoch
        self.child: Child | None = None
        self.up_since_us = -1
        self.is_wanted = True


@final
class WorkerKeeper:
    """The workers of this host. ``report`` hears what becomes of them, ``note`` is for people."""

    gateways = None

    def __init__(
        self,
        folder: Path,
        selector: selectors.BaseSelector,
        clock: Clock,
        report: Callable[[WorkerReport], None],
        note: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._selector = selector
        self._clock = clock
        self._report = report
        self._note = note
        self._specs: dict[int, ServerSpec] = {}
        self._devices: dict[int, DeviceWatch] = {}
        self._workers: dict[int, Worker] = {}
        self._generations = count(1)
        self._delays = RestartDelays()
        self._silent = SilentWorkers()
        self._restarts = Restarts[Worker]()
        self._waiting: list[Worker] = []

    @property
    def next_us(self) -> int:
        """When a worker is to be started again, looked at, or devices are to be asked."""
        watches = (watch.next_us for watch in self._devices.values())
        return min(self._restarts.next_us, self._silent.next_us, *watches, NEVER_US)

    @property
    def lost(self) -> frozenset[str]:
        """The devices that are lost, also those that only earlier plans had."""
        return frozenset[str]().union(*(watch.lost_in_plan for watch in self._devices.values()))

    @property
    def pids(self) -> dict[int, int]:
        """The process of every worker that lives."""
        return {one.index: one.child.pid for one in self._workers.values() if one.child is not None}

    def add_plan(
        self, spec: ServerSpec, workers: Sequence[int] | None = None, *, is_gentle: bool = False
    ) -> None:
        """Start the workers of ``spec``, or of them those that are on this host."""
        self._specs[spec.epoch] = spec
        self._devices[spec.epoch] = DeviceWatch(spec)
        added = [Worker(index, spec.epoch) for index in (spec.workers if workers is None else workers)]
        self._workers |= {worker.index: worker for worker in added}
        self._waiting += added
        self._start_more(LOADED_AT_ONCE if is_gentle else len(self._waiting))

    def _start_more(self, at_once: int) -> None:
        """Start workers that have not been started yet, so that no more than ``at_once`` are starting."""
        starting = sum(one.child is not None and one.up_since_us < 0 for one in self._workers.values())
        while self._waiting and starting < at_once:
            worker = self._waiting.pop(0)
            if worker.is_wanted:
                self._start(worker)
                starting += 1

    def end_plan(self, epoch: int) -> None:
        """The workers of ``epoch`` end."""
        if self._specs.pop(epoch, None) is None:
            return
        for worker in [worker for worker in self._workers.values() if worker.epoch == epoch]:
            worker.is_wanted = False
            if worker.child is None:
                del self._workers[worker.index]
            else:
                worker.child.line.send(Stop())
        if not self._devices[epoch].retire():
            self._devices.pop(epoch).close()

    def watch(self, worker: int) -> None:
        """Look at the threads of its process from time to time."""
        pid = self.pids.get(worker)
        if pid is not None:
            self._silent.watch(self._clock.now_us(), worker, pid)

    def replace(self, message: WorkerHung) -> None:
        """Its batches are given up already; a new process takes its place."""
        self._kill(message.worker, f"it hung: {message.why}")

    def turn(self) -> None:
        """End workers whose device is lost, look at silent ones, and start again those that are due."""
        self._end_workers_of_lost_devices()
        for index in self._silent.could_run(self._clock.now_us()):
            self._report(WorkerCouldRun(index))
        for worker in self._restarts.due(self._clock.now_us):
            self._restart(worker)

    def stop(self) -> None:
        """Tell all, then wait for all."""
        children = [worker.child for worker in self._workers.values() if worker.child is not None]
        for child in children:
            child.line.send(Stop())
        for child in children:
            self._selector.unregister(child.line)
            child.reap(END_S)
        for watch in self._devices.values():
            watch.close()
        self._workers, self._devices, self._specs, self._waiting = {}, {}, {}, []
        self._restarts.clear()

    def _hear(self, worker: Worker) -> None:
        child = worker.child
        if child is None:
            return
        messages = child.line.receive()
        if messages is None:
            self._bury(worker, child)
        for message in messages or ():
            if isinstance(message, Problem):
                child.problem = message.message
            elif isinstance(message, Ready):
                worker.up_since_us = self._clock.now_us()
                self._report(WorkerUp(worker.index, message.endpoint))
                self._start_more(LOADED_AT_ONCE)

    def _bury(self, worker: Worker, child: Child) -> None:
        """A worker has ended: it is started again later."""
        self._selector.unregister(child.line)
        self._silent.forget(worker.index)
        reason = child.reap(END_S)
        now_us = self._clock.now_us()
        was_up_us = now_us - worker.up_since_us if worker.up_since_us >= 0 else 0
        worker.child, worker.up_since_us = None, -1
        if not worker.is_wanted:
            if self._workers.get(worker.index) is worker:
                del self._workers[worker.index]
            return
        delay_us = self._delays.next_us(worker.index, was_up_us)
        self._restarts.later(worker, now_us + delay_us)
        self._report(WorkerEnded(worker.index, reason, bool(was_up_us), delay_us))

    def _restart(self, worker: Worker) -> None:
        """Start ``worker`` again, or ask later while its device is lost."""
        if not worker.is_wanted:
            return
        if self._devices[worker.epoch].is_lost(worker.index):
            self._restarts.later(worker, self._clock.now_us() + US_PER_S)
        else:
            self._start(worker)

    def _start(self, worker: Worker) -> None:
        spec = self._specs[worker.epoch]
        device = spec.device_of(worker.index)
        worker.child = Child(
            "worker" if spec.device is None else "device",
            self._folder,
            worker.epoch,
            worker.index,
            next(self._generations),
            log_format=spec.listen.log_format,
            environment={} if device is None else device.environment,
            niceness=spec.niceness_of(worker.index),
        )
        self._selector.register(worker.child.line, selectors.EVENT_READ, partial(self._hear, worker))

    def _kill(self, index: int, why: str) -> None:
        worker = self._workers.get(index)
        if worker is not None and worker.child is not None:
            worker.child.problem = why
            worker.child.kill()

    def _end_workers_of_lost_devices(self) -> None:
        """Such a worker may hang in its driver for ever; its batches are given up like those of any that died."""
        for epoch, watch in list(self._devices.items()):
            lost = watch.newly_lost(self._clock.now_us())
            for worker, reason in lost.items():
                self._kill(worker, reason)
            if lost:
                self._note(
                    f"lost the device of worker {', '.join(map(str, lost))}: {next(iter(lost.values()))}"
                )
                self._note(watch.left(list(lost)))
            if epoch not in self._specs and not watch.lost_in_plan:
                self._devices.pop(epoch).close()
