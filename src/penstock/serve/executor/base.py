"""The seam between a worker and what computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from penstock.serve.protocol.raw import Array
from penstock.serve.spec import StageSpec


class Executor(Protocol):
    """Computes one stage of a model, one batch at a time."""

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """The stage's computed tensors by name, for a batch of ``size`` samples with its inputs by name.

        Any exception fails this batch and no other.
        """
        ...


def make_executor(stage: StageSpec) -> Executor:
    """The executor that ``stage`` asks for, loaded and warm."""
    from penstock.serve.executor.emulated import EmulatedExecutor
    from penstock.serve.executor.onnxruntime import OnnxRuntimeExecutor
    from penstock.serve.executor.padded import PaddedExecutor

    if stage.executor == "emulated":
        return EmulatedExecutor(stage)
    if stage.executor == "padded":
        return PaddedExecutor(OnnxRuntimeExecutor(stage), stage.latency_us)
    return OnnxRuntimeExecutor(stage)
