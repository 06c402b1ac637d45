"""The process of one copy: runs a piece of the model again and again, and reports when each run took place.

It is started by :mod:`penstock.profile.copies`; the protocol is one reply for each :class:`Step`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.profile.session import open_session

I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Step:
    """What all copies run at once: ``model`` on the arrays of ``inputs`` (.npz, in the model's own order).

    Each copy times at least ``min_runs`` runs over at least ``seconds``, after ``warm_up_runs`` untimed ones.
    """

    model: Path
    inputs: Path
    seconds: float
    warm_up_runs: int
    min_runs: int


class Reply(NamedTuple):
    """Start and end of every timed run on the host's steady clock, in nanoseconds; or what went wrong."""

    start_ns: I64
    end_ns: I64
    error: str | None = None


class _Barrier(Protocol):
    def wait(self, timeout: float | None = None) -> int: ...


class _Counter(Protocol):
    value: int

    def get_lock(self) -> Any: ...


def serve_steps(
    connection: Connection, barrier: _Barrier, finished: _Counter, copies: int, threads: int
) -> None:
    """Run every step that arrives until None does. ``finished`` counts copies over all steps so far."""
    sessions: dict[Path, Any] = {}
    goal = 0
    while (step := connection.recv()) is not None:
        goal += copies
        try:
            if step.model not in sessions:
                sessions[step.model] = open_session(step.model, threads)
                _bind(sessions[step.model], step.inputs)()  # a session's first run allocates its memory
            run_once = _bind(sessions[step.model], step.inputs)
            for _ in range(step.warm_up_runs):
                run_once()
            barrier.wait()
            connection.send(_timed_runs(run_once, step, finished, goal))
        except Exception as error:  # the parent stops the other copies, and names the piece
            empty = np.empty(0, np.int64)
            connection.send(Reply(empty, empty, f"{type(error).__name__}: {error}"))
            return


def _bind(session: Any, inputs: Path) -> Callable[[], object]:
    with np.load(inputs) as arrays:
        # By position: a tensor's name may be one that an archive or savez cannot take.
        feed = {one.name: arrays[f"arr_{index}"] for index, one in enumerate(session.get_inputs())}
    return lambda: session.run(None, feed)


def _timed_runs(run_once: Callable[[], object], step: Step, finished: _Counter, goal: int) -> Reply:
    """Time runs until *every* copy has enough, so that no copy's last runs have the device to themselves."""
    start_ns: list[int] = []
    end_ns: list[int] = []
    enough_ns = time.perf_counter_ns() + round(step.seconds * 1e9)
    has_enough = False
    while not has_enough or finished.value < goal:
        start_ns.append(time.perf_counter_ns())
        run_once()
        end_ns.append(time.perf_counter_ns())
        if not has_enough and len(end_ns) >= step.min_runs and end_ns[-1] >= enough_ns:
            has_enough = True
            with finished.get_lock():
                finished.value += 1
    return Reply(np.array(start_ns, np.int64), np.array(end_ns, np.int64))
