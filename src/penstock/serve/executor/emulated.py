"""An executor that computes nothing: it holds the batch for the time of the table and returns zeros.

So a laptop can run a whole fleet with real queues, transfers and answers. The metadata of the server says that models
are emulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np

from penstock.clock import MonotonicClock
from penstock.serve.executor.hold import hold_until
from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.protocol.raw import Array
from penstock.serve.spec import StageSpec, TensorSpec


@final
class EmulatedExecutor:
    """Holds a batch of n for ``stage.latency_us[n]``."""

    def __init__(self, stage: StageSpec) -> None:
        self._clock = MonotonicClock()
        self._latency_us = stage.latency_us
        largest = len(stage.latency_us) - 1
        # Outputs of every batch size are views of the largest one, so that nothing is written while a batch is held.
        self._zeros = [(spec, zeros_of(spec, largest)) for spec in stage.computed]

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """Zeros of the declared shapes, after the table's time."""
        until_us = self._clock.now_us() + self._latency_us[size]
        outputs = {
            spec.name: zeros[:size] if spec.is_batched else zeros_of(spec, size)
            for spec, zeros in self._zeros
        }
        hold_until(self._clock, until_us)
        return outputs

    def place(self, name: str, size: int) -> Array | None:
        """Anywhere: no device has memory of its own here."""
        return None


def zeros_of(spec: TensorSpec, samples: int) -> Array:
    """A tensor of zeros, or of empty strings, for a batch of ``samples``."""
    shape = spec.shape_of(samples)
    if spec.datatype == BYTES:
        return np.full(shape, b"", dtype=object)
    zeros: Array = np.zeros(shape, numpy_dtype(spec.datatype))
    return zeros
