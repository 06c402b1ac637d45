"""The ground truth as a generator: what fitted generators are compared with, behind the same protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock.traffic.generator.protocol import draw_classes
from penstock.traffic.streams import Streams, join_streams, select_streams
from penstock.traffic.truth.simulate_truth import HOUR_US, TRUTH_CLASSES, simulate_truth


@dataclass(frozen=True)
class TruthGenerator:
    """Samples of one hour of ``machine``; two of different ``world`` have no stream in common."""

    machine: str
    shares: Mapping[str, float]
    hour: int = 10
    world: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes of the machine."""
        return TRUTH_CLASSES[self.machine]

    @property
    def window_us(self) -> int:
        """An hour."""
        return HOUR_US

    def sample(self, streams: int, seed: int, *, mix: Mapping[str, float] | None = None) -> Streams:
        """As :meth:`penstock.traffic.generator.protocol.Generator.sample`."""
        shares = {name: self.shares.get(name, 0.0) for name in self.classes}
        klass = draw_classes(shares, mix, streams, seed)
        parts = [
            simulate_truth(self.machine, count, self.classes[code], self.hour, self.world * 1_000_003 + seed)
            for code, count in enumerate(np.bincount(klass).tolist())
            if count
        ]
        # The parts hold the classes one after another; the j-th stream of a class goes to the j-th place of that
        # class.
        places = np.argsort(klass, kind="stable")
        order = np.empty(streams, np.int64)
        order[places] = np.arange(streams)
        return select_streams(join_streams(parts), order)
