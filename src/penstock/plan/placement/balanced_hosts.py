"""Devices in hosts so that no interface is loaded much more than another one.

Devices are filled as :func:`penstock.plan.placement.seats.place` fills them. Then, class by class, the device that
moves most goes first, each to the host whose more loaded direction is then least loaded, as long as the host has a free
device (longest processing time first: Graham, "Bounds on multiprocessing timing anomalies", 1969). Where nothing moves,
the order of hosts is that of :func:`place`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from penstock.cluster import Cluster
from penstock.plan.documents.plan import ModelPlan
from penstock.plan.placement.seats import Homes, StageKey, Worker, packed_devices, seat, spread_order

Moves = tuple[float, float]
"""What is received and sent, in seconds of transfers each second."""


def balanced_homes(
    models: Sequence[ModelPlan], cluster: Cluster, moved: Mapping[StageKey, Moves], *, share_devices: bool
) -> Homes:
    """A place for every worker of ``models``. ``moved``: by one worker of each stage.

    Raises :class:`penstock.errors.InfeasibleError` as :func:`penstock.plan.placement.seats.place`.
    """
    homes: Homes = defaultdict(list)
    for device_class, devices in packed_devices(models, cluster, share_devices=share_devices).items():
        hosts = _Hosts(cluster, device_class)
        ordered = sorted(((_moves(device, moved), device) for device in devices), key=_most_first)
        for load, same in itertools.groupby(ordered, key=lambda one: one[0]):
            alike = [device for _, device in same]
            for device, number in zip(alike, hosts.take(len(alike), load), strict=True):
                seat(device, number, homes)
    return homes


def _moves(device: Iterable[Worker], moved: Mapping[StageKey, Moves]) -> Moves:
    received, sent = zip(*(moved[worker.stage_key] for worker in device), strict=True)
    return sum(received), sum(sent)


def _most_first(one: tuple[Moves, list[Worker]]) -> tuple[float, Moves]:
    load, _ = one
    return -max(load), load


class _Hosts:
    """The hosts of a class, their free devices in the order in which hosts take turns, and their loads."""

    def __init__(self, cluster: Cluster, device_class: str) -> None:
        per_host = cluster.device_classes[device_class].per_host
        self._free: dict[int, deque[tuple[int, int]]] = defaultdict(deque)
        self._load: dict[int, Moves] = {}
        for rank, device in enumerate(spread_order(cluster, device_class)):
            self._free[device // per_host].append((rank, device))
            self._load[device // per_host] = (0.0, 0.0)

    def take(self, count: int, load: Moves) -> list[int]:
        """``count`` devices of ``load`` each."""
        waiting = [self._ranked(host, load) for host, free in self._free.items() if free]
        heapq.heapify(waiting)
        taken = []
        for _ in range(count):
            _, _, host = heapq.heappop(waiting)
            _, device = self._free[host].popleft()
            self._load[host] = _added(self._load[host], load)
            taken.append(device)
            if self._free[host]:
                heapq.heappush(waiting, self._ranked(host, load))
        return taken

    def _ranked(self, host: int, load: Moves) -> tuple[float, int, int]:
        """How loaded the host is with ``load`` more, then when it has its turn."""
        return max(_added(self._load[host], load)), self._free[host][0][0], host


def _added(one: Moves, other: Moves) -> Moves:
    return one[0] + other[0], one[1] + other[1]
