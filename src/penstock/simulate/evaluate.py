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
    """The rates at which each model of ``plan`` holds ``target``, all served at once, to ``tolerance``."""
    first = [
        model.rate_rps * USUAL_LOAD if model.verified is None else model.verified.rate_rps
        for model in plan.models
    ]
    held = sweep(dispatch_table(plan, profiles), first, trial, target=target, tolerance=tolerance)
    return Score(
        tuple(
            ModelScore(model.name, one.rate_rps, one.attainment, one.low_rps, one.high_rps, one.curve)
            for model, one in zip(plan.models, held, strict=True)
        )
    )


def attainments(
    plan: Plan, profiles: Mapping[str, Profile], trial: Trial, rates_rps: Sequence[float]
) -> NDArray[np.float64]:
    """The share of each model's requests that are met at ``rates_rps``, over all seeds: (models,)."""
    missed, arrived = trial.counts(dispatch_table(plan, profiles), rates_rps)
    return np.asarray(1.0 - missed.sum(axis=0) / np.maximum(arrived.sum(axis=0), 1))
