"""Placement: every worker of a plan on a share of a device, every device in a host.

The planner counts devices by group, a group being the workers of one (model, stage position, device
class), and rounds each group up to whole devices (Kong et al., "PPipe", USENIX ATC 2025, planning). So
a device holds workers of one group only, and packing is bin packing within a group: first-fit
decreasing, and an exact search where that needs more devices than the sum of the shares.

Order matters to the network, which the workers of a host share. A group's devices go round-robin over
hosts, and a stage's slots round-robin over its devices, so that consecutive workers do not share an
interface and a group's traffic is spread as evenly as the fleet allows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.cluster import Cluster
from penstock.errors import InfeasibleError
from penstock.plan.plan import ModelPlan, WorkerPlacement

EXACT_SEARCH_NODES = 100_000
"""Limit of the exact packing search; reached only by mixtures of many different shares."""


@dataclass(frozen=True)
class _Worker:
    """A worker before it has a place. ``stage_key`` is (model index, pipeline, stage)."""

    stage_key: tuple[int, int, int]
    share: int


def place(models: Sequence[ModelPlan], cluster: Cluster) -> list[WorkerPlacement]:
    """A place for every worker of ``models``, in worker order (models, pipelines, stages, slots).

    :class:`InfeasibleError` where the devices of a class do not suffice, naming the class and the need.
    """
    homes: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    order = {name: _spread_order(cluster, name) for name in cluster.device_classes}
    used: dict[str, int] = defaultdict(int)
    for (_, _, device_class), workers in _groups(models).items():
        for device in pack(workers):
            if device_class not in order or used[device_class] >= len(order[device_class]):
                raise InfeasibleError(_shortage(models, cluster, device_class))
            number = order[device_class][used[device_class]]
            used[device_class] += 1
            for layer, worker in enumerate(device):
                homes[worker.stage_key].append((layer, number))
    return list(_numbered(models, cluster, homes))


def pack(workers: Sequence[_Worker]) -> list[list[_Worker]]:
    """``workers`` in as few devices as found, the shares on each summing to at most 1."""
    decreasing = sorted(workers, key=lambda worker: (worker.share, worker.stage_key))
    unit = math.lcm(*(worker.share for worker in workers))
    sizes = [unit // worker.share for worker in decreasing]
    fewest = -(-sum(sizes) // unit)
    bins = _first_fit(sizes, unit)
    if max(bins) + 1 > fewest:
        bins = _exact_fit(sizes, unit, fewest) or bins
    devices: list[list[_Worker]] = [[] for _ in range(max(bins) + 1)]
    for worker, index in zip(decreasing, bins, strict=True):
        devices[index].append(worker)
    return devices


def _groups(models: Sequence[ModelPlan]) -> dict[tuple[int, int, str], list[_Worker]]:
    """Workers by (model, stage position, device class)."""
    groups: dict[tuple[int, int, str], list[_Worker]] = defaultdict(list)
    for m, model in enumerate(models):
        for p, pipeline in enumerate(model.pipelines):
            for s, stage in enumerate(pipeline.stages):
                worker = _Worker((m, p, s), stage.share)
                groups[m, s, stage.device_class].extend([worker] * stage.workers)
    return groups


def _first_fit(sizes: Sequence[int], unit: int) -> list[int]:
    """The bin of each size, first fit; equal sizes never look back past the bin of the one before."""
    free: list[int] = []
    bins: list[int] = []
    for k, size in enumerate(sizes):
        start = bins[-1] if k and sizes[k - 1] == size else 0
        index = next((i for i in range(start, len(free)) if free[i] >= size), len(free))
        if index == len(free):
            free.append(unit)
        free[index] -= size
        bins.append(index)
    return bins


def _exact_fit(sizes: Sequence[int], unit: int, limit: int) -> list[int] | None:
    """Bins for decreasing ``sizes`` in ``limit`` bins, by depth-first search; None if none was found."""
    free = [unit] * limit
    bins: list[int] = []
    nodes = 0

    def fit(k: int) -> bool:
        nonlocal nodes
        nodes += 1
        if k == len(sizes):
            return True
        tried: set[int] = set()
        for index in range(limit):
            # Bins with the same room are interchangeable: try one of them.
            if free[index] < sizes[k] or free[index] in tried or nodes > EXACT_SEARCH_NODES:
                continue
            tried.add(free[index])
            free[index] -= sizes[k]
            bins.append(index)
            if fit(k + 1):
                return True
            bins.pop()
            free[index] += sizes[k]
        return False

    return bins if len(sizes) < 500 and fit(0) else None  # deeper would pass Python's recursion limit


def _spread_order(cluster: Cluster, device_class: str) -> list[int]:
    """Devices of a class, neighbours in the list on different hosts."""
    spec = cluster.device_classes[device_class]
    return sorted(range(spec.count), key=lambda device: (device % spec.per_host, device // spec.per_host))


def _numbered(
    models: Sequence[ModelPlan],
    cluster: Cluster,
    homes: dict[tuple[int, int, int], list[tuple[int, int]]],
) -> Iterator[WorkerPlacement]:
    """Placements in worker order; slots take the first place of each device before any second place."""
    order = {
        name: {device: rank for rank, device in enumerate(_spread_order(cluster, name))}
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


def _shortage(models: Sequence[ModelPlan], cluster: Cluster, device_class: str) -> str:
    """Why a class does not suffice: what it has, and what each group needs."""
    spec = cluster.device_classes.get(device_class)
    if spec is None:
        return f"the plan uses device class {device_class!r}, which the cluster does not have. Add the class."
    needs = {
        f"{models[m].name} stage {s}": len(pack(workers))
        for (m, s, name), workers in _groups(models).items()
        if name == device_class
    }
    listed = ", ".join(f"{group}: {number}" for group, number in needs.items())
    return (
        f"the plan needs {sum(needs.values())} devices of {device_class} ({listed}), the cluster has "
        f"{spec.count}. Add devices of that class, or plan again."
    )
