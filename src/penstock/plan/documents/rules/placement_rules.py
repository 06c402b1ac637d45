"""Rules of the placement: every worker has a place on a device in service, and no device is given out twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction

from penstock.plan.documents.plan import Plan, WorkerPlacement
from penstock.plan.documents.rules.memory_rules import check_memory, check_pools
from penstock.profile.table import Profile


def check_placement(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    """Every worker has one place, and no device is used twice."""
    wanted = [
        (model.name, p, s, slot, stage.device_class, stage.share)
        for model in plan.models
        for p, pipeline in enumerate(model.pipelines)
        for s, stage in enumerate(pipeline.stages)
        for slot in range(stage.workers)
    ]
    given = [(w.model, w.pipeline, w.stage, w.slot, w.device_class, w.share) for w in plan.placement]
    if given != wanted:
        k = next((k for k, pair in enumerate(zip(given, wanted, strict=False)) if pair[0] != pair[1]), None)
        if k is None:
            yield f"placement: {len(given)} workers are placed, the plan has {len(wanted)}"
        else:
            yield f"placement, entry {k}: holds {given[k]}, the plan's worker {k} is {wanted[k]}"
    for k, worker in enumerate(plan.placement):
        if worker.worker != k:
            yield f"placement, entry {k}: worker {worker.worker}, workers count up from 0 in order"
    yield from _check_devices(plan, profiles)


def _check_devices(plan: Plan, profiles: Mapping[str, Profile]) -> Iterator[str]:
    devices: dict[tuple[str, int], list[WorkerPlacement]] = defaultdict(list)
    for worker in plan.placement:
        spec = plan.scenario.cluster.device_classes.get(worker.device_class)
        if spec is None:
            continue  # reported with its stage
        devices[worker.device_class, worker.device].append(worker)
        if worker.device >= spec.count:
            yield (
                f"worker {worker.worker}: device {worker.device} of {worker.device_class}, the cluster has "
                f"{spec.count} (0 to {spec.count - 1})"
            )
        if worker.device in spec.lost:
            yield f"worker {worker.worker}: device {worker.device} of {worker.device_class} is lost"
        if worker.host != worker.device // spec.per_host:
            yield (
                f"worker {worker.worker}: host {worker.host} of {worker.device_class}, but device "
                f"{worker.device} is in host {worker.device // spec.per_host}"
            )
    for (device_class, device), workers in sorted(devices.items()):
        where = f"device {device} of {device_class}"
        names = ", ".join(f"{w.worker} ({w.model}, 1/{w.share})" for w in workers)
        if sum(Fraction(1, w.share) for w in workers) > 1:
            yield f"{where} is double booked: workers {names} take more than the whole of it"
        if not plan.scenario.planner.share_devices and len({(w.model, w.stage) for w in workers}) > 1:
            yield f"{where} is shared by different models or stage positions: workers {names}"
        if not plan.shared_pools:
            yield from check_memory(where, workers, plan, profiles)
    if plan.shared_pools:
        yield from check_pools(plan, profiles)
