"""Seating: the constraints that give every worker a seat on a device and count the workers that must be loaded.

With ``u`` devices of every use (:mod:`penstock.plan.replan.device_uses`), and ``new`` workers loaded per seat:

    workers of a seat          <= sum of u * its stays + new        for seats whose part runs today
    sum of new over a share    <= sum of u * slots of that share    for every group
    sum of u over a layout     <= its devices                       for every layout
    sum of u over a class      <= its devices in service            for every class
    sum of new                 <= loads

A worker of any other seat is always loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.arrays import I64
from penstock.plan.highs import Rows
from penstock.plan.replan.device_uses import DeviceUse, Group, Layout, Seat, device_uses

Entries = list[tuple[int, float]]


@dataclass(frozen=True)
class Seating:
    """``uses``, with one column each from ``first_use`` onwards. ``loads`` is the column that counts loads."""

    uses: Sequence[DeviceUse]
    first_use: int
    loads: int


def seat_workers(
    rows: Rows,
    workers: Mapping[Seat, Sequence[tuple[int, float]]],
    known: Sequence[Layout],
    count: I64,
    *,
    whole: bool,
    load_cost: float = 0.0,
    most_loads: float = float("inf"),
) -> Seating:
    """Add the constraints. ``workers``: by seat, the columns that sum to its workers, with coefficients.

    ``count`` (classes,): devices in service. ``whole``: devices are not split. ``load_cost`` is what each load
    subtracts from the objective, which is maximised.
    """
    uses = device_uses(workers, known)
    first = len(rows.cost)
    for use in uses:
        most = len(known[use.layout].devices) if use.layout >= 0 else int(count[use.group[0]])
        rows.column(upper=float(most), integer=whole)
    loads = rows.column(cost=-load_cost, upper=most_loads)
    stays, slots = _offered(uses, first)
    load_entries: Entries = []
    for seat, entries in workers.items():
        new: Sequence[tuple[int, float]] = entries
        if seat in stays:
            column = rows.column()
            rows.row([*entries, (column, -1.0), *stays[seat]], upper=0.0)
            new = [(column, 1.0)]
        slots[seat.group, seat.part.share].extend(new)
        load_entries.extend(new)
    for entries in slots.values():
        rows.row(_merged(entries), upper=0.0)
    rows.row([(loads, -1.0), *_merged(load_entries)], upper=0.0)
    _limit_devices(rows, uses, first, known, count)
    return Seating(uses, first, loads)


def _offered(
    uses: Sequence[DeviceUse], first: int
) -> tuple[dict[Seat, Entries], defaultdict[tuple[Group, int], Entries]]:
    """What the uses offer, negative: workers that stay, by seat, and slots, by (group, share)."""
    stays: dict[Seat, Entries] = defaultdict(list)
    slots: defaultdict[tuple[Group, int], Entries] = defaultdict(list)
    for column, use in enumerate(uses, first):
        for part, number in use.stays:
            stays[Seat(use.group, part)].append((column, -float(number)))
        for share, number in use.slots:
            slots[use.group, share].append((column, -float(number)))
    return dict(stays), slots


def _limit_devices(
    rows: Rows, uses: Sequence[DeviceUse], first: int, known: Sequence[Layout], count: I64
) -> None:
    by_layout: dict[int, Entries] = defaultdict(list)
    by_class: dict[int, Entries] = defaultdict(list)
    for column, use in enumerate(uses, first):
        by_class[use.group[0]].append((column, 1.0))
        if use.layout >= 0:
            by_layout[use.layout].append((column, 1.0))
    for layout, entries in by_layout.items():
        rows.row(entries, upper=float(len(known[layout].devices)))
    for device_class, entries in by_class.items():
        rows.row(entries, upper=float(count[device_class]))


def _merged(entries: Sequence[tuple[int, float]]) -> Entries:
    """``entries`` with every column only once, as a row requires."""
    total: dict[int, float] = defaultdict(float)
    for column, coefficient in entries:
        total[column] += coefficient
    return list(total.items())
