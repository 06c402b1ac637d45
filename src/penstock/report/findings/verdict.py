"""The verdict on each model of a run: does it hold its target, and if not, where its requests were lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from penstock.plan.documents.plan import Plan
from penstock.record import Outcome, Record
from penstock.report.findings.batch_rows import BatchRows
from penstock.report.findings.counted import counted_rows, counted_window
from penstock.report.summary import ModelSummary, summarise

DEFAULT_TARGET = 0.99
"""The attainment asked for if the plan does not state one."""

_WORDS = {
    Outcome.LATE: "answered late",
    Outcome.DROPPED_EARLY: "dropped early",
    Outcome.DROPPED_DEADLINE: "dropped at the deadline",
    Outcome.ERROR: "answered with an error",
}


@dataclass(frozen=True)
class Loss:
    """Requests of one model that missed, by cause and place. ``points``: per cent of the model's judged requests."""

    cause: str
    place: str
    points: float


@dataclass(frozen=True)
class Verdict:
    """One model of one run against ``target``. ``losses``: the largest first."""

    summary: ModelSummary
    target: float
    planned_rps: float | None
    losses: tuple[Loss, ...]

    @property
    def holds(self) -> bool:
        """Whether the attainment reaches the target."""
        return self.summary.attainment >= self.target

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        name, share = self.summary.name, self.summary.attainment
        if not self.summary.requests:
            return f"{name}: no request counts."
        if self.holds:
            return f"{name} holds {100 * self.target:g}%: {share:.2%} of its requests met their SLO."
        missing = 100 * (self.target - share)
        amount = f"{missing:.1f}" if missing >= 0.1 else "less than 0.1"
        main = f": {self.losses[0].cause} {self.losses[0].place}" if self.losses else ""
        return f"{name} misses {100 * self.target:g}% by {amount} points{main}."


def target_of(plan: Plan | None) -> float:
    """The attainment asked of a run of ``plan``: the one that it was verified for, or the default."""
    return plan.verification.target if plan is not None and plan.verification else DEFAULT_TARGET


def verdicts(record: Record, plan: Plan | None) -> list[Verdict]:
    """A verdict on every model of ``record``, in its order."""
    start_us, stop_us = counted_window(record)
    rows = BatchRows(record.batches)
    planned = {model.name: model.offered_rps for model in plan.models} if plan is not None else {}
    target = target_of(plan)
    return [
        Verdict(
            summary, target, planned.get(summary.name), tuple(_losses(record, rows, index, summary.judged))
        )
        for index, summary in enumerate(summarise(record, start_us=start_us, stop_us=stop_us))
    ]


def _losses(record: Record, rows: BatchRows, model: int, total: int) -> Iterator[Loss]:
    requests = record.requests
    inside = counted_rows(record, model)
    counts: dict[tuple[Outcome, int], int] = {}
    for outcome in _WORDS:
        batch = requests.batch[inside & (requests.outcome == outcome)]
        last = rows.last(batch)
        stage = np.where(last >= 0, record.batches.stage[last] if record.batches.stage.size else -1, -1)
        for value, count in zip(*np.unique(stage, return_counts=True), strict=True):
            counts[outcome, int(value)] = int(count)
    for (outcome, stage_left), count in sorted(counts.items(), key=lambda one: -one[1]):
        yield Loss(_WORDS[outcome], _place(outcome, stage_left), 100 * count / max(total, 1))


def _place(outcome: Outcome, stage_left: int) -> str:
    """Where a request was lost. ``stage_left``: the last stage that its batch left, -1 if none."""
    if outcome is Outcome.LATE:
        return f"after stage {stage_left}"
    return "before stage 0" if stage_left < 0 else f"after stage {stage_left}, before the next"
