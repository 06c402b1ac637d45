"""The local engine: every worker a process of this host, restarted when it dies.

The supervisor is single-threaded: it sleeps in ``select`` on the lines to its children and on a pipe that
signals write to. Whatever ends it, its children see their line end and leave too.
"""

from __future__ import annotations

import heapq
import os
import selectors
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import final

from penstock.clock import MonotonicClock
from penstock.errors import PenstockError
from penstock.serve.control import Problem, Ready, Stop, WorkerDown, WorkerUp
from penstock.serve.engine.child import Child
from penstock.serve.spec import ServerSpec
from penstock.units import NEVER_US, US_PER_S

# A worker that keeps dying is tried again ever more slowly, but is never given up.
RESTART_US = 100_000
LONGEST_RESTART_US = 5 * US_PER_S

# Past the gateway's own drain: what a child may take to end once it was told.
END_S = 5.0


@final
class LocalEngine:
    """Supervises one server from start to stop: ``start``, then ``run``, then ``stop``."""

    def __init__(
        self, spec: ServerSpec, folder: Path, listener: socket.socket, note: Callable[[str], None]
    ) -> None:
        self._spec = spec
        self._folder = folder
        self._listener = listener
        self._note = note
        self._clock = MonotonicClock()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._signals = 0
        self._workers: dict[int, Child] = {}
        self._up: set[int] = set()
        self._lives = [0] * len(spec.worker_stages)
        self._failures = [0] * len(spec.worker_stages)
        self._restarts: list[tuple[int, int]] = []
        self._ready: set[str] = set()

    def start(self) -> bool:
        """Start every process and wait until all are ready; False if a signal came before.

        Raises :class:`PenstockError` if one cannot start.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        self._dispatcher = self._watch(Child("dispatcher", self._folder))
        descriptor = self._listener.fileno()
        self._gateway = self._watch(Child("gateway", self._folder, descriptor, pass_fds=[descriptor]))
        for worker in range(len(self._lives)):
            self._start_worker(worker)
        while not self._signals and not self._is_up():
            self._turn(NEVER_US, self._fail_to_start)
        return self._is_up()

    def run(self, until_us: int = NEVER_US) -> None:
        """Watch and restart until a signal comes or the clock passes ``until_us``."""
        while not self._signals and self._clock.now_us() < until_us:
            self._turn(until_us, self._restart_later)

    def stop(self) -> None:
        """Drain the gateway, then end the rest; by force what does not end in time."""
        drain_s = self._spec.limits.drain_us / US_PER_S
        for name, limit_s in (("_gateway", drain_s + END_S), ("_dispatcher", END_S)):
            child: Child | None = getattr(self, name, None)
            if child is not None:
                child.line.send(Stop())
                child.reap(limit_s)
        for worker in self._workers.values():
            worker.line.send(Stop())
        for worker in self._workers.values():
            worker.reap(END_S)
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _is_up(self) -> bool:
        return {"dispatcher", "gateway"} <= self._ready and len(self._up) == len(self._lives)

    def _turn(self, until_us: int, on_worker_death: Callable[[int, str], None]) -> None:
        """Sleep until something happens, and see to it."""
        now_us = self._clock.now_us()
        next_us = min(until_us, self._restarts[0][0] if self._restarts else NEVER_US, now_us + US_PER_S)
        for key, _ in self._selector.select(max(next_us - now_us, 0) / US_PER_S):
            if key.data is None:
                self._wake_reader.recv(64)
            else:
                self._hear(key.data[0], key.data[1], on_worker_death)
        while self._restarts and self._restarts[0][0] <= self._clock.now_us():
            self._start_worker(heapq.heappop(self._restarts)[1])

    def _hear(self, child: Child, worker: int, on_worker_death: Callable[[int, str], None]) -> None:
        messages = child.line.receive()
        if messages is None:
            self._selector.unregister(child.line)
            reason = child.reap(END_S)
            if worker < 0:
                raise PenstockError(f"the {child.role} ended ({reason}); the server cannot go on.")
            del self._workers[worker]
            on_worker_death(worker, reason)
        for message in messages or ():
            if isinstance(message, Problem):
                child.problem = message.message
            elif isinstance(message, Ready):
                self._ready.add(child.role)
                if worker >= 0:
                    self._up.add(worker)
                    self._dispatcher.line.send(WorkerUp(worker, message.endpoint))

    def _fail_to_start(self, worker: int, reason: str) -> None:
        raise PenstockError(f"worker {worker} could not start: {reason}")

    def _restart_later(self, worker: int, reason: str) -> None:
        if worker in self._up:
            self._up.remove(worker)
            self._failures[worker] = 0
            self._dispatcher.line.send(WorkerDown(worker, f"worker {worker} died ({reason})."))
        delay_us = min(RESTART_US << min(self._failures[worker], 10), LONGEST_RESTART_US)
        self._failures[worker] += 1
        self._note(f"worker {worker} died ({reason}); restarting it in {delay_us / US_PER_S:.1f} s")
        heapq.heappush(self._restarts, (self._clock.now_us() + delay_us, worker))

    def _start_worker(self, worker: int) -> None:
        self._lives[worker] += 1
        child = Child("worker", self._folder, worker, self._lives[worker])
        self._workers[worker] = self._watch(child, worker)

    def _watch(self, child: Child, worker: int = -1) -> Child:
        self._selector.register(child.line, selectors.EVENT_READ, (child, worker))
        return child

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        try:
            os.write(self._wake_writer.fileno(), b"x")
        except OSError:
            return
