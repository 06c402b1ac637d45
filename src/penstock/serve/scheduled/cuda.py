"""A GPU by torch: segments as CUDA graphs, completion by events.

``CUDA_DEVICE_MAX_CONNECTIONS`` (hardware queues, 8 unless set) is read when CUDA starts: set it before the first
call, or streams share queues and block each other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, final

from penstock.errors import BadInputError
from penstock.runtime.torch_device import end_failed_capture, import_torch
from penstock.serve.scheduled.streams import Segment

POOLED_STREAMS = 32
"""torch hands out streams from a pool of 32 a priority: the 33rd is the first again."""


@final
class CudaStreams:
    """The GPU ``device``, by default the current one. Raises :class:`BadInputError` if there is none.

    ``is_blocking``: a thread that waits for an event sleeps, which takes some microseconds more, and leaves its core to
    others.
    """

    def __init__(self, device: Any = None, *, is_blocking: bool = False) -> None:
        self._torch = torch = import_torch("running segments on a GPU")
        if not torch.cuda.is_available():
            raise BadInputError(
                "torch sees no GPU (torch.cuda.is_available() is false), but a GPU dispatcher needs one. "
                "Use the dispatcher with onnxruntime on the CPU, or install a torch build with CUDA."
            )
        torch.cuda.init()
        self._device, self._is_blocking = device, is_blocking
        self._own = threading.local()

    def streams(self, count: int, priority: int = 0) -> Sequence[Any]:
        """Different streams: at most :data:`POOLED_STREAMS` of a priority."""
        if not 1 <= count <= POOLED_STREAMS:
            raise BadInputError(
                f"{count} streams asked for, but torch has 1 to {POOLED_STREAMS} different ones of a priority. "
                f"Ask for fewer."
            )
        return [self._torch.cuda.Stream(self._device, priority=priority) for _ in range(count)]

    def own_stream(self) -> Any:
        """The stream of the calling thread. Different ones for up to :data:`POOLED_STREAMS` threads."""
        if not hasattr(self._own, "stream"):
            (self._own.stream,) = self.streams(1)
        return self._own.stream

    @property
    def highest_priority(self) -> int:
        """The priority that goes before all others: a negative number."""
        return -1

    def warm_up(self, segment: Segment, tensor: Any) -> Any:
        """Three runs on a stream of their own."""
        stream = self._torch.cuda.Stream(self._device)
        with self._torch.no_grad(), self._torch.cuda.stream(stream):
            for _ in range(3):
                output = segment(tensor)
        stream.synchronize()
        return output

    def pool(self) -> Any:
        """A pool of the allocator: a buffer that one graph no longer needs serves the next of the chain.

        cuBLAS keeps one workspace a stream, and all graphs captured on that stream would write to it, also at the
        same time. Forgotten here, it is allocated anew, from the pool of the copy.
        """
        self._torch._C._cuda_clearCublasWorkspaces()
        return self._torch.cuda.graph_pool_handle()

    def capture(self, segment: Segment, tensor: Any, stream: Any, pool: Any) -> tuple[Any, Any]:
        """By the low-level calls, because ``torch.cuda.graph()`` runs the garbage collector at each capture.

        The graph keeps the priority of ``stream``, whatever stream it is launched on.
        """
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.no_grad(), self._torch.cuda.stream(stream):
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                output = segment(tensor)
            except BaseException:
                end_failed_capture(graph)
                raise
            graph.capture_end()
        return graph, output

    def launch(self, graph: Any, stream: Any) -> None:
        """One call of the driver."""
        self._torch.cuda.set_stream(stream)
        graph.replay()

    def event(self) -> Any:
        """With a time, at the same cost as without."""
        return self._torch.cuda.Event(enable_timing=True, blocking=self._is_blocking)

    def mark(self, event: Any, stream: Any) -> None:
        """Record ``event`` on ``stream``."""
        event.record(stream)

    def reference(self) -> tuple[Any, float]:
        """An event and the host's time of it, microseconds of ``perf_counter``.

        The device reaches the event between two readings of the host's clock. Of five tries the one with the
        closest readings counts, and its middle: it is off by at most half of what lies between them.
        """
        tries = []
        for _ in range(5):
            event = self.event()
            before_us = time.perf_counter_ns() / 1e3
            event.record(self._torch.cuda.current_stream())
            event.synchronize()
            after_us = time.perf_counter_ns() / 1e3
            tries.append((after_us - before_us, (before_us + after_us) / 2, event))
        _, middle_us, event = min(tries, key=lambda one: one[0])
        return event, middle_us

    def end_us(self, reference: tuple[Any, float], event: Any) -> float:
        """On the host's clock; the events' own resolution is half a microsecond."""
        return reference[1] + float(reference[0].elapsed_time(event)) * 1e3

    def wait(self) -> None:
        """``cudaDeviceSynchronize``."""
        self._torch.cuda.synchronize()
