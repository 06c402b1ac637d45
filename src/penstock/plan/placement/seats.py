"""Placement: every worker of a plan on a share of a device, every device in a host.

A group is a set of workers that may share devices: all of a device class, or, by the published rule (Kong et al.,
"PPipe", USENIX ATC 2025, planning), those of one (model, stage position, device class). Each group takes the
fewest whole devices that hold it (:mod:`penstock.plan.exact.packing`). Within a group, devices full of one stage's
workers come first. Left-over workers of one stage stay together, so that few devices are mixed.

The order matters for the network, because the workers of a host share it. A group's devices go round-robin over
hosts, and a stage's slots go round-robin over its devices. So consecutive workers do not share an
interface, and a group's traffic is spread as evenly as the fleet allows.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from penstock.cluster import Cluster
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import ModelPlan, WorkerPlacement
from penstock.plan.exact.packing import pack
from penstock.plan.templates.fleet import device_owner

StageKey = tuple[int, int, int]
"""Model index, pipeline, stage."""

Homes = dict[StageKey, list[tuple[int, int]]]
"""The places of each stage's workers: how many workers of lower number the device holds, and the device."""

_Group = tuple[str, int, int]
"""Device class, then the owner: model index and stage position. (0, 0) if all workers may share devices."""


@dataclass(frozen=True)
class Worker:
    """A worker before it has a place."""

    stage_key: StageKey
    share: int


def place(
    models: Sequence[ModelPlan], cluster: Cluster, *, share_devices: bool = False
) -> list[WorkerPlacement]:
    """A place for every worker of ``models``, in worker order (models, pipelines, stages, slots).

    Raises :class:`InfeasibleError` if a class has too few devices. It names the class and the number needed.
    """
    homes: Homes = defaultdict(list)
    for device_class, devices in packed_devices(models, cluster, share_devices=share_devices).items():
        for device, number in zip(devices, spread_order(cluster, device_class), strict=False):
            seat(device, number, homes)
    return list(number_workers(models, cluster, homes))


def packed_devices(
    models: Sequence[ModelPlan], cluster: Cluster, *, share_devices: bool
) -> dict[str, list[list[Worker]]]:
    """The workers of each device that ``models`` need, by class. Raises :class:`InfeasibleError` as :func:`place`."""
    packed: dict[str, list[list[Worker]]] = defaultdict(list)
    for (device_class, _, _), workers in _groups(models, share_devices).items():
        devices = packed[device_class]
        devices += _packed(workers)
        spec = cluster.device_classes.get(device_class)
        if spec is None or len(devices) > spec.available:
            raise InfeasibleError(_shortage(models, cluster, device_class, share_devices))
    return packed


def seat(device: Sequence[Worker], number: int, homes: Homes) -> None:
    """Give the workers of a device its ``number``."""
    for layer, worker in enumerate(device):
        homes[worker.stage_key].append((layer, number))


def _groups(models: Sequence[ModelPlan], share_devices: bool) -> dict[_Group, list[Worker]]:
    """Workers that may share devices, by group."""
    groups: dict[_Group, list[Worker]] = defaultdict(list)
    for m, model in enumerate(models):
        for p, pipeline in enumerate(model.pipelines):
            for s, stage in enumerate(pipeline.stages):
                owner = device_owner(m, s, share_devices)
                groups[stage.device_class, *owner].extend([Worker((m, p, s), stage.share)] * stage.workers)
    return groups


def _packed(workers: Sequence[Worker]) -> list[list[Worker]]:
    """``workers`` on the fewest devices, in the order of their stages."""
    waiting = {
        share: _whole_devices_first([worker for worker in workers if worker.share == share])
        for share in {worker.share for worker in workers}
    }
    devices = [
        [waiting[share].popleft() for share, number in device.items() for _ in range(number)]
        for device in pack({share: len(held) for share, held in waiting.items()})
    ]
    return sorted(devices, key=lambda device: min(worker.stage_key for worker in device))


def _whole_devices_first(workers: Sequence[Worker]) -> deque[Worker]:
    """Workers on one share: first those that fill whole devices, then the left-over ones of each stage."""
    filling, left_over = [], []
    for _, same in itertools.groupby(sorted(workers, key=_stage), key=_stage):
        stage = list(same)
        whole = len(stage) - len(stage) % stage[0].share
        filling += stage[:whole]
        left_over += stage[whole:]
    return deque(filling + left_over)


def _stage(worker: Worker) -> StageKey:
    return worker.stage_key


def spread_order(cluster: Cluster, device_class: str) -> list[int]:
    """Devices of a class. Neighbours in the list are on different hosts."""
    spec = cluster.device_classes[device_class]
    return sorted(spec.devices, key=lambda device: (device % spec.per_host, device // spec.per_host))


def number_workers(
    models: Sequence[ModelPlan],
    cluster: Cluster,
    homes: Mapping[StageKey, list[tuple[int, int]]],
) -> Iterator[WorkerPlacement]:
    """Placements in worker order. Slots take the first place of each device before any second place."""
    order = {
        name: {device: rank for rank, device in enumerate(spread_order(cluster, name))}
        for name in cluster.device_classes
    }
    worker = 0
    for m, model in enumerate(models):
        for p, pipeline in enumerate(model.pipelines):
            for s, stage in enumerate(pipeline.stages):
                rank = order[stage.device_class]
                places = sorted(homes[m, p, s], key=lambda place: (place[0], rank[place[1]]))
                for slot, (_, device) in enumerate(places):
                    yield WorkerPlacement(
                        worker=worker,
                        model=model.name,
                        pipeline=p,
                        stage=s,
                        slot=slot,
                        device_class=stage.device_class,
                        host=device // cluster.device_classes[stage.device_class].per_host,
                        device=device,
                        share=stage.share,
                    )
                    worker += 1


def _shortage(models: Sequence[ModelPlan], cluster: Cluster, device_class: str, share_devices: bool) -> str:
    """Why a class has too few devices: how many it has, and how many each group needs."""
    spec = cluster.device_classes.get(device_class)
    if spec is None:
        return f"the plan uses device class {device_class!r}, which the cluster does not have. Add the class."
    needs = {
        (m, s): len(_packed(workers))
        for (name, m, s), workers in _groups(models, share_devices).items()
        if name == device_class
    }
    listed = ", ".join(
        f"{models[m].name} stage {s}: {number}" for (m, s), number in needs.items() if not share_devices
    )
    return (
        f"the plan needs {sum(needs.values())} devices of {device_class}{f' ({listed})' if listed else ''}, the "
        f"cluster has {spec.available}. Add devices of that class, or plan again."
    )
