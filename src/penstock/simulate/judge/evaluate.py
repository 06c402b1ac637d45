"""The rates that a plan holds, and its attainment at given rates, by simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penstock.arrays import F64
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan
from penstock.plan.interfaces import ModelScore, Score
from penstock.profile.table import Profile
from penstock.simulate.device.scheduled_fleet import evaluate_scheduled, scheduled_attainments
from penstock.simulate.judge.sweep import FIRST_STEP, sweep
from penstock.simulate.judge.trial import Trial

NEAR_STEP = 0.01
"""The first step of a search that begins at a rate which is nearly held."""

USUAL_LOAD = 0.97
"""The share of the planned rate at which the search starts: most plans hold 0.9 to 1.0 of it."""


def evaluate(
    plan: Plan,
    profiles: Mapping[str, Profile],
    trial: Trial,
    *,
    target: float,
    tolerance: float = 0.005,
    near: Score | None = None,
) -> Score:
    """The rates at which each model of ``plan`` holds ``target``, all served at once, to ``tolerance``.

    If models share pools, the rate that one holds depends on the rates of the others. Their rates are then in
    proportion to the scenario's weights, or to the verified rates. ``near``: a score on fewer runs, to begin at.
    """
    if plan.scheduled is not None:
        return evaluate_scheduled(plan, profiles, trial, target=target, tolerance=tolerance)
    table = dispatch_table(plan, profiles)
    first, step = _first_rates(plan), FIRST_STEP
    if near is not None and all(model.held_rps > 0 for model in near.models):
        first, step = [model.held_rps for model in near.models], NEAR_STEP
    held = sweep(table, first, trial, target=target, tolerance=tolerance, first_step=step)
    return Score(
        tuple(
            ModelScore(model.name, one.rate_rps, one.attainment, one.low_rps, one.high_rps, one.curve)
            for model, one in zip(plan.models, held, strict=True)
        )
    )


def _first_rates(plan: Plan) -> list[float]:
    """Where the search for the held rates starts."""
    if all(model.verified is not None for model in plan.models):
        return [model.offered_rps for model in plan.models]
    if not plan.shared_pools:
        return [model.rate_rps * USUAL_LOAD for model in plan.models]
    weights = [model.weight for model in plan.scenario.models]
    least = min(model.rate_rps / weight for model, weight in zip(plan.models, weights, strict=True))
    return [USUAL_LOAD * least * weight for weight in weights]


def attainments(plan: Plan, profiles: Mapping[str, Profile], trial: Trial, rates_rps: Sequence[float]) -> F64:
    """The share of each model's requests that are met at ``rates_rps``, over all seeds: (models,)."""
    if plan.scheduled is not None:
        return scheduled_attainments(plan, profiles, trial, rates_rps)
    missed, arrived = trial.counts(dispatch_table(plan, profiles), rates_rps)
    return np.asarray(1.0 - missed.sum(axis=0) / np.maximum(arrived.sum(axis=0), 1))
