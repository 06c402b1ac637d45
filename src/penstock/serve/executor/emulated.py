"""No computing: the batch is held for the table's time, and the outputs are zeros.

Whole fleets run on a laptop so, with real queues, transfers and answers. The server's metadata says so.
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
        # Batched tensors of every size are views of the largest: a hold costs no memory traffic.
        self._zeros = [(spec, _zeros(spec, largest)) for spec in stage.computed]

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """Zeros of the declared shapes, after the table's time."""
        until_us = self._clock.now_us() + self._latency_us[size]
        outputs = {
            spec.name: zeros[:size] if spec.is_batched else _zeros(spec, size) for spec, zeros in self._zeros
        }
        hold_until(self._clock, until_us)
        return outputs


def _zeros(spec: TensorSpec, samples: int) -> Array:
    shape = spec.shape_of(samples)
    if spec.datatype == BYTES:
        return np.full(shape, b"", dtype=object)
    zeros: Array = np.zeros(shape, numpy_dtype(spec.datatype))
    return zeros
