"""The executors by kind; a runtime is imported only if a stage asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.serve.executor.base import Executor
from penstock.serve.executor.emulated import EmulatedExecutor
from penstock.serve.executor.onnxruntime import OnnxRuntimeExecutor
from penstock.serve.executor.padded import PaddedExecutor
from penstock.serve.spec import StageSpec


def make_executors(stages: Sequence[StageSpec]) -> dict[tuple[int, tuple[int, int]], Executor]:
    """An executor for every piece of ``stages``, which share a device; each takes the largest batch of its stages."""
    by_batch = sorted(stages, key=lambda stage: len(stage.latency_us))
    return {piece: make_executor(stage) for piece, stage in {one.piece: one for one in by_batch}.items()}


def make_executor(stage: StageSpec) -> Executor:
    """The executor that ``stage`` asks for, loaded and warmed up."""
    if stage.executor == "emulated":
        return EmulatedExecutor(stage)
    if stage.executor == "torch":
        from penstock.serve.executor.torch import TorchExecutor

        return TorchExecutor(stage)
    if stage.executor == "padded":
        return PaddedExecutor(OnnxRuntimeExecutor(stage), stage.latency_us)
    return OnnxRuntimeExecutor(stage)
