"""The record of a simulated scheduled plan, in the columns of every record.

A job is a batch of one at one stage. The worker is a device, as in the record of the live server. The time of a batch
is from the release of its first segment to its end. So the batches of a device overlap: in between, other jobs had
their turns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.plan.documents.plan import Plan
from penstock.profile.table import Profile
from penstock.record import Batches, Outcome, Record, Requests
from penstock.simulate.device.device_loop import Overheads
from penstock.simulate.device.mixes import JobArrivals
from penstock.simulate.device.scheduled_fleet import run_scheduled
from penstock.traffic.arrivals import Arrivals


def simulate_scheduled(
    plan: Plan,
    profiles: Mapping[str, Profile],
    arrivals: Arrivals,
    *,
    dispatch_us: int = 0,
    overhead_us: int = 0,
) -> Record:
    """What happens when ``arrivals`` meet a scheduled plan; latencies are the profile's medians.

    ``dispatch_us`` passes before each segment, ``overhead_us`` is added to each request's finish. Raises
    :class:`BadInputError` for requests with SLOs of their own: the device policy has one for each model.
    """
    if arrivals.slo_us is not None:
        raise BadInputError(
            "arrivals: slo_us is given for each request, but models that take turns have one SLO each. Leave it out."
        )
    jobs = JobArrivals(arrivals.arrival_us.astype(np.float64), arrivals.model)
    run = run_scheduled(plan, profiles, jobs, Overheads(decide_us=float(dispatch_us)))
    is_done = np.isfinite(run.end_us)
    end_us = np.full(len(jobs.model), -1, np.int64)
    end_us[is_done] = np.ceil(run.end_us[is_done]).astype(np.int64)
    slo_us = np.array([model.slo_us for model in plan.models], np.int64)
    deadline_us = arrivals.arrival_us + slo_us[arrivals.model]
    finish_us = np.where(is_done, end_us + overhead_us, -1)
    outcome = np.where(finish_us <= deadline_us, int(Outcome.MET), int(Outcome.LATE))
    number = np.arange(len(jobs.model), dtype=np.int64)
    pipeline = _pipelines(plan, run.device, arrivals.model)
    done = np.flatnonzero(is_done)
    zeros = np.zeros(len(done), np.int64)
    return Record(
        models=tuple(model.name for model in plan.models),
        requests=Requests(
            model=arrivals.model,
            request=number,
            arrival_us=arrivals.arrival_us,
            deadline_us=deadline_us,
            pipeline=np.where(is_done, pipeline, -1),
            batch=np.where(is_done, number, -1),
            finish_us=finish_us,
            outcome=np.where(is_done, outcome, int(Outcome.DROPPED_DEADLINE)),
        ),
        batches=Batches(
            batch=done,
            model=arrivals.model[done],
            pipeline=pipeline[done],
            stage=zeros,
            worker=run.device[done],
            size=zeros + 1,
            queued_us=arrivals.arrival_us[done],
            start_us=np.floor(run.start_us[done]).astype(np.int64),
            end_us=end_us[done],
            transfer_us=zeros,
        ),
        source="simulated",
    )


def _pipelines(plan: Plan, device: I64, model: I64) -> I64:
    """The pipeline of each job: that of its model on the class of its device."""
    classes = [
        {pipeline.stages[0].device_class: number for number, pipeline in enumerate(own.pipelines)}
        for own in plan.models
    ]
    of = np.array([[own[name] for own in classes] for name, _ in plan.devices], np.int64)
    return of[device, model]
