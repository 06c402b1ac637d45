"""What power a plan draws: watts of its devices at the planned rates, and joules of a request.

A device always draws its idle power. While its workers compute, it also draws the difference to its busy power.
A worker on 1/n of a device is busy for its stage's inference time per batch, and then it uses 1/n of the device. So
the busy part is linear in the rate. The idle part is divided among the device's workers by share.

The objective ``energy`` counts busy power instead, as if every device in use computed all the time. That is an upper
bound of the power here, and it is linear in devices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from penstock.cluster import DevicePower
from penstock.plan.documents.plan import ModelPlan, Plan, WorkerPlacement
from penstock.units import US_PER_S


@dataclass(frozen=True)
class PlanPower:
    """``planned_w``: power at the planned rates. ``busy_w``: power if all devices in use computed all the time.

    ``joules``: energy of one request, by model: the power of its workers at the planned rates, divided by its rate.
    """

    planned_w: float
    busy_w: float
    joules: dict[str, float]


def plan_power(plan: Plan) -> PlanPower | None:
    """The power of ``plan``. None if a device class in use has no ``power_w``. Unused devices count 0."""
    classes = plan.scenario.cluster.device_classes
    power = {name: spec.power_w for name, spec in classes.items()}
    used = {(worker.device_class, worker.device) for worker in plan.placement}
    if any(power[name] is None for name, _ in used):
        return None
    drawn: dict[str, float] = defaultdict(float)
    for worker, each in _worker_power(plan, {name: one for name, one in power.items() if one is not None}):
        drawn[worker.model] += each
    rates = {model.name: model.rate_rps for model in plan.models}
    return PlanPower(
        planned_w=sum(drawn.values()),
        busy_w=sum(one.busy for name, _ in used if (one := power[name]) is not None),
        joules={name: watts / rates[name] for name, watts in drawn.items()},
    )


def _worker_power(plan: Plan, power: dict[str, DevicePower]) -> Iterator[tuple[WorkerPlacement, float]]:
    """Each worker's part of its device's power."""
    models = {model.name: model for model in plan.models}
    held: dict[tuple[str, int], Fraction] = defaultdict(Fraction)
    for worker in plan.placement:
        held[worker.device_class, worker.device] += Fraction(1, worker.share)
    for worker in plan.placement:
        one = power[worker.device_class]
        part = float(Fraction(1, worker.share) / held[worker.device_class, worker.device])
        busy = _busy_part(models[worker.model], worker) / worker.share
        yield worker, one.idle * part + (one.busy - one.idle) * busy


def _busy_part(model: ModelPlan, worker: WorkerPlacement) -> float:
    """The part of the time that a worker computes, if full batches come at the planned rate."""
    pipeline = model.pipelines[worker.pipeline]
    stage = pipeline.stages[worker.stage]
    # As if each piece of a split stage were the largest: the others are smaller by one request.
    pieces_per_s = pipeline.rate_rps / stage.batch * stage.pieces / stage.workers
    return min(pieces_per_s * stage.inference_us / US_PER_S, 1.0)
