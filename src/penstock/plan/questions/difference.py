"""The difference of two plans: what a fleet that runs the first plan must do to run the second.

A worker *stays* if both plans hold the same piece (:class:`penstock.plan.documents.held_pieces.Piece`) on the same
device. For the other workers: if a piece leaves a device and the same piece appears on another device, that is a
*move*. The remaining workers *stop* or *start*. A move and a start each load a piece on a device that did not
hold it. Together they are the *loads*, the cost of the change. As many as possible are paired, so moves are as many
and starts as few as possible. The sum of both does not depend on the pairing. Moves within a host come first.
A worker of a shared pool counts once for each piece that it holds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from penstock.plan.documents.held_pieces import Piece, Running, running_pieces
from penstock.plan.documents.plan import Plan, devices_of


@dataclass(frozen=True)
class Move:
    """A piece that leaves device ``source`` and is loaded on device ``target`` of the same class."""

    piece: Piece
    source: int
    target: int


@dataclass(frozen=True)
class RateChange:
    """The rate at which a model is served, in requests per second. 0 if a plan does not serve it."""

    model: str
    before_rps: float
    after_rps: float


@dataclass(frozen=True)
class DeviceChange:
    """In both plans: the devices of a class that hold a worker, and those that are in service."""

    device_class: str
    used_before: int
    used_after: int
    available_before: int
    available_after: int


@dataclass(frozen=True)
class PlanDifference:
    """Workers that stay, move, start and stop; rates by model; devices by class."""

    stays: list[Running]
    moves: list[Move]
    starts: list[Running]
    stops: list[Running]
    rates: list[RateChange]
    devices: list[DeviceChange]

    @property
    def loads(self) -> int:
        """Pieces that must be loaded on a device that does not hold them: moves and starts."""
        return len(self.moves) + len(self.starts)


def difference(before: Plan, after: Plan) -> PlanDifference:
    """What changes from ``before`` to ``after``. Devices are the same if class and number are the same."""
    old, new = Counter(running_pieces(before)), Counter(running_pieces(after))
    stays = sorted((old & new).elements())
    moves, starts, stops = _paired(old - new, new - old, _per_host(after))
    return PlanDifference(stays, moves, starts, stops, _rates(before, after), _devices(before, after))


def _per_host(plan: Plan) -> dict[str, int]:
    return {name: spec.per_host for name, spec in plan.scenario.cluster.device_classes.items()}


def _paired(
    gone: Counter[Running], come: Counter[Running], per_host: dict[str, int]
) -> tuple[list[Move], list[Running], list[Running]]:
    """Moves, starts and stops among workers that leave and workers that appear."""
    moves, starts, stops = [], [], []
    leaving, coming = _by_piece(gone), _by_piece(come)
    for piece in sorted({*leaving, *coming}):
        sources, targets = leaving[piece], coming[piece]
        pairs = _matched(sources, targets, per_host.get(piece.device_class, 1))
        moves += [Move(piece, source, target) for source, target in pairs]
        left, needed = Counter(sources), Counter(targets)
        left.subtract(source for source, _ in pairs)
        needed.subtract(target for _, target in pairs)
        stops += [Running(piece, device) for device in left.elements()]
        starts += [Running(piece, device) for device in needed.elements()]
    return moves, starts, stops


def _by_piece(workers: Counter[Running]) -> defaultdict[Piece, list[int]]:
    """Devices by piece, ascending, one entry per worker."""
    devices: defaultdict[Piece, list[int]] = defaultdict(list)
    for worker in sorted(workers.elements()):
        devices[worker.piece].append(worker.device)
    return devices


def _matched(sources: list[int], targets: list[int], per_host: int) -> list[tuple[int, int]]:
    """As many (source, target) pairs as possible, those within a host first."""
    pairs, waiting = [], []
    free = list(sources)
    for target in targets:
        near = next((source for source in free if source // per_host == target // per_host), None)
        if near is None:
            waiting.append(target)
        else:
            free.remove(near)
            pairs.append((near, target))
    return pairs + list(zip(free, waiting, strict=False))


def _rates(before: Plan, after: Plan) -> list[RateChange]:
    old = {model.name: model.rate_rps for model in before.models}
    new = {model.name: model.rate_rps for model in after.models}
    return [RateChange(name, old.get(name, 0.0), new.get(name, 0.0)) for name in {**old, **new}]


def _devices(before: Plan, after: Plan) -> list[DeviceChange]:
    names = {**before.scenario.cluster.device_classes, **after.scenario.cluster.device_classes}
    return [
        DeviceChange(
            name,
            devices_of(before).get(name, 0),
            devices_of(after).get(name, 0),
            _held(before, name),
            _held(after, name),
        )
        for name in names
    ]


def _held(plan: Plan, device_class: str) -> int:
    spec = plan.scenario.cluster.device_classes.get(device_class)
    return 0 if spec is None else spec.available
