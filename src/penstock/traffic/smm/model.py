"""The fitted model: groups, how streams begin, stays, and what happens inside stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.traffic.machine import Machine
from penstock.traffic.machine.violations import walk_streams
from penstock.traffic.smm.delay_tables import DelayTables, tabulate
from penstock.traffic.smm.groups import group_features, group_streams
from penstock.traffic.smm.records import Delays, collect_delays
from penstock.traffic.streams import Streams


@dataclass(frozen=True)
class SemiMarkov:
    """A two-level semi-Markov model of streams over ``machine``.

    ``group_class`` and ``group_weight`` (groups,): the class of a group, and its share of the class; a class as a
    whole is a group of weight 0. ``begin``: the first event and when it comes, one slot. ``begin_state`` (groups,
    events): the state after a first event. ``stays`` (slot: wider state) and ``inner`` (slot: wider state x (events
    + 1) + last event) as in
    :func:`~penstock.traffic.smm.records.collect_delays`. ``most_events``: those of the longest stream of the trace,
    and no stream that is drawn has more: in a group of cut recordings nothing else ends a loop of the machine.
    """

    machine: Machine
    events: tuple[str, ...]
    classes: tuple[str, ...]
    class_share: F64
    window_us: int
    group_class: I64
    group_weight: F64
    begin: DelayTables
    begin_state: NDArray[np.int16]
    stays: DelayTables
    inner: DelayTables
    most_events: int


def fit_semi_markov(streams: Streams, machine: Machine, groups: int) -> SemiMarkov:
    """Fit with at most ``groups`` groups a class.

    Raises :class:`BadInputError` for ``groups`` below 1, events that the machine does not know, or streams that
    never let the machine's state be known.
    """
    if groups < 1:
        raise BadInputError(f"groups (={groups}) must be at least 1.")
    stays, inner = collect_delays(streams, machine)
    if not len(stays.stream):
        raise BadInputError(
            f"no stream shows a stay of the machine {machine.name!r} from its begin. Give longer streams, or the "
            f"machine that they follow."
        )
    group, group_class, weight, whole = _groups(streams, groups)
    events, n_groups = len(streams.events), len(group_class)
    starts = streams.first[:-1]
    begins = Delays(
        np.arange(len(streams), dtype=np.int64),
        np.zeros(len(streams), np.int64),
        streams.time_us[starts],
        streams.event[starts].astype(np.int64),
    )
    slots = len(machine.groups)
    return SemiMarkov(
        machine,
        streams.events,
        streams.classes,
        np.bincount(streams.klass, minlength=len(streams.classes)) / len(streams),
        streams.window_us,
        group_class,
        weight,
        tabulate(begins, group, n_groups, whole, 1, events),
        _begin_states(streams, machine, group, n_groups),
        tabulate(stays, group, n_groups, whole, slots, events),
        tabulate(inner, group, n_groups, whole, slots * (events + 1), events),
        int(streams.sizes.max()),
    )


def _groups(streams: Streams, groups: int) -> tuple[I64, I64, F64, I64]:
    """The group of each stream; of each group its class, its share of the class, and the group of its whole
    class."""
    features = group_features(streams)
    group = np.empty(len(streams), np.int64)
    group_class: list[int] = []
    weight: list[float] = []
    whole: list[int] = []
    for code in np.unique(streams.klass).tolist():
        members = np.flatnonzero(streams.klass == code)
        own = group_streams(features[members], groups)
        first, count = len(group_class), int(own.max()) + 1
        group[members] = own + first
        group_class.extend([code] * (count + 1))
        weight.extend([*(np.bincount(own) / len(members)), 0.0])
        whole.extend([first + count] * (count + 1))
    return group, np.array(group_class, np.int64), np.array(weight), np.array(whole, np.int64)


def _begin_states(streams: Streams, machine: Machine, group: I64, groups: int) -> NDArray[np.int16]:
    """The state after each first event: the most frequent one of streams that let it be known, else a possible
    one."""
    table = machine.table_for(streams.events)
    known = walk_streams(streams, machine).after[streams.first[:-1]]
    event = streams.event[streams.first[:-1]]
    overall = np.zeros((len(streams.events), len(machine.states)), np.int64)
    np.add.at(overall, (event[known >= 0], known[known >= 0]), 1)
    possible = np.zeros_like(overall)
    for code in range(len(streams.events)):
        reached = table[:, code][table[:, code] >= 0]
        possible[code, reached] = 1
    best = (overall * 2 + possible).argmax(axis=1).astype(np.int16)
    return np.tile(best, (groups, 1))
