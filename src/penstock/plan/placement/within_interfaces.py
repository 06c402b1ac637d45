"""Places and rates where the stages of a plan keep to no equal part of their hosts' interfaces.

Workers and places come first (:mod:`penstock.plan.placement.balanced_hosts`). Then a linear program over the pipelines'
rates says what the plan serves, with one row for each uplink and downlink that full rates would overload:

    rate of a pipeline <= what it is to serve
    sum over pipelines of rate * (part of the workers on the host) * (transfer time of a sample) <= 1

The work of a stage is spread evenly over its workers. The program first maximises the least rate / weight of the
models, then the sum of all rate / weight.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from penstock.arrays import F64
from penstock.plan.documents.plan import ModelPlan, WorkerPlacement
from penstock.plan.documents.scenario import Scenario
from penstock.plan.highs import Rows, run, values
from penstock.plan.placement.balanced_hosts import Moves, balanced_homes
from penstock.plan.placement.seats import StageKey, number_workers
from penstock.profile.table import Profile
from penstock.units import US_PER_S, transfer_us

ROUNDING = 1e-9
"""An interface is full only if it is overloaded by more. A pipeline is idle if it serves less of its model's rate."""


def placed_within_interfaces(
    models: Sequence[ModelPlan], scenario: Scenario, profiles: Mapping[str, Profile]
) -> tuple[list[ModelPlan], list[WorkerPlacement]]:
    """``models`` at the rates that their hosts' interfaces carry, and a place for every worker.

    The ``rate_rps`` of a stage of ``models`` is that of its workers' inference alone, and a pipeline's is the most that
    it is to serve. If no interface is overloaded, it keeps exactly this rate. A pipeline for which the interfaces have
    nothing left is left out, and its workers too. Raises :class:`penstock.errors.InfeasibleError` if a class has too
    few devices.
    """
    moved = _moved_by_a_worker(models, scenario, profiles)
    share_devices = scenario.planner.share_devices
    homes = balanced_homes(models, scenario.cluster, moved, share_devices=share_devices)
    placement = list(number_workers(models, scenario.cluster, homes))
    weights = [model.weight for model in scenario.models]
    rates = _rates(models, weights, _overloads(models, placement, moved))
    return _at_rates(models, placement, rates)


def _moved_by_a_worker(
    models: Sequence[ModelPlan], scenario: Scenario, profiles: Mapping[str, Profile]
) -> dict[StageKey, Moves]:
    """What one worker of each stage receives and sends, at the rate of its pipeline."""
    moved: dict[StageKey, Moves] = {}
    for m, model in enumerate(models):
        boundary_bytes = profiles[model.name].boundary_bytes
        for p, pipeline in enumerate(model.pipelines):
            stages, most_rps = pipeline.stages, pipeline.rate_rps
            between_us = [
                transfer_us(
                    boundary_bytes[receiver.blocks[0]],
                    scenario.cluster.link_gbps(sender.device_class, receiver.device_class),
                )
                for sender, receiver in pairwise(stages)
            ]
            sample_us = [0.0, *between_us, 0.0]
            for s, stage in enumerate(stages):
                each = most_rps / stage.workers / US_PER_S
                moved[m, p, s] = each * sample_us[s], each * sample_us[s + 1]
    return moved


def _overloads(
    models: Sequence[ModelPlan], placement: Sequence[WorkerPlacement], moved: Mapping[StageKey, Moves]
) -> list[F64]:
    """What each pipeline moves at its rate: (pipelines,), for each overloaded interface."""
    number = {model.name: m for m, model in enumerate(models)}
    column = {pipeline: k for k, pipeline in enumerate(_pipelines(models))}
    loads: dict[tuple[str, int, int], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for worker in placement:
        pipeline = number[worker.model], worker.pipeline
        for direction, load in enumerate(moved[(*pipeline, worker.stage)]):
            if load:
                loads[worker.device_class, worker.host, direction][column[pipeline]] += load
    overloaded = [parts for parts in loads.values() if sum(parts.values()) > 1 + ROUNDING]
    return [np.array([parts.get(k, 0.0) for k in range(len(column))]) for parts in overloaded]


def _pipelines(models: Sequence[ModelPlan]) -> list[tuple[int, int]]:
    """The pipelines of all models, as (model, number in the model)."""
    return [(m, p) for m, model in enumerate(models) for p in range(len(model.pipelines))]


def _rates(models: Sequence[ModelPlan], weights: Sequence[float], overloads: Sequence[F64]) -> F64:
    """The rates that the overloaded interfaces leave to the pipelines: (pipelines,).

    Columns are parts of what a pipeline could serve if it had all interfaces to itself. So the solver's absolute
    tolerances fit however slow the network is.
    """
    owner = np.array([m for m, _ in _pipelines(models)])
    asked = np.array([models[m].pipelines[p].rate_rps for m, p in _pipelines(models)])
    if not overloads:
        return asked
    loads = np.array(overloads)
    alone = np.maximum(loads.max(axis=0), 1.0)
    most, loads = asked / alone, loads / alone
    value = most / np.array(weights)[owner]
    unit = np.bincount(owner, weights=value).min()
    rows = Rows()
    parts = [rows.column(upper=1.0) for _ in asked]
    least = rows.column(cost=1.0, upper=1.0)
    for m in range(len(models)):
        own = np.flatnonzero(owner == m).tolist()
        rows.row([(least, -1.0), *((parts[k], float(value[k] / unit)) for k in own)], lower=0.0)
    for load in loads:
        rows.row([(parts[k], float(load[k])) for k in np.flatnonzero(load).tolist()], upper=1.0)
    reached = float(_solved(rows)[least])
    rows.row([(least, 1.0)], lower=reached * (1 - ROUNDING))
    rows.cost = [*(value / value.mean()).tolist(), 0.0]
    part = np.clip(_solved(rows)[: len(asked)], 0.0, 1.0)
    for load in loads:  # what the solver's tolerance let pass
        part = np.where(load > 0, part / max(float(load @ part), 1.0), part)
    return np.asarray(part * most)


def _solved(rows: Rows) -> F64:
    solver = run(rows)
    if not solver.is_optimal:
        raise RuntimeError("the solver did not solve the linear program over the rates of pipelines")
    return values(solver, len(rows.cost))


def _at_rates(
    models: Sequence[ModelPlan], placement: Sequence[WorkerPlacement], rates: F64
) -> tuple[list[ModelPlan], list[WorkerPlacement]]:
    """Models with these ``rates`` of their pipelines, and the placement, without the pipelines that serve nothing."""
    if rates.tolist() == [models[m].pipelines[p].rate_rps for m, p in _pipelines(models)]:
        return list(models), list(placement)
    own = np.split(rates, np.cumsum([len(model.pipelines) for model in models])[:-1])
    kept, moved_up = [], {}
    for model, rate in zip(models, own, strict=True):
        serving = np.flatnonzero(rate > ROUNDING * rate.sum()).tolist()
        pipelines = [model.pipelines[p].edited(rate_rps=float(rate[p])) for p in serving]
        kept.append(model.edited(rate_rps=sum(p.rate_rps for p in pipelines), pipelines=pipelines))
        moved_up.update({(model.name, p): position for position, p in enumerate(serving)})
    if len(moved_up) == len(rates):
        return kept, list(placement)
    left = [worker for worker in placement if (worker.model, worker.pipeline) in moved_up]
    return kept, [
        worker.edited(worker=k, pipeline=moved_up[worker.model, worker.pipeline])
        for k, worker in enumerate(left)
    ]
