"""A stage's sub-model in onnxruntime, on one core: a worker is one share of a device and no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.profile.session import open_session
from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.protocol.raw import Array
from penstock.serve.spec import StageSpec


@final
class OnnxRuntimeExecutor:
    """Runs ``stage.model_file`` on the CPU; created warm for batch 1 and the largest."""

    def __init__(self, stage: StageSpec) -> None:
        _refuse_bf16(stage)
        assert stage.model_file is not None, "the engine writes a sub-model for every stage that computes"
        # The session that profiles are measured with: other settings would serve another latency.
        self._session = open_session(Path(stage.model_file))
        self._outputs = [spec.name for spec in stage.computed]
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._warm_up(stage)

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """The sub-model's outputs."""
        feeds = {name: tensors[name] for name in self._inputs}
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))

    def _warm_up(self, stage: StageSpec) -> None:
        """The first run allocates and packs; no request should wait for it. Strings have no neutral value."""
        if any(spec.datatype == BYTES for spec in stage.inputs):
            return
        for size in {1, len(stage.latency_us) - 1}:
            zeros = {s.name: np.zeros(s.shape_of(size), numpy_dtype(s.datatype)) for s in stage.inputs}
            self.run(zeros, size)


def _refuse_bf16(stage: StageSpec) -> None:
    """Numpy has no bfloat16, so onnxruntime's Python interface cannot be fed with it."""
    for spec in (*stage.inputs, *stage.computed):
        if spec.datatype == "BF16":
            raise BadInputError(
                f"{stage.model_file}: tensor {spec.name!r} is bfloat16, which the onnxruntime executor "
                f"cannot take. Cut the model elsewhere, or convert it to float32."
            )
