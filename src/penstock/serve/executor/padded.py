"""Real results at the speed of a slower device: run another executor, then wait for the rest of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from penstock.clock import MonotonicClock
from penstock.serve.executor.base import Executor
from penstock.serve.executor.hold import hold_until
from penstock.serve.protocol.raw import Array


@final
class PaddedExecutor:
    """``inner``, but never faster than ``latency_us[size]``. If ``inner`` is slower, so is this."""

    def __init__(self, inner: Executor, latency_us: Sequence[int]) -> None:
        self._inner = inner
        self._latency_us = latency_us
        self._clock = MonotonicClock()

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """The inner executor's outputs, after the table's time."""
        until_us = self._clock.now_us() + self._latency_us[size]
        outputs = self._inner.run(tensors, size)
        hold_until(self._clock, until_us)
        return outputs

    def place(self, name: str, size: int) -> Array | None:
        """The inner executor's."""
        return self._inner.place(name, size)
