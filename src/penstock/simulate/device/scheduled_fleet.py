"""A scheduled plan simulated: every device runs every model under the device policy.

A request goes to the device with the least work left when it arrives. A device that takes turns works off its queue at
the same pace in any order, so the work left follows from the arrivals alone, and each device can then be
simulated by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace
from itertools import pairwise

import numpy as np

from penstock.arrays import F64, I64
from penstock.plan.documents.plan import Plan, ScheduledShare
from penstock.plan.interfaces import ModelScore, Score
from penstock.profile.table import Profile
from penstock.simulate.device.device_loop import NONE, QUEUE, Overheads
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import JobArrivals, SharedModel
from penstock.simulate.device.setups import Setup
from penstock.simulate.judge.sweep import sweep_together
from penstock.simulate.judge.trial import WARM_UP_SHARE, Trial
from penstock.traffic.arrivals import draw_arrivals
from penstock.units import us_from_seconds

USUAL_LOAD = 0.8
"""The share of the planned rate at which the search starts."""


def evaluate_scheduled(
    plan: Plan, profiles: Mapping[str, Profile], trial: Trial, *, target: float, tolerance: float
) -> Score:
    """The highest rates, in proportion to the planned ones, at which every model holds ``target``.

    Their 95% intervals are over the seeds of ``trial``.
    """
    first = [USUAL_LOAD * model.rate_rps for model in plan.models]
    found = sweep_together(
        lambda rates: _counts(plan, profiles, trial, rates), first, target=target, tolerance=tolerance
    )
    return Score(
        tuple(
            ModelScore(model.name, one.rate_rps, one.attainment, one.low_rps, one.high_rps, one.curve)
            for model, one in zip(plan.models, found, strict=True)
        )
    )


def scheduled_attainments(
    plan: Plan, profiles: Mapping[str, Profile], trial: Trial, rates_rps: Sequence[float]
) -> F64:
    """The share of each model's requests within the SLO, over all seeds, the warm-up left out: (models,)."""
    missed, arrived = _counts(plan, profiles, trial, rates_rps)
    return np.asarray(1.0 - missed.sum(axis=0) / np.maximum(arrived.sum(axis=0), 1))


def _counts(
    plan: Plan, profiles: Mapping[str, Profile], trial: Trial, rates_rps: Sequence[float]
) -> tuple[I64, I64]:
    """Requests missed and requests arrived after the warm-up, each int64 (seeds, models)."""
    models = len(plan.models)
    slo_us = np.array([model.slo_us for model in plan.models])
    missed, arrived = [], []
    for seed in trial.seeds:
        arrivals = draw_arrivals(trial.arrivals, rates_rps, trial.seconds, np.random.default_rng(seed))
        jobs = JobArrivals(arrivals.arrival_us.astype(np.float64), arrivals.model)
        end_us = run_scheduled(plan, profiles, jobs).end_us
        counted = arrivals.arrival_us >= us_from_seconds(trial.seconds * WARM_UP_SHARE)
        late = counted & (end_us - arrivals.arrival_us > slo_us[arrivals.model])
        missed.append(np.bincount(arrivals.model[late], minlength=models))
        arrived.append(np.bincount(arrivals.model[counted], minlength=models))
    return np.stack(missed), np.stack(arrived)


@dataclass(frozen=True)
class FleetRun:
    """What happened to each job (jobs,). ``device``: an index of the plan's ``devices``.

    ``start_us``: when its first segment was released. ``end_us``: infinite if the job was dropped.
    """

    device: I64
    start_us: F64
    end_us: F64


def run_scheduled(
    plan: Plan, profiles: Mapping[str, Profile], jobs: JobArrivals, overheads: Overheads = NONE
) -> FleetRun:
    """Run ``jobs`` on the devices of a scheduled plan."""
    share = plan.scheduled
    assert share is not None  # the caller looked
    setup = Setup(share.order, share.late, miss_budget=share.miss_budget)
    devices = plan.devices
    classes = {name for name, _ in devices}
    models = {name: _models(plan, share, profiles, name) for name in classes}
    device_of_job = _assign(jobs, [[model.own_us for model in models[name]] for name, _ in devices])
    start_us: F64 = jobs.arrival_us.copy()
    end_us: F64 = np.full(len(jobs.model), np.inf)
    for index, (name, _) in enumerate(devices):
        mine = np.flatnonzero(device_of_job == index)
        if len(mine):
            part = JobArrivals(jobs.arrival_us[mine], jobs.model[mine])
            record = setup.run(models[name], part, Interference(1.0), overheads=overheads)
            start_us[mine] += record.parts[QUEUE]
            end_us[mine] = record.end_us
    return FleetRun(device_of_job, start_us, end_us)


def _models(
    plan: Plan, share: ScheduledShare, profiles: Mapping[str, Profile], device_class: str
) -> list[SharedModel]:
    return [
        SharedModel(
            model.name,
            tuple(
                float(profiles[model.name].table(device_class, 1).span_us(start, stop)[0])
                for start, stop in pairwise(cut)
            ),
            slo_us=model.slo_us,
        )
        for model in plan.models
        for cut in [share.segments[device_class][model.name]]
    ]


def _assign(jobs: JobArrivals, own_us: Sequence[Sequence[float]]) -> I64:
    """The device of each job: the one that is free of work first. ``own_us`` by device and model."""
    free_at = [(0.0, device) for device in range(len(own_us))]
    heapify(free_at)
    chosen = np.zeros(len(jobs.model), np.int64)
    moments, models = jobs.arrival_us.tolist(), jobs.model.tolist()
    for job, (now_us, model) in enumerate(zip(moments, models, strict=True)):
        free_us, device = free_at[0]
        chosen[job] = device
        heapreplace(free_at, (max(free_us, now_us) + own_us[device][model], device))
    return chosen
