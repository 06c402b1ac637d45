"""A sub-model in torch: eager, compiled, or one CUDA graph for each set of input shapes.

On a GPU each set of shapes has static inputs and outputs on the device and pinned buffers on the host, and all
work goes to one stream of the runner's own: copy in, run, copy out, then one wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import onnx

from penstock.errors import BadInputError
from penstock.runtime.device_wait import DeviceWait
from penstock.runtime.program import TorchProgram
from penstock.runtime.runner import Array, MemoryUse
from penstock.runtime.settings import RuntimeSettings
from penstock.runtime.torch_device import apply_switches, end_failed_capture, import_torch, open_device

DIRECT_BYTES = 1 << 20
"""Inputs of this size and more go to the device from where they are: on an H200's host 0.34 ms in place of 0.50 ms for
4.8 MB and 2.2 in place of 4.4 ms for 33 MB; 0.6 MB takes the same (``benchmarks/gpu.py``, ways to the device)."""

Shapes = tuple[tuple[int, ...], ...]
WARM_UP_RUNS = 3
"""Before a capture: the libraries choose kernels and allocate workspaces in the first runs."""


@final
class TorchRunner:
    """See :class:`penstock.runtime.runner.Runner`."""

    def __init__(self, model: onnx.ModelProto | Path, settings: RuntimeSettings) -> None:
        torch = import_torch()
        self._settings = settings
        self._device = open_device(settings)
        if settings.device == "cpu":
            torch.set_num_threads(settings.threads)
        half = settings.precision == "fp16"
        self.program = TorchProgram(
            model,
            self._device,
            dtype=torch.float16 if half else torch.float32,
            # Tensor cores take channels last; cuDNN would else transpose around each convolution.
            channels_last=settings.device != "cpu" and settings.precision != "fp32",
        )
        self._ready: dict[Shapes, Staged | Callable[..., Any]] = {}
        self._on_gpu = settings.device != "cpu"
        self._stream = torch.cuda.Stream(self._device) if self._on_gpu else None
        self._pool: Any = None
        self._largest = (0, 0)  # bytes of a run beyond the weights: all, and the program's own tensors

    @property
    def in_words(self) -> str:
        """The runtime and its mode."""
        return self._settings.in_words

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in the model's order."""
        return self.program.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in the model's order."""
        return self.program.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        arrays = [feeds[name] for name in self.inputs]
        if self._on_gpu:
            return dict(zip(self.outputs, self.staged(arrays).run(arrays), strict=True))
        import torch

        tensors = [as_tensor(array) for array in arrays]
        with torch.no_grad():
            made = self._function(tensors)(*tensors)
        return {name: tensor.numpy() for name, tensor in zip(self.outputs, made, strict=True)}

    def bind(self, feeds: Mapping[str, Array]) -> BoundTorch:
        """``feeds`` on the device, ready to run."""
        arrays = [feeds[name] for name in self.inputs]
        if self._on_gpu:
            staged = self.staged(arrays)
            staged.put(arrays)
            return BoundTorch(None, staged)
        tensors = [as_tensor(array) for array in arrays]
        function = self._function(tensors)
        return BoundTorch(lambda: function(*tensors), None)

    def staged(self, arrays: list[Array]) -> Staged:
        """The static buffers and the graph for the shapes of ``arrays``, made on first use."""
        import torch

        key = tuple(array.shape for array in arrays)
        apply_switches(self._settings)
        if key not in self._ready:
            with torch.cuda.device(self._device), torch.no_grad():
                self._ready[key] = self._make_staged(arrays)
        staged = self._ready[key]
        assert isinstance(staged, Staged)
        return staged

    def memory(self) -> MemoryUse | None:
        """Of the largest run so far; None on the CPU, which tells nothing."""
        if not self._on_gpu:
            return None
        peak, activations = self._largest
        return MemoryUse(self.program.weight_bytes, activations, max(peak - activations, 0))

    def _function(self, tensors: list[Any]) -> Callable[..., Any]:
        """The program for the shapes of ``tensors``, on the CPU."""
        import torch

        key = tuple(tuple(tensor.shape) for tensor in tensors)
        if key not in self._ready:
            with torch.no_grad():
                self._ready[key] = self._compiled(self.program.build(*tensors))
        function = self._ready[key]
        assert not isinstance(function, Staged)
        return function

    def _compiled(self, built: Callable[..., Any]) -> Callable[..., Any]:
        if self._settings.torch_mode != "compiled":
            return built
        import torch

        compiled: Callable[..., Any] = torch.compile(built, dynamic=False)
        return compiled

    def _make_staged(self, arrays: list[Array]) -> Staged:
        import torch

        assert self._stream is not None
        with torch.cuda.stream(self._stream):
            static = [as_tensor(array).to(self._device) for array in arrays]
            built = self.program.build(*static)
            function = self._compiled(built)
            for _ in range(WARM_UP_RUNS):
                function(*static)
            self._stream.synchronize()
            torch.cuda.reset_peak_memory_stats(self._device)
            before = int(torch.cuda.memory_allocated(self._device))
            made = function(*static)
            self._stream.synchronize()
            peak = int(torch.cuda.max_memory_allocated(self._device)) - before
            self._largest = max(self._largest, (peak, built.activation_bytes))
            if self._settings.torch_mode != "graph":
                return Staged(static, made, lambda: function(*static), self._stream)
            del made
            graph = torch.cuda.CUDAGraph()
            # Not torch.cuda.graph(): that collects garbage and empties the cache at every capture.
            # Graphs of one runner never run at once, so they may share the memory of their activations.
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph.capture_begin(pool=self._pool)
            try:
                outputs = function(*static)
            except BaseException:
                end_failed_capture(graph)
                raise
            graph.capture_end()
            return Staged(static, outputs, graph.replay, self._stream)


