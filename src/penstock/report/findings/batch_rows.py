"""The rows of a record's batches, found by batch and stage."""

from __future__ import annotations

from typing import final

import numpy as np

from penstock.arrays import I64
from penstock.record import Batches


@final
class BatchRows:
    """An index over ``batches``: the row of each (batch, stage)."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        # By end within a stage: the last row is that of the piece that ended last, if the stage is split.
        self._order = np.lexsort((batches.end_us, batches.stage, batches.batch))
        self._batch = batches.batch[self._order]
        self._stage = batches.stage[self._order]

    def first(self, batch: I64) -> I64:
        """The first row of each of ``batch``, (n,); -1 for a batch that has none."""
        return self._at(batch, np.searchsorted(self._batch, batch))

    def last(self, batch: I64) -> I64:
        """The row of the last stage that each of ``batch`` left, (n,); -1 for a batch that has none."""
        return self._at(batch, np.searchsorted(self._batch, batch, side="right") - 1)

    def stage(self, batch: I64, stage: int) -> I64:
        """The row of each of ``batch`` at ``stage``, (n,); -1 if it did not leave that stage."""
        first = np.searchsorted(self._batch, batch)
        found = np.full(len(batch), -1, np.int64)
        stop = np.searchsorted(self._batch, batch, side="right")
        # A pipeline has few stages, so a short walk finds the stage.
        for step in range(int((stop - first).max(initial=0))):
            at = np.minimum(first + step, len(self._batch) - 1)
            hit = (first + step < stop) & (self._stage[at] == stage)
            found[hit] = self._order[at[hit]]
        return found

    def _at(self, batch: I64, position: I64) -> I64:
        if not len(self._batch):
            return np.full(len(batch), -1, np.int64)
        inside = np.clip(position, 0, len(self._batch) - 1)
        rows: I64 = np.where(self._batch[inside] == batch, self._order[inside], -1)
        return rows
