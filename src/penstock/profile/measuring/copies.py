"""Copies of a worker that run at once: processes, started together on each piece.

Share n is measured, not modelled: n processes run the same piece at the same time, and only the runs
that lie wholly inside the time in which all n were running count.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError, PenstockError
from penstock.profile.measuring._measure_worker import Reply, Step, serve_steps

_STOP_SECONDS = 5.0


class OutOfDeviceMemoryError(PenstockError):
    """A copy needs more memory than its device has left."""


class Copies:
    """``count`` processes with ``threads`` threads each; a context manager that stops them."""

    def __init__(self, count: int, threads: int = 1) -> None:
        # Spawned, not forked: a forked onnxruntime inherits locks of threads that do not exist.
        context = multiprocessing.get_context("spawn")
        # Kept: a child that is still starting opens them by name, which ends with their last reference here.
        self._shared = (context.Barrier(count), context.Value("q", 0))
        self._connections: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve_steps, args=(theirs, *self._shared, count, threads), daemon=True
            )
            process.start()
            theirs.close()  # else the end of a dead process would never read as closed
            self._connections.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            # The other copies may wait at a barrier that a failed one never reaches.
            for process in self._processes:
                process.terminate()
        self._close()

    def run(self, step: Step) -> list[Reply]:
        """Run ``step`` on all copies at once; one reply a copy.

        Raises :class:`PenstockError` if the piece fails to run or a process dies, :class:`BadInputError` if it cannot
        run under the step's settings.
        """
        for connection in self._connections:
            with suppress(BrokenPipeError):  # its process has ended: receiving says so in full
                connection.send(step)
        replies: dict[int, Reply] = {}
        while len(replies) < len(self._connections):
            waiting = [c for index, c in enumerate(self._connections) if index not in replies]
            for ready in wait(waiting):
                index = self._connections.index(ready)  # type: ignore[arg-type]
                replies[index] = self._receive(index, step)
        return [replies[index] for index in range(len(self._connections))]

    def _receive(self, index: int, step: Step) -> Reply:
        try:
            reply: Reply = self._connections[index].recv()
        except (EOFError, ConnectionError):
            self._processes[index].join(_STOP_SECONDS)
            raise PenstockError(
                f"a measuring process ended (exit code {self._processes[index].exitcode}; -9 is most often a "
                f"lack of memory) while it ran {step.model.stem} on {step.inputs.stem}. "
                f"Try a smaller --max-batch or smaller --shares."
            ) from None
        if reply.is_out_of_memory:
            raise OutOfDeviceMemoryError(f"{step.model.stem} at {step.inputs.stem}: {reply.error}")
        if reply.is_bad_input:
            raise BadInputError(f"{step.model.stem}: {reply.error}")
        if reply.error is not None:
            raise PenstockError(f"{step.model.stem} failed on {step.inputs.stem}: {reply.error}")
        return reply

    def _close(self) -> None:
        for connection in self._connections:
            with suppress(OSError):  # its process has ended already
                connection.send(None)
            connection.close()
        for process in self._processes:
            process.join()


OpenCopies = Callable[[int, int], AbstractContextManager[Copies]]
"""From a share and threads to its processes; a caller with several measurements may keep them open."""


def overlapping_ns(replies: Sequence[Reply]) -> I64:
    """Durations, pooled over the copies, of the runs during which all copies were running.

    Raises :class:`BadInputError` if there is none.
    """
    start = max(int(reply.start_ns[0]) for reply in replies)
    end = min(int(reply.end_ns[-1]) for reply in replies)
    inside = [(reply.start_ns >= start) & (reply.end_ns <= end) for reply in replies]
    durations = np.concatenate([_took_ns(reply)[kept] for reply, kept in zip(replies, inside, strict=True)])
    if not durations.size:
        raise BadInputError(
            f"none of {sum(reply.start_ns.size for reply in replies)} runs lay in the time in which all "
            f"{len(replies)} copies ran, so there is nothing to measure. Give more seconds, or smaller --shares."
        )
    return durations


def _took_ns(reply: Reply) -> I64:
    took: I64 = reply.end_ns - reply.start_ns
    return took if reply.took_ns is None else reply.took_ns
