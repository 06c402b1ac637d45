"""Threads in place of a GPU's streams: the benchmark's logic can be checked without one. Its times say nothing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch

from penstock.serve.scheduled.streams import Segment

Call = Callable[[], None]
PATIENCE_S = 30.0


class Flag:
    """An event: set by the thread that reaches it."""

    def __init__(self) -> None:
        self._set = threading.Event()
        self.reached_us = 0.0

    def reach(self) -> None:
        self.reached_us = time.perf_counter_ns() / 1e3
        self._set.set()

    def clear(self) -> None:
        self._set.clear()

    def query(self) -> bool:
        return self._set.is_set()

    def synchronize(self) -> None:
        if not self._set.wait(PATIENCE_S):
            raise TimeoutError(f"an event was not reached within {PATIENCE_S} s")


class ThreadStreams:
    """A stream is a queue of calls; ``threads`` threads serve the heads of the queues in turn."""

    def __init__(self, threads: int = 2) -> None:
        torch.set_num_threads(1)
        self._changed = threading.Condition()
        self._ready: deque[deque[Call]] = deque()
        self._busy = 0
        for _ in range(threads):
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._ready:
                    self._changed.wait()
                stream = self._ready.popleft()
                self._busy += 1
            stream[0]()
            with self._changed:
                stream.popleft()
                self._busy -= 1
                if stream:
                    self._ready.append(stream)
                self._changed.notify_all()

    def _put(self, stream: deque[Call], call: Call) -> None:
        with self._changed:
            stream.append(call)
            if len(stream) == 1:
                self._ready.append(stream)
                self._changed.notify_all()

    def streams(self, count: int, priority: int = 0) -> Sequence[deque[Call]]:
        return [deque() for _ in range(count)]

    @property
    def highest_priority(self) -> int:
        return -1

    def warm_up(self, segment: Segment, tensor: Any) -> Any:
        with torch.no_grad():
            return segment(tensor)

    def pool(self) -> None:
        return None

    def capture(self, segment: Segment, tensor: Any, stream: Any, pool: Any) -> tuple[Call, Any]:
        with torch.no_grad():
            output = segment(tensor).clone()

        def run() -> None:
            with torch.no_grad():
                output.copy_(segment(tensor))

        return run, output

    def launch(self, graph: Call, stream: deque[Call]) -> None:
        self._put(stream, graph)

    def event(self) -> Flag:
        return Flag()

    def mark(self, event: Flag, stream: deque[Call]) -> None:
        event.clear()
        self._put(stream, event.reach)

    def reference(self) -> None:
        return None

    def end_us(self, reference: None, event: Flag) -> float:
        return event.reached_us

    def wait(self) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._ready and not self._busy, PATIENCE_S):
                raise TimeoutError(f"the streams were not empty within {PATIENCE_S} s")
