"""From the files of a model's segments to what runs them on torch, warm."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, final

import numpy as np

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.graph.split import save_submodel, split
from penstock.profile.segments.segmented import Tensors
from penstock.runtime.settings import RuntimeSettings
from penstock.runtime.torch_device import import_torch, open_device
from penstock.runtime.torch_runner import as_tensor
from penstock.serve.boundaries import tensor_specs
from penstock.serve.protocol.datatypes import numpy_dtype
from penstock.serve.scheduled.cuda import CudaStreams
from penstock.serve.scheduled.on_torch.eager_segments import EagerSegments
from penstock.serve.scheduled.on_torch.graph_segments import GraphSegments
from penstock.serve.scheduled.on_torch.torch_segment import TorchSegment, TorchTensors
from penstock.serve.scheduled.thread_driver import SegmentRunner
from penstock.serve.spec import TensorSpec

HARDWARE_QUEUES = 32
"""CUDA has 8 unless told otherwise before it starts: then streams share queues, and block each other."""

_UNABLE = frozenset({"BYTES", "BF16", "UINT16", "UINT32", "UINT64"})


def torch_segments(
    name: str,
    files: Sequence[Path],
    forwarded: Sequence[frozenset[str]],
    inputs: Sequence[TensorSpec],
    settings: RuntimeSettings,
    copies: int,
) -> SegmentRunner:
    """The model ``name`` in segments, one for each of ``files``, under ``settings``; run once.

    On a GPU in mode ``graph``: ``copies`` copies of its buffers, each a chain of CUDA graphs for one sample. Raises
    :class:`BadInputError` for tensors that torch cannot exchange with numpy.
    """
    for spec in inputs:
        if spec.datatype in _UNABLE:
            raise BadInputError(
                f"model {name!r}: input {spec.name!r} is {spec.datatype}, which the torch executor cannot exchange "
                f"with numpy. Use --executor onnxruntime."
            )
    if settings.device != "cpu":
        os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", str(HARDWARE_QUEUES))
    device = open_device(settings)
    segments = [
        TorchSegment(file, passed, device, settings) for file, passed in zip(files, forwarded, strict=True)
    ]
    runner: SegmentRunner = EagerSegments(segments, device, settings)
    if settings.torch_mode == "graph":
        torch = import_torch()
        shapes = {spec.name: tuple(spec.shape_of(1)) for spec in inputs}
        pinned = PinnedCopies(torch, device, {spec.name: numpy_dtype(spec.datatype) for spec in inputs})
        runner = GraphSegments(_streams(device), pinned, name, segments, shapes, copies, runner)
    _warm_up(runner, inputs)
    return runner


def split_on_torch(
    model: OnnxModel, boundaries: Sequence[int], folder: Path, settings: RuntimeSettings
) -> SegmentRunner:
    """``model`` cut at ``boundaries``, operators from 0 to all, as it is served; files go into ``folder``."""
    files, forwarded = [], []
    for number, part in enumerate(split(model, boundaries)):
        files.append(folder / f"segment{number}-of-{len(boundaries) - 1}.onnx")
        save_submodel(part, files[-1])
        forwarded.append(frozenset(part.forwarded))
    inputs = tensor_specs(model.graph.inputs, model.graph.tensors)
    return torch_segments(model.path.stem, files, forwarded, inputs, settings, copies=1)


@cache
def _streams(device: Any) -> CudaStreams:
    """One for all models of a process: so a thread has one stream, whatever model it runs."""
    import_torch().cuda.set_device(device)
    return CudaStreams(device, is_blocking=True)


def _warm_up(runner: SegmentRunner, inputs: Sequence[TensorSpec]) -> None:
    """One sample through all segments: what is built on first use is built before the first request."""
    tensors: Tensors = {spec.name: np.zeros(spec.shape_of(1), numpy_dtype(spec.datatype)) for spec in inputs}
    for segment in range(runner.n_segments):
        tensors = runner.run(segment, tensors)


@final
class PinnedCopies:
    """See :class:`~.graph_segments.HostCopies`: through pinned memory of torch's allocator, without waiting."""

    def __init__(self, torch: Any, device: Any, dtypes: Mapping[str, Any]) -> None:
        self._torch, self._device, self._dtypes = torch, device, dtypes

    def new_input(self, shapes: Mapping[str, tuple[int, ...]]) -> TorchTensors:
        """Zeros on the device."""
        return {
            name: as_tensor(np.zeros(shape, self._dtypes[name])).to(self._device)
            for name, shape in shapes.items()
        }

    def put(self, buffers: TorchTensors, arrays: Tensors, stream: Any) -> None:
        """Through pinned memory, which torch gives to nobody else before the stream has read it."""
        with self._torch.cuda.stream(stream):
            for name, buffer in buffers.items():
                pinned = self._torch.empty(buffer.shape, dtype=buffer.dtype, pin_memory=True)
                np.copyto(pinned.numpy(), arrays[name])
                buffer.copy_(pinned, non_blocking=True)

    def take(self, tensors: TorchTensors, stream: Any) -> Callable[[], Tensors]:
        """To new pinned memory, which the arrays keep alive."""
        taken = {}
        with self._torch.cuda.stream(stream):
            for name, tensor in tensors.items():
                host = self._torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                taken[name] = host.copy_(tensor, non_blocking=True)
        return lambda: {name: host.numpy() for name, host in taken.items()}
