"""The simulator as the judge of a plan: the rates it holds, and its attainment at given rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.plan.dispatch import dispatch_table
from penstock.plan.plan import Plan
from penstock.plan.score import ModelScore, Score
from penstock.profile.table import Profile
from penstock.simulate.sweep import sweep
from penstock.simulate.trial import Trial

USUAL_LOAD = 0.97
"""Where the search for the held rate starts, of the planned one: most plans hold 0.9 to 1.0 of it."""


def evaluate(
    plan: Plan, profiles: Mapping[str, Profile], trial: Trial, *, target: float, tolerance: float = 0.005
) -> Score:
    """The rates at which each model of ``plan`` holds ``target``, all served at once, to ``tolerance``.

    Where models share pools, what one holds depends on what the others ask for: their rates are in proportion to
    the scenario's weights, or to the verified ones.
    """
    table = dispatch_table(plan, profiles)
    held = sweep(table, _first_rates(plan), trial, target=target, tolerance=tolerance)
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


def attainments(
    plan: Plan, profiles: Mapping[str, Profile], trial: Trial, rates_rps: Sequence[float]
) -> NDArray[np.float64]:
    """The share of each model's requests that are met at ``rates_rps``, over all seeds: (models,)."""
    missed, arrived = trial.counts(dispatch_table(plan, profiles), rates_rps)
    return np.asarray(1.0 - missed.sum(axis=0) / np.maximum(arrived.sum(axis=0), 1))
