"""The product's simulator against the one of this folder, request by request, on a plan with split stages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.arrays import F64
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan
from penstock.profile.table import Profile
from penstock.simulate.judge.trial import WARM_UP_SHARE, Trial
from penstock.traffic.arrivals import draw_arrivals
from penstock.units import transfer_us, us_from_seconds
from rebatch_parts.split_simulator import counts, split_table

LOAD = 0.97


def check(plan: Plan, profiles: Mapping[str, Profile], trial: Trial) -> tuple[int, int]:
    """Requests missed and requests arrived by both, on the first seed of ``trial``. Ends the script if they differ."""
    table = dispatch_table(plan, profiles)
    rates = [LOAD * model.rate_rps for model in plan.models]
    rng = np.random.default_rng(trial.seeds[0])
    arrivals = draw_arrivals(trial.arrivals, rates, trial.seconds, rng)
    ours = split_table(
        table, table.pipeline_batch, table.piece_batch, table.latency_us, _samples_us(plan, profiles)
    )
    missed, arrived = counts(ours, arrivals, us_from_seconds(trial.seconds * WARM_UP_SHARE))
    theirs = trial.counts(table, rates)
    if (missed != theirs[0][0]).any() or (arrived != theirs[1][0]).any():
        raise SystemExit(
            f"the simulators differ: missed {missed.tolist()} and {theirs[0][0].tolist()} of {arrived.tolist()}."
        )
    return int(missed.sum()), int(arrived.sum())


def _samples_us(plan: Plan, profiles: Mapping[str, Profile]) -> F64:
    """The time to receive a sample, for every stage: (stages,)."""
    found = []
    for model in plan.models:
        for pipeline in model.pipelines:
            found.append(0.0)
            for sender, receiver in zip(pipeline.stages, pipeline.stages[1:], strict=False):
                gbps = plan.scenario.cluster.link_gbps(sender.device_class, receiver.device_class)
                found.append(transfer_us(profiles[model.name].boundary_bytes[receiver.blocks[0]], gbps))
    return np.array(found)
