"""Segments as graphs on a device with streams: a job has a copy of the model's buffers from its first segment to its
last, and each segment is one launch.

A copy comes back when nobody holds the job's tensors any more: at its end, but also if the job is cancelled, dropped or
fails between two segments. The policy begins no more jobs of a model than there are copies, so a copy is there when a
job begins, at the latest when the thread that ended the one before has let go of it.
"""

from __future__ import annotations

import queue
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, final

from penstock.errors import PenstockError
from penstock.profile.segments.segmented import Tensors
from penstock.runtime.device_wait import DeviceWait
from penstock.serve.scheduled.graphed import Copy, GraphedModel
from penstock.serve.scheduled.on_torch.torch_segment import TorchSegment, TorchTensors
from penstock.serve.scheduled.streams import Streams
from penstock.serve.scheduled.thread_driver import SegmentRunner

PATIENCE_S = 30.0
"""For a copy to come back, which takes microseconds. Longer means that one was lost."""


class ThreadStreams(Streams, Protocol):
    """A device on which each thread has a stream."""

    def own_stream(self) -> Any:
        """The stream of the calling thread, the same for all models."""
        ...


class HostCopies(Protocol):
    """How tensors of a job get into a copy's buffers, and its results out of them."""

    def new_input(self, shapes: Mapping[str, tuple[int, ...]]) -> TorchTensors:
        """Buffers for a job's inputs of these ``shapes``."""
        ...

    def put(self, buffers: TorchTensors, arrays: Tensors, stream: Any) -> None:
        """Queue the copies of ``arrays`` into ``buffers`` on ``stream``."""
        ...

    def take(self, tensors: TorchTensors, stream: Any) -> Callable[[], Tensors]:
        """Queue the copies of ``tensors`` to the host; the function gives them once the stream got there."""
        ...


@final
class JobOnCopy(Mapping[str, Any]):
    """What crosses a cut: it lies in the buffers of ``copy``. Only the next segment reads it."""

    def __init__(self, copy: Copy, give_back: Callable[[Copy], None]) -> None:
        self.copy = copy
        weakref.finalize(self, give_back, copy).atexit = False

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@final
class GraphSegments:
    """See :class:`~penstock.serve.scheduled.thread_driver.SegmentRunner`.

    ``shapes``: of the inputs of a job of one sample, by name. A job of other shapes runs by ``others``. ``warm`` gives
    a job's inputs for the first runs.
    """

    def __init__(
        self,
        device: ThreadStreams,
        host: HostCopies,
        name: str,
        segments: Sequence[TorchSegment],
        shapes: Mapping[str, tuple[int, ...]],
        copies: int,
        others: SegmentRunner,
    ) -> None:
        self._device, self._host, self._shapes, self._others = device, host, dict(shapes), others
        self._model = GraphedModel(device, name, segments, lambda number: host.new_input(shapes), copies)
        self._waits = [DeviceWait() for _ in segments]
        self._free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for copy in self._model.copies:
            self._free.put(copy)

    @property
    def n_segments(self) -> int:
        """How many launches a job takes."""
        return self._model.n_segments

    @property
    def free_copies(self) -> int:
        """Copies that no job holds."""
        return self._free.qsize()

    def run(self, segment: int, tensors: Tensors) -> Tensors:
        """Launch ``segment`` on the stream of this thread, and wait for its end."""
        if isinstance(tensors, JobOnCopy):
            return self._launch(segment, tensors)
        if segment > 0 or {name: array.shape for name, array in tensors.items()} != self._shapes:
            return self._others.run(segment, tensors)
        job = JobOnCopy(self._a_copy(), self._free.put)
        self._host.put(job.copy.input, tensors, self._device.own_stream())
        return self._launch(segment, job)

    def _launch(self, segment: int, job: JobOnCopy) -> Tensors:
        stream, copy = self._device.own_stream(), job.copy
        self._device.launch(copy.graphs[segment], stream)
        is_last = segment == self.n_segments - 1
        taken = self._host.take(copy.output, stream) if is_last else None
        self._device.mark(copy.done[segment], stream)
        self._waits[segment].until(copy.done[segment])
        return job if taken is None else taken()

    def _a_copy(self) -> Copy:
        try:
            return self._free.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise PenstockError(
                f"model {self._model.name!r}: none of its {len(self._model.copies)} copies came back within "
                f"{PATIENCE_S:.0f} s. Restart the worker, and report this."
            ) from None
