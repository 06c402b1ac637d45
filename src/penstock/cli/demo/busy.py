"""Whether other work on the machine slowed the demonstration's servers down: then its table would mislead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.cli.demo.trial import Trial
from penstock.report.findings.promises import stage_promises

TOLERATED = 1.3
"""A stage that ran so many times slower than profiled: its pool, at 0.8 of its rate, was overloaded."""


def slowdowns(trials: Sequence[Trial]) -> Iterator[str]:
    """A sentence for each stage that ran slower than profiled by more than :data:`TOLERATED`."""
    for trial in trials:
        for stage in stage_promises(trial.served, trial.plan):
            if stage.slower is not None and stage.slower > TOLERATED:
                yield (
                    f"this machine was busy: {trial.label}, {stage.label} ran {stage.slower:.1f} x slower than profiled"
                )
