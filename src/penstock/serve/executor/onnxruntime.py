"""A stage's sub-model in onnxruntime. On the CPU it has one core: a worker is one share of a device and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.runtime.onnx_runner import OnnxRunner
from penstock.runtime.strings import bytes_of, text_of
from penstock.serve.executor.shapes import check_shapes
from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.protocol.raw import Array
from penstock.serve.spec import StageSpec


@final
class OnnxRuntimeExecutor:
    """Runs ``stage.model_file`` under ``stage.runtime``. It is warmed up for batch 1 and the largest batch."""

    def __init__(self, stage: StageSpec) -> None:
        _refuse_bf16(stage)
        assert stage.model_file is not None, "the engine writes a sub-model for every stage that computes"
        # Profiles are measured with the same runner: with other settings the latency would differ from the profile.
        self._runner = OnnxRunner(Path(stage.model_file), replace(stage.runtime, kind="onnxruntime"))
        self._outputs = [spec.name for spec in stage.computed]
        self._texts_in = frozenset(spec.name for spec in stage.inputs if spec.datatype == BYTES)
        self._texts_out = frozenset(spec.name for spec in stage.computed if spec.datatype == BYTES)
        self._warm_up(stage)

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """The sub-model's outputs."""
        if self._texts_in:
            tensors = {n: text_of(n, array) if n in self._texts_in else array for n, array in tensors.items()}
        made = self._runner.run(tensors)
        return {n: bytes_of(made[n]) if n in self._texts_out else made[n] for n in self._outputs}

    def place(self, name: str, size: int) -> Array | None:
        """Anywhere: onnxruntime copies to the device from there."""
        return None

    def _warm_up(self, stage: StageSpec) -> None:
        """The first run allocates memory, and no request should wait for it. Models of strings are left out.

        A model whose outputs have not their declared shapes is refused here, before the server is ready.
        """
        if any(spec.datatype == BYTES for spec in stage.inputs):
            return
        for size in {1, len(stage.latency_us) - 1}:
            zeros = {s.name: np.zeros(s.shape_of(size), numpy_dtype(s.datatype)) for s in stage.inputs}
            check_shapes(stage, self.run(zeros, size), size)


def _refuse_bf16(stage: StageSpec) -> None:
    """Numpy has no bfloat16, so the Python interface of onnxruntime cannot take it."""
    for spec in (*stage.inputs, *stage.computed):
        if spec.datatype == "BF16":
            raise BadInputError(
                f"{stage.model_file}: tensor {spec.name!r} is bfloat16, which the onnxruntime executor "
                f"cannot take. Cut the model elsewhere, or convert it to float32."
            )
