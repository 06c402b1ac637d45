"""The executors by kind; onnxruntime is imported only where a stage asks for it."""

from __future__ import annotations

from penstock.serve.executor.base import Executor
from penstock.serve.executor.emulated import EmulatedExecutor
from penstock.serve.executor.onnxruntime import OnnxRuntimeExecutor
from penstock.serve.executor.padded import PaddedExecutor
from penstock.serve.spec import StageSpec


def make_executor(stage: StageSpec) -> Executor:
    """The executor that ``stage`` asks for, loaded and warm."""
    if stage.executor == "emulated":
        return EmulatedExecutor(stage)
    if stage.executor == "padded":
        return PaddedExecutor(OnnxRuntimeExecutor(stage), stage.latency_us)
    return OnnxRuntimeExecutor(stage)
