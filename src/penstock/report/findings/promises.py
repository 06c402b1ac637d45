"""What the plan promised for each stage, and what the run did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from penstock.plan.documents.plan import Plan, StagePlan
from penstock.record import Record
from penstock.report.findings.counted import counted_window
from penstock.units import US_PER_S


@dataclass(frozen=True)
class StagePromise:
    """One stage. ``actual_us``: the median time of its batches of the planned size, None if there was none.

    ``sizes``: how many batches had 1, 2, ... samples; index 0 is size 1. ``units_rps``: samples per second.
    """

    model: str
    pipeline: int
    stage: int
    plan: StagePlan
    actual_us: float | None
    units_rps: float
    sizes: tuple[int, ...]

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return f"{self.model} p{self.pipeline} s{self.stage}"

    @property
    def batches(self) -> int:
        """How many batches left the stage."""
        return sum(self.sizes)

    @property
    def mean_batch(self) -> float:
        """The mean size of its batches, 0 if there was none."""
        return sum(size * count for size, count in enumerate(self.sizes, 1)) / max(self.batches, 1)

    @property
    def slower(self) -> float | None:
        """Actual over promised time of a full batch, None if there was none."""
        return None if self.actual_us is None else self.actual_us / self.plan.inference_us


def stage_promises(record: Record, plan: Plan) -> list[StagePromise]:
    """Every stage of ``plan``, in its order, over the batches that started in the counted window."""
    return list(_stages(record, plan))


def _stages(record: Record, plan: Plan) -> Iterator[StagePromise]:
    start_us, stop_us = counted_window(record)
    batches = record.batches
    inside = (batches.start_us >= start_us) & (batches.start_us < stop_us)
    for model in plan.models:
        index = record.models.index(model.name)
        for number, pipeline in enumerate(model.pipelines):
            own = inside & (batches.model == index) & (batches.pipeline == number)
            for place, stage in enumerate(pipeline.stages):
                rows = np.flatnonzero(own & (batches.stage == place))
                size = batches.size[rows]
                took_us = (batches.end_us - batches.start_us)[rows][size == stage.piece]
                yield StagePromise(
                    model=model.name,
                    pipeline=number,
                    stage=place,
                    plan=stage,
                    actual_us=float(np.median(took_us)) if took_us.size else None,
                    units_rps=float(size.sum()) * US_PER_S / (stop_us - start_us),
                    sizes=tuple(int(n) for n in np.bincount(size, minlength=stage.piece + 1)[1:]),
                )
