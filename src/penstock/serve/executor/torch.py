"""A stage's sub-model in torch: on a GPU one CUDA graph for each of a few batch sizes, made before the first request.

A batch between two captured sizes runs as the larger one: the rest of the static batch is whatever it was, and its
rows are not returned. That holds if samples are independent along the first dimension of every tensor; a stage
with another layout gets a graph for each size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.runtime.settings import captured_batches
from penstock.runtime.torch_runner import Staged, TorchRunner
from penstock.serve.executor.shapes import check_shapes
from penstock.serve.protocol.datatypes import numpy_dtype
from penstock.serve.protocol.raw import Array
from penstock.serve.spec import StageSpec, TensorSpec

_UNABLE = frozenset({"BYTES", "BF16", "UINT16", "UINT32", "UINT64"})


@final
class TorchExecutor:
    """Runs ``stage.model_file`` under ``stage.runtime``; created warm for every batch size that it captures."""

    def __init__(self, stage: StageSpec) -> None:
        _refuse_types(stage)
        assert stage.model_file is not None, "the engine writes a sub-model for every stage that computes"
        self._runner = TorchRunner(Path(stage.model_file), stage.runtime)
        self._stage = stage
        self._on_gpu = stage.runtime.device != "cpu"
        largest = len(stage.latency_us) - 1
        is_graph = stage.runtime.torch_mode == "graph"
        may_pad = is_graph and all(spec.is_batched for spec in (*stage.inputs, *stage.computed))
        self._sizes = captured_batches(largest) if may_pad else tuple(range(1, largest + 1))
        self._may_pad = may_pad
        self._specs = {spec.name: spec for spec in stage.inputs}
        self._outputs = [spec.name for spec in stage.computed]
        # From the largest down: smaller graphs then fit into the memory that the largest one reserved.
        warm = self._sizes if is_graph else {1, largest}
        self._staged: dict[int, Staged] = {}
        for size in sorted(warm, reverse=True):
            self._warm_up(size)

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """The sub-model's outputs."""
        if not self._on_gpu:
            made = self._runner.run(tensors)
        else:
            arrays = [tensors[name] for name in self._runner.inputs]
            runs_as = self._sizes[bisect_left(self._sizes, size)]
            staged = self._staged.get(runs_as) or self._staged.setdefault(
                runs_as, self._runner.staged(arrays)
            )
            rows = size if self._may_pad else None
            made = dict(zip(self._runner.outputs, staged.run(arrays, rows), strict=True))
        return {name: made[name] for name in self._outputs}

    def place(self, name: str, size: int) -> Array | None:
        """The pinned memory from which the device copies, if a graph is ready for that size."""
        if not self._on_gpu or name not in self._runner.inputs:
            return None
        staged = self._staged.get(self._sizes[bisect_left(self._sizes, size)])
        return None if staged is None else staged.place(self._runner.inputs.index(name), size)

    def _warm_up(self, size: int) -> None:
        """Make ready for ``size``: no request should wait for a capture."""
        zeros = [_zeros(self._specs[name], size) for name in self._runner.inputs]
        if self._on_gpu:
            self._staged[size] = self._runner.staged(zeros)
            made = dict(zip(self._runner.outputs, self._staged[size].run(zeros), strict=True))
        else:
            made = self._runner.run(dict(zip(self._runner.inputs, zeros, strict=True)))
        check_shapes(self._stage, made, size)


def _zeros(spec: TensorSpec, samples: int) -> Array:
    zeros: Array = np.zeros(spec.shape_of(samples), numpy_dtype(spec.datatype))
    return zeros


def _refuse_types(stage: StageSpec) -> None:
    for spec in (*stage.inputs, *stage.computed):
        if spec.datatype in _UNABLE:
            raise BadInputError(
                f"{stage.model_file}: tensor {spec.name!r} is {spec.datatype}, which the torch executor cannot "
                f"exchange with numpy. Cut the model elsewhere, or use --executor onnxruntime."
            )
