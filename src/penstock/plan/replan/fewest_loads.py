"""Settling: places for the workers of a plan, so that as many as possible stay where they already run.

The program of :mod:`penstock.plan.replan.seating`, with the workers given, finds exactly the fewest loads. The order
of slots is that of :mod:`penstock.plan.placement.seats`, so that consecutive workers do not share an interface.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import ModelPlan, WorkerPlacement
from penstock.plan.documents.scenario import Scenario
from penstock.plan.highs import Rows, run
from penstock.plan.placement.seats import number_workers, spread_order
from penstock.plan.replan.device_uses import DeviceUse, Layout, Part, Seat, group_of
from penstock.plan.replan.seating import seat_workers

StageKey = tuple[int, int, int]
"""(model, pipeline, stage) by index."""

COST_TOLERANCE = 1e-6
"""The solver meets a limit within this tolerance."""


def settle(
    models: Sequence[ModelPlan],
    scenario: Scenario,
    known: Sequence[Layout],
    *,
    most_cost: float | None = None,
) -> list[WorkerPlacement]:
    """A place for every worker of ``models``, in worker order, with the fewest loads.

    ``known``: what already runs, by :func:`penstock.plan.replan.device_uses.layouts`. ``most_cost`` limits the hourly
    cost of the devices in use.
    Raises :class:`InfeasibleError` if the devices in service do not hold the workers.
    """
    waiting = _workers_by_seat(models, scenario)
    chosen = _chosen(waiting, scenario, known, most_cost)
    uses = list(_on_devices(chosen, scenario, known))
    homes: dict[StageKey, list[tuple[int, int]]] = defaultdict(list)
    held: dict[tuple[int, int], int] = defaultdict(int)

    def put(device: tuple[int, int], key: StageKey) -> None:
        homes[key].append((held[device], device[1]))
        held[device] += 1

    for use, device in uses:
        for part, number in use.stays:
            seat = waiting[Seat(use.group, part)]
            for _ in range(min(number, len(seat))):
                put((use.group[0], device), seat.popleft())
    # Only after this choice, every worker that can stay does stay.
    for use, device in uses:
        for share, number in use.slots:
            for _ in range(number):
                seat = _next_waiting(waiting, use.group, share)
                if seat:
                    put((use.group[0], device), seat.popleft())
    return list(number_workers(models, scenario.cluster, homes))


def _workers_by_seat(models: Sequence[ModelPlan], scenario: Scenario) -> dict[Seat, deque[StageKey]]:
    """The stage of every worker, by the seat it needs."""
    classes = list(scenario.cluster.device_classes)
    waiting: dict[Seat, deque[StageKey]] = defaultdict(deque)
    for m, model in enumerate(models):
        for p, pipeline in enumerate(model.pipelines):
            for s, stage in enumerate(pipeline.stages):
                part = Part(m, *stage.blocks, classes.index(stage.device_class), stage.share)
                waiting[Seat(group_of(scenario, part, s), part)].extend([(m, p, s)] * stage.workers)
    return waiting


def _next_waiting(
    waiting: Mapping[Seat, deque[StageKey]], group: tuple[int, ...], share: int
) -> deque[StageKey]:
    """The stage with most waiting workers for a share of a group's devices."""
    queues = [queue for seat, queue in waiting.items() if seat.group == group and seat.part.share == share]
    return max(queues, key=len)


def _chosen(
    waiting: Mapping[Seat, Sequence[StageKey]],
    scenario: Scenario,
    known: Sequence[Layout],
    most_cost: float | None,
) -> Iterator[tuple[DeviceUse, int]]:
    """How many devices have each use, for the fewest loads."""
    rows = Rows()
    one = rows.column(upper=1.0)
    rows.row([(one, 1.0)], lower=1.0)
    needed = {seat: [(one, float(len(queue)))] for seat, queue in waiting.items()}
    classes = list(scenario.cluster.device_classes.values())
    count = np.array([spec.available for spec in classes], dtype=np.int64)
    seating = seat_workers(rows, needed, known, count, whole=True, load_cost=1.0)
    if most_cost is not None:
        uses = enumerate(seating.uses, seating.first_use)
        price = [scenario.device_price(name) or 0.0 for name in scenario.cluster.device_classes]
        paid = [(column, price[use.group[0]]) for column, use in uses]
        rows.row(paid, upper=most_cost + COST_TOLERANCE)
    solver = run(rows)
    if not solver.has_solution:
        raise InfeasibleError(
            "the devices in service do not hold the plan's workers. Plan again, or add devices."
        )
    value = np.rint(solver.values).astype(np.int64)[seating.first_use :]
    return ((use, number) for use, number in zip(seating.uses, value.tolist(), strict=False) if number)


def _on_devices(
    chosen: Iterator[tuple[DeviceUse, int]], scenario: Scenario, known: Sequence[Layout]
) -> Iterator[tuple[DeviceUse, int]]:
    """A device for every use: one of its layout, or else one of those that are left, with hosts in turn."""
    cluster = scenario.cluster
    order = [spread_order(cluster, name) for name in cluster.device_classes]
    taken: set[tuple[int, int]] = set()
    cleared = []
    of_layout = [iter(sorted(layout.devices, key=order[layout.device_class].index)) for layout in known]
    for use, number in chosen:
        if use.layout < 0:
            cleared.append((use, number))
            continue
        for _ in range(number):
            device = next(of_layout[use.layout])
            taken.add((use.group[0], device))
            yield use, device
    left = [
        iter([device for device in devices if (device_class, device) not in taken])
        for device_class, devices in enumerate(order)
    ]
    for use, number in cleared:
        for _ in range(number):
            yield use, next(left[use.group[0]])
