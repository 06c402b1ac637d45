"""Whether a worker that does not answer could have answered: one that waits for a core cannot.

The dispatcher sees only that an answer is missing. On a machine with too few cores that is the machine's fault, and to
start a new process makes it worse. So the host of the worker looks at its threads. Linux counts how long each of them
ran and how long it waited for a core (``/proc/PID/task/TID/schedstat``). A worker that is stopped, deadlocked, or in a
loop that never lets another thread run does not wait. Once a worker has had :data:`COULD_RUN_US` in which no thread of
it waited for a core, it could have answered. Where the system does not count, no time counts as waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, final

from penstock.units import NEVER_US

LOOK_EVERY_US = 50_000
COULD_RUN_US = 100_000
"""In so much time with a core, a worker that lives answers: its answer takes less than a millisecond."""
_RUNNABLE = "R"


class ThreadTimes(NamedTuple):
    """``state``: the letter of proc(5). Times since its start in us: on a core, and waiting for one.

    A wait is counted only when it ends.
    """

    state: str
    ran_us: int
    waited_us: int


Times = Mapping[int, ThreadTimes]
"""By thread id."""


def thread_times(pid: int) -> dict[int, ThreadTimes]:
    """Of the threads of a process; empty if it is gone, or if the system does not count."""
    found = {}
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            ran_ns, waited_ns, _ = (task / "schedstat").read_text().split()
        except (OSError, ValueError):
            continue  # the thread has just ended
        found[int(task.name)] = ThreadTimes(state, int(ran_ns) // 1_000, int(waited_ns) // 1_000)
    return found


def longest_wait_us(before: Times, after: Times, elapsed_us: int) -> int:
    """How long a thread waited for a core between two looks: that of the thread that waited longest."""
    waits = [0]
    for thread, now in after.items():
        then = before.get(thread)
        if then is None:
            continue
        waits.append(now.waited_us - then.waited_us)
        if then.state == now.state == _RUNNABLE:
            waits.append(elapsed_us - (now.ran_us - then.ran_us))  # this wait may not have ended
    return min(max(waits), elapsed_us)


class _Watched:
    def __init__(self, pid: int, now_us: int, times: Times) -> None:
        self.pid = pid
        self.looked_us = now_us
        self.times = times
        self.could_run_us = 0


@final
class SilentWorkers:
    """The workers that are watched because they do not answer. ``look`` reads the times of a process."""

    def __init__(self, look: Callable[[int], Times] = thread_times) -> None:
        self._look = look
        self._watched: dict[int, _Watched] = {}
        self._next_us = NEVER_US

    @property
    def next_us(self) -> int:
        """When :meth:`could_run` has something to do."""
        return self._next_us if self._watched else NEVER_US

    def watch(self, now_us: int, worker: int, pid: int) -> None:
        """``worker`` does not answer. What was seen of it before no longer counts."""
        self._watched[worker] = _Watched(pid, now_us, self._look(pid))
        self._next_us = min(self.next_us, now_us + LOOK_EVERY_US)

    def forget(self, worker: int) -> None:
        """``worker`` has ended."""
        self._watched.pop(worker, None)

    def could_run(self, now_us: int) -> list[int]:
        """The workers that have had a core long enough by now; they are watched no more."""
        if now_us < self.next_us:
            return []
        self._next_us = now_us + LOOK_EVERY_US
        for one in self._watched.values():
            times, elapsed_us = self._look(one.pid), now_us - one.looked_us
            one.could_run_us += elapsed_us - longest_wait_us(one.times, times, elapsed_us)
            one.times, one.looked_us = times, now_us
        able = [worker for worker, one in self._watched.items() if one.could_run_us >= COULD_RUN_US]
        for worker in able:
            del self._watched[worker]
        return able