@final
class Staged:
    """Static buffers for one set of shapes, and what runs on them. ``launch`` returns new outputs, or None."""

    def __init__(self, static: list[Any], outputs: Any, launch: Callable[[], Any], stream: Any) -> None:
        import torch

        self._static, self._outputs, self._launch, self._stream = static, outputs, launch, stream
        self._pinned = [torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for t in static]
        self._begin = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)
        # What is left to the driver must not take a core from the other workers of the host.
        self._done = torch.cuda.Event(blocking=True)
        self._wait = DeviceWait()

    def place(self, index: int, rows: int) -> Array:
        """The first ``rows`` rows of input ``index`` in pinned memory: ``put`` does not copy them there again."""
        place: Array = self._pinned[index][:rows].numpy()
        return place

    def put(self, arrays: list[Array], rows: int | None = None) -> None:
        """Copy ``arrays`` in, through pinned memory; only the first ``rows`` rows where that is given."""
        import torch

        with torch.cuda.stream(self._stream):
            for array, pinned, static in zip(arrays, self._pinned, self._static, strict=True):
                source, target = (pinned, static) if rows is None else (pinned[:rows], static[:rows])
                if _is_at(array, source):
                    target.copy_(source, non_blocking=True)
                elif array.nbytes >= DIRECT_BYTES and array.flags.c_contiguous:
                    # The driver goes through pinned memory of its own, piece by piece while it copies.
                    target.copy_(torch.from_numpy(_writable_view(array)))
                else:
                    np.copyto(source.numpy(), array)
                    target.copy_(source, non_blocking=True)

    def launch(self) -> None:
        """Queue one run."""
        import torch

        with torch.cuda.stream(self._stream), torch.no_grad():
            made = self._launch()
            if made is not None:
                self._outputs = made

    def take(self, rows: int | None = None) -> list[Array]:
        """Wait for the outputs, copied to pinned memory of their own, which they keep alive."""
        import torch

        taken = []
        with torch.cuda.stream(self._stream):
            for output in self._outputs:
                source = output if rows is None or output.dim() == 0 else output[:rows]
                # torch's pinned allocator gives freed blocks again, so this costs no system call.
                host = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
                taken.append(host.copy_(source, non_blocking=True))
            self._done.record(self._stream)
        self._wait.until(self._done)
        return [host.numpy() for host in taken]

    def run(self, arrays: list[Array], rows: int | None = None) -> list[Array]:
        """In, run, out. With ``rows`` the rest of the static batch is whatever it was, and is not returned."""
        self.put(arrays, rows)
        self.launch()
        return self.take(rows)

    def time_us(self) -> float:
        """The device's time of one run on what is in place, by its own events."""
        self._begin.record(self._stream)
        self.launch()
        self._end.record(self._stream)
        self._end.synchronize()
        return float(self._begin.elapsed_time(self._end)) * 1e3


@final
class BoundTorch:
    """See :class:`penstock.runtime.runner.BoundRun`."""

    def __init__(self, on_cpu: Callable[[], Any] | None, staged: Staged | None) -> None:
        self._on_cpu, self._staged = on_cpu, staged

    def run(self) -> float | None:
        """Run once and wait; the device's own microseconds on a GPU."""
        if self._staged is not None:
            return self._staged.time_us()
        assert self._on_cpu is not None
        import torch

        with torch.no_grad():
            self._on_cpu()
        return None


class _WritableView:
    """What numpy makes an array of: the memory of another one, called writable. It keeps the other one."""

    def __init__(self, array: Array) -> None:
        self._array = array
        found = array.__array_interface__
        self.__array_interface__ = {**found, "data": (found["data"][0], False)}


def _writable_view(array: Array) -> Array:
    """``array`` without a copy, for torch, which warns of memory that may not be written; it is only read."""
    view: Array = np.asarray(_WritableView(array))
    return view


def _is_at(array: Array, tensor: Any) -> bool:
    """Whether ``array`` is the memory of ``tensor``, in its order."""
    return bool(array.ctypes.data == tensor.data_ptr() and array.flags.c_contiguous)


def as_tensor(array: Array) -> Any:
    """A tensor of the same memory, which is only read; of a copy if ``array`` is not in row-major order."""
    import torch

    if array.dtype == object:
        raise BadInputError("the torch executor takes no text. Use --executor onnxruntime for this class.")
    kept = np.asarray(array, order="C")
    return torch.from_numpy(kept if kept.flags.writeable else _writable_view(kept))
