"""The process of one copy: runs a piece of the model again and again, and reports when each run took place.

It is started by :mod:`penstock.profile.measuring.copies`; the protocol is one reply for each :class:`Step`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.runtime.device_errors import is_out_of_memory
from penstock.runtime.runner import BoundRun, Runner, open_runner
from penstock.runtime.settings import RuntimeSettings

CPU_SETTINGS = RuntimeSettings()


@dataclass(frozen=True)
class Step:
    """What all copies run at once: ``model`` on the arrays of ``inputs`` (.npz, in the model's own order).

    Each copy times at least ``min_runs`` runs over at least ``seconds``, after ``warm_up_runs`` untimed ones.
    ``through_host``: a run begins and ends in the host's memory, as in service, and is timed by the host's clock.
    """

    model: Path
    inputs: Path
    seconds: float
    warm_up_runs: int
    min_runs: int
    settings: RuntimeSettings = CPU_SETTINGS
    through_host: bool = False


class Reply(NamedTuple):
    """Start and end of every timed run on the host's steady clock, in nanoseconds; or what went wrong.

    ``took_ns`` is how long each took: on the device's own clock if it has one, else end less start. ``memory`` is
    the peak use of the device: weights, activations, workspace, in bytes. ``copied_bytes``: of a run through the host,
    the inputs and the outputs. ``executor``: :attr:`penstock.runtime.runner.Runner.in_words`.
    """

    start_ns: I64
    end_ns: I64
    error: str | None = None
    took_ns: I64 | None = None
    memory: tuple[int, int, int] | None = None
    is_out_of_memory: bool = False
    copied_bytes: tuple[int, int] = (0, 0)
    executor: str = ""
    is_bad_input: bool = False


@final
class _ThroughHost:
    """Copies in, a run, copies out: what a worker does with a batch."""

    def __init__(self, runner: Runner, feeds: dict[str, NDArray[Any]]) -> None:
        self._runner, self._feeds = runner, feeds
        self.copied_bytes = (sum(array.nbytes for array in feeds.values()), 0)

    def run(self) -> None:
        made = self._runner.run(self._feeds)
        self.copied_bytes = (self.copied_bytes[0], sum(array.nbytes for array in made.values()))


class _Barrier(Protocol):
    def wait(self, timeout: float | None = None) -> int: ...


class _Counter(Protocol):
    value: int

    def get_lock(self) -> Any: ...


def serve_steps(
    connection: Connection, barrier: _Barrier, finished: _Counter, copies: int, threads: int
) -> None:
    """Run every step that arrives until None does. ``finished`` counts copies over all steps so far."""
    runners: dict[tuple[Path, RuntimeSettings], Runner] = {}
    goal = 0
    while (step := connection.recv()) is not None:
        goal += copies
        try:
            settings = replace(step.settings, threads=threads)
            runner = runners.get((step.model, settings))
            is_new = runner is None
            if runner is None:
                runner = runners[step.model, settings] = open_runner(step.model, settings)
            bound = _bind(runner, step)
            if is_new:
                bound.run()  # the first run allocates its memory
            for _ in range(step.warm_up_runs):
                bound.run()
            barrier.wait()
            reply = timed_runs(bound, step, finished, goal, copies)
            copied = bound.copied_bytes if isinstance(bound, _ThroughHost) else (0, 0)
            connection.send(
                reply._replace(memory=_memory(runner), copied_bytes=copied, executor=runner.in_words)
            )
        except Exception as error:  # the parent stops the other copies, and names the piece
            empty = np.empty(0, np.int64)
            is_bad = isinstance(error, BadInputError)
            what = str(error) if is_bad else f"{type(error).__name__}: {error}"
            is_memory = is_out_of_memory(error)
            connection.send(Reply(empty, empty, what, is_out_of_memory=is_memory, is_bad_input=is_bad))
            return


def _bind(runner: Runner, step: Step) -> BoundRun:
    with np.load(step.inputs) as arrays:
        # By position: a tensor's name may be one that an archive or savez cannot take.
        feeds = {name: arrays[f"arr_{index}"] for index, name in enumerate(runner.inputs)}
    return _ThroughHost(runner, feeds) if step.through_host else runner.bind(feeds)


def _memory(runner: Runner) -> tuple[int, int, int] | None:
    use = runner.memory()
    return None if use is None else (use.weights_bytes, use.activation_bytes, use.workspace_bytes)


def timed_runs(bound: BoundRun, step: Step, finished: _Counter, goal: int, copies: int) -> Reply:
    """Time runs until *every* copy has enough, so that no copy's last runs have the device to themselves.

    Every copy's last run begins after all copies have enough. So the time in which all copies run holds at least
    ``min_runs`` whole runs of the copy that started last, however the system interrupts the processes.
    """
    start_ns: list[int] = []
    end_ns: list[int] = []
    took_ns: list[int] = []
    enough_ns = time.perf_counter_ns() + round(step.seconds * 1e9)
    has_enough = is_last = False
    while not is_last:
        # Asked before the run: a copy may be interrupted between a run's end and its next question, for so long that
        # another one starts and has enough meanwhile. Then no run of either lay in the time that they share.
        is_last = has_enough and finished.value >= goal
        start_ns.append(time.perf_counter_ns())
        device_us = bound.run()
        end_ns.append(time.perf_counter_ns())
        took_ns.append(end_ns[-1] - start_ns[-1] if device_us is None else round(device_us * 1e3))
        if not has_enough and len(end_ns) >= step.min_runs and end_ns[-1] >= enough_ns:
            has_enough = True
            is_last = copies == 1
            with finished.get_lock():
                finished.value += 1
    return Reply(
        np.array(start_ns, np.int64), np.array(end_ns, np.int64), took_ns=np.array(took_ns, np.int64)
    )
