"""``torch.cuda`` on the CPU: what a stream is given runs when somebody waits for it, and no sooner.

So a result that is read without waiting is not there yet, and a buffer that is written while a copy out of it is still
queued spoils that copy. A graph records operators with their tensors, as a capture records kernels with addresses: a
replay reads and writes the same memory. Times are counts of what a stream has done, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from penstock.runtime.torch_runner import as_tensor

_copy = torch.Tensor.copy_
_empty = torch.empty


class Stream:
    """Work in order."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self._queued: list[Callable[[], object]] = []
        self.done = 0
        CUDA.streams.append(self)

    def put(self, work: Callable[[], object]) -> None:
        self._queued.append(work)

    def synchronize(self) -> None:
        while self._queued:
            self._queued.pop(0)()
            self.done += 1


class Event:
    """A place in a stream."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False) -> None:
        self._stream = CUDA.current
        self._at: int | None = None

    def record(self, stream: Stream | None = None) -> None:
        self._stream, self._at = stream or CUDA.current, None
        own = self._stream

        def reached() -> None:
            self._at = own.done

        own.put(reached)

    def query(self) -> bool:
        return self._at is not None

    def synchronize(self) -> None:
        self._stream.synchronize()

    def elapsed_time(self, end: Event) -> float:
        assert self._at is not None, "the events were not waited for"
        assert end._at is not None, "the events were not waited for"
        return float(end._at - self._at - 1)


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, made))
        return made


class CUDAGraph:
    """Operators on the memory that they were recorded with. ``end_fails``: the end of a capture raises."""

    end_fails = False

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        assert not CUDA.current._queued, "a capture must not begin before the stream is done"
        self._recording = _Recording()
        self._recording.__enter__()

    def capture_end(self) -> None:
        self._recording.__exit__(None, None, None)
        if self.end_fails:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def replay(self) -> None:
        CUDA.current.put(self._run)

    def _run(self) -> None:
        for function, args, kwargs, outputs in self._recording.calls:
            made = function(*args, **kwargs)
            pairs = zip(_listed(outputs), _listed(made), strict=True)
            for old, new in pairs:
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    _copy(old, new)


def _listed(values: Any) -> list[Any]:
    return list(values) if isinstance(values, tuple | list) else [values]


def _copy_on_stream(self: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    if non_blocking:
        CUDA.current.put(lambda: _copy(self, source))
        return self
    CUDA.current.synchronize()
    return _copy(self, source)


def _empty_with_rubbish(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
    """New memory is not zero by chance: what is read before it is written shows."""
    made = _empty(*shape, **options)
    if made.dtype.is_floating_point:
        made.fill_(float("nan"))
    return made


@contextmanager
def _on(stream: Stream | None) -> Iterator[None]:
    before, CUDA.current = CUDA.current, stream or CUDA.current
    try:
        yield
    finally:
        CUDA.current = before


def _set_stream(stream: Stream) -> None:
    CUDA.current = stream


def _synchronize(device: Any = None) -> None:
    for stream in CUDA.streams:
        stream.synchronize()


def _copied(array: np.ndarray) -> torch.Tensor:
    """What goes to a device has memory of its own there."""
    return as_tensor(array).clone()


CUDA = SimpleNamespace(streams=[], current=None)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the test ends: one GPU, ``cuda:0``, whose memory is the host's."""
    CUDA.streams = []
    CUDA.current = Stream()
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "init": lambda: None,
        "set_device": lambda device: None,
        "device": lambda device: nullcontext(),
        "Stream": Stream,
        "stream": _on,
        "set_stream": _set_stream,
        "current_stream": lambda device=None: CUDA.current,
        "synchronize": _synchronize,
        "Event": Event,
        "CUDAGraph": CUDAGraph,
        "graph_pool_handle": object,
        "reset_peak_memory_stats": lambda device=None: None,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 4096,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    monkeypatch.setattr(torch.Tensor, "copy_", _copy_on_stream)
    monkeypatch.setattr(torch, "empty", _empty_with_rubbish)
    monkeypatch.setattr("penstock.runtime.torch_runner.as_tensor", _copied)
    for module in ("penstock.runtime.torch_runner", "penstock.serve.scheduled.on_torch.load"):
        monkeypatch.setattr(f"{module}.open_device", lambda settings: torch.device("cpu"))
