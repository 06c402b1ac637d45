"""The largest load at which a plan holds a target attainment."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.api.results.plan_result import PlanResult
from penstock.api.showing.shown import Shown
from penstock.api.showing.tables import Part, table
from penstock.api.trials import any_rate, check_requests, check_share
from penstock.plan.interfaces import Score
from penstock.progress import task
from penstock.simulate.judge.evaluate import evaluate
from penstock.simulate.judge.trial import WARM_UP_SHARE, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Sweep:
    """How the largest load is searched.

    ``attainment``: the share of all arrived requests that must be met, between 0 and 1. ``seconds`` of arrivals in
    each of ``seeds`` runs; the first tenth is left out. ``tolerance``: relative width at which the search stops.
    """

    attainment: float
    policy: str
    arrivals: tuple[str, ...]
    seconds: float
    seeds: int
    noise: bool
    tolerance: float


@dataclass(frozen=True, repr=False)
class SweepResult(Shown):
    """For every model, the largest rate that holds the target, with its 95% interval over the seeds."""

    planned: PlanResult
    sweep: Sweep
    score: Score
    wall_seconds: float
    warnings: tuple[str, ...] = ()

    def parts(self) -> list[Part]:
        """One row a model."""
        return [
            table(
                f"Largest load that holds {self.sweep.attainment:.1%}",
                ["model", "planned/s", "load factor", "goodput/s", "95% interval", "attainment"],
                [
                    [
                        model.name,
                        f"{model.offered_rps:.1f}",
                        f"{one.held_rps / model.offered_rps:.3f}",
                        f"{one.held_rps:.1f}",
                        # One run has no interval.
                        f"{one.low_rps:.1f} - {one.high_rps:.1f}" if self.sweep.seeds > 1 else "-",
                        f"{one.attainment:.2%}",
                    ]
                    for model, one in zip(self.planned.plan.models, self.score.models, strict=True)
                ],
            )
        ]

    def document(self) -> dict[str, Any]:
        """The target, the least goodput per weight, and the models."""
        weights = [model.weight for model in self.planned.plan.scenario.models]
        return {
            "attainment": self.sweep.attainment,
            "goodput_per_weight_rps": self.score.goodput(weights),
            "models": self.records(),
            "wall_seconds": self.wall_seconds,
        }

    def records(self) -> list[dict[str, Any]]:
        """One row a model."""
        return [
            {
                "name": model.name,
                "load_factor": one.held_rps / model.offered_rps,
                "goodput_rps": one.held_rps,
                "low_rps": one.low_rps,
                "high_rps": one.high_rps,
                "attainment": one.attainment,
                "planned_rps": model.offered_rps,
            }
            for model, one in zip(self.planned.plan.models, self.score.models, strict=True)
        ]

    def plot(self) -> Figure:
        """The attainment at every load that was tried."""
        from penstock.api.showing.pictures import lines

        curves = {
            model.name: [(rate / model.offered_rps, 100 * share) for rate, share in one.curve]
            for model, one in zip(self.planned.plan.models, self.score.models, strict=True)
        }
        return lines(curves, "load factor", "attainment (%)", level=100 * self.sweep.attainment)


def sweep_plan(planned: PlanResult, asked: Sweep) -> SweepResult:
    """The largest load that ``planned`` holds. :class:`BadInputError` for a target, arrivals or policy out of range."""
    check_share("--attainment", asked.attainment)
    process = any_rate(asked.arrivals, [model.name for model in planned.plan.models])
    trial = Trial(process, asked.policy, asked.seconds, tuple(range(asked.seeds)), asked.noise)
    counted_s = asked.seconds * (1 - WARM_UP_SHARE) * asked.seeds
    check_requests(
        asked.attainment, {model.name: model.offered_rps for model in planned.plan.models}, counted_s
    )
    begin = time.perf_counter()
    with task("sweeping the load"):
        score = evaluate(
            planned.plan, planned.profiles, trial, target=asked.attainment, tolerance=asked.tolerance
        )
    return SweepResult(planned, asked, score, time.perf_counter() - begin, planned.warnings)
