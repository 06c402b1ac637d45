"""Segments that run operator by operator (or compiled), on a CPU or a GPU, on the stream of the thread that calls.

A tensor that crosses a cut is a torch tensor of the job's own, so any number of jobs may be begun.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from penstock.profile.segments.segmented import Tensors
from penstock.runtime.settings import RuntimeSettings
from penstock.runtime.torch_device import import_torch
from penstock.runtime.torch_runner import as_tensor
from penstock.serve.scheduled.on_torch.torch_segment import TorchSegment, TorchTensors


@final
class TensorsBetween(Mapping[str, Any]):
    """What crosses a cut, on the device; reading one brings it to the host as an array."""

    def __init__(self, on_device: TorchTensors) -> None:
        self.on_device = on_device

    def __getitem__(self, name: str) -> Any:
        return self.on_device[name].cpu().numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self.on_device)

    def __len__(self) -> int:
        return len(self.on_device)


@final
class EagerSegments:
    """See :class:`~penstock.serve.scheduled.thread_driver.SegmentRunner`. ``device``: the ``torch.device``."""

    def __init__(self, segments: Sequence[TorchSegment], device: Any, settings: RuntimeSettings) -> None:
        self._torch = import_torch("running segments on torch")
        self._segments, self._device = segments, device
        if settings.device == "cpu":
            self._torch.set_num_threads(settings.threads)
        self._own = threading.local()

    @property
    def n_segments(self) -> int:
        """How many there are."""
        return len(self._segments)

    def run(self, segment: int, tensors: Tensors) -> Tensors:
        """What crosses the end of ``segment``; arrays in the host's memory behind the last one."""
        if self._device.type == "cpu":
            return self._run(segment, tensors)
        stream = self._stream()
        with self._torch.cuda.stream(stream):
            made = self._run(segment, tensors)
        stream.synchronize()
        return made

    def _run(self, segment: int, tensors: Tensors) -> Tensors:
        if isinstance(tensors, TensorsBetween):
            given = tensors.on_device
        else:
            given = {name: as_tensor(array).to(self._device) for name, array in tensors.items()}
        with self._torch.no_grad():
            made = self._segments[segment](given)
        if segment < self.n_segments - 1:
            return TensorsBetween(made)
        return {name: tensor.cpu().numpy() for name, tensor in made.items()}

    def _stream(self) -> Any:
        if not hasattr(self._own, "stream"):
            self._own.stream = self._torch.cuda.Stream(self._device)
        return self._own.stream
