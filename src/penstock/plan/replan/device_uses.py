"""Device uses: what a device that runs workers today can become without loading everything again.

Devices of one class that hold the same pieces are interchangeable: they are one *layout*. A *use* of a
device names three things: the group that it serves (the workers that may share a device), the workers that stay on
it, and the slots of its remaining room for workers that are loaded. A plan's workers fit a fleet, with ``k`` of
them loaded, if and only if whole numbers of uses hold them. So the number of uses does not grow with the
number of devices, but only with the number of different layouts.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from penstock.plan.documents.held_pieces import Piece, Running
from penstock.plan.documents.scenario import Scenario
from penstock.plan.replan.share_patterns import Pattern, maximal_patterns
from penstock.plan.templates.fleet import device_owner
from penstock.profile.table import Profile


class Part(NamedTuple):
    """A piece by index: blocks ``[start, stop)`` of model ``model`` on 1/``share`` of a device of a class."""

    model: int
    start: int
    stop: int
    device_class: int
    share: int


Group = tuple[int, ...]
"""Device class first. Workers of one group may share a device."""


class Seat(NamedTuple):
    """A place for a worker: any share of a device that serves ``group`` and holds ``part``."""

    group: Group
    part: Part


@dataclass(frozen=True)
class Layout:
    """Devices of one class, in service, that hold the same parts. ``parts`` maps each part to how many there are."""

    device_class: int
    parts: Mapping[Part, int]
    devices: tuple[int, ...]


class DeviceUse(NamedTuple):
    """One device of ``layout`` in a plan. Layout -1 is any device of its class, with all that it held removed.

    ``stays``: (part, how many) of the workers that remain. ``slots``: (share, how many) of those to be loaded.
    """

    layout: int
    group: Group
    stays: tuple[tuple[Part, int], ...]
    slots: Pattern


def group_of(scenario: Scenario, part: Part, stage: int) -> Group:
    """The group of a worker at a stage position, by the scenario's rule for sharing devices."""
    return (part.device_class, *device_owner(part.model, stage, scenario.planner.share_devices))


def layouts(running: Iterable[Running], scenario: Scenario, profiles: Mapping[str, Profile]) -> list[Layout]:
    """The parts that still run on the devices of ``scenario`` that are in service, if the scenario knows them.

    Workers of other models, classes or partitions, and workers on lost devices, are left out.
    """
    held: dict[tuple[int, int], Counter[Part]] = defaultdict(Counter)
    for worker in running:
        part = _part(worker.piece, scenario, profiles)
        if part is not None:
            held[part.device_class, worker.device][part] += 1
    alike: dict[tuple[int, frozenset[tuple[Part, int]]], list[int]] = defaultdict(list)
    for (device_class, device), parts in sorted(held.items()):
        if device in list(scenario.cluster.device_classes.values())[device_class].devices:
            alike[device_class, frozenset(parts.items())].append(device)
    return [Layout(key[0], dict(sorted(key[1])), tuple(devices)) for key, devices in alike.items()]


def _part(piece: Piece, scenario: Scenario, profiles: Mapping[str, Profile]) -> Part | None:
    names, classes = [model.name for model in scenario.models], list(scenario.cluster.device_classes)
    if piece.model not in names or piece.device_class not in classes:
        return None
    if piece.blocks != len(profiles[piece.model].blocks):
        return None
    return Part(
        names.index(piece.model), piece.start, piece.stop, classes.index(piece.device_class), piece.share
    )


def device_uses(seats: Iterable[Seat], known: Sequence[Layout]) -> list[DeviceUse]:
    """Every use that may serve ``seats``: of an emptied device, or of a device of a layout that keeps some parts."""
    parts: dict[Group, set[Part]] = defaultdict(set)
    for seat in seats:
        parts[seat.group].add(seat.part)
    uses = []
    for group, wanted in sorted(parts.items()):
        shares = tuple(sorted({part.share for part in wanted}))
        uses += [DeviceUse(-1, group, (), slots) for slots in maximal_patterns(Fraction(1), shares)]
        for number, layout in enumerate(known):
            if layout.device_class == group[0]:
                uses += [
                    DeviceUse(number, group, stays, slots)
                    for stays in _kept({part: n for part, n in layout.parts.items() if part in wanted})
                    for slots in maximal_patterns(_room(stays), shares)
                ]
    return uses


def _kept(parts: Mapping[Part, int]) -> Iterator[tuple[tuple[Part, int], ...]]:
    """Every way to keep at least one of ``parts``."""
    for numbers in itertools.product(*(range(most + 1) for most in parts.values())):
        if any(numbers):
            yield tuple((part, n) for part, n in zip(parts, numbers, strict=True) if n)


def _room(stays: Iterable[tuple[Part, int]]) -> Fraction:
    return 1 - sum((Fraction(number, part.share) for part, number in stays), Fraction(0))
