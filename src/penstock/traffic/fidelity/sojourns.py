"""How long streams stay in each wider state of a machine, and how one stay depends on the one before.

A stay counts if both its ends are seen: the entry and the exit, with the state known. Without a machine, the gaps
before each kind of event stand in for stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.kernels import compiled
from penstock.traffic.fidelity.distances import rank_correlation
from penstock.traffic.machine import Machine
from penstock.traffic.machine.violations import walk_streams
from penstock.traffic.streams import Streams

FEWEST = 100
"""Stays of a state, on either side; fewer give no distance worth reading."""


@dataclass(frozen=True)
class Stays:
    """Of one state, in order of stream and time: how long, and of which stream."""

    length_us: I64
    stream: I64

    def lag_1(self) -> float | None:
        """The rank correlation of each stay with the next of the same stream; None for too few pairs.

        All pairs of all streams together: differences between streams count, as do those within one.
        """
        same = self.stream[1:] == self.stream[:-1]
        if same.sum() < FEWEST:
            return None
        return rank_correlation(
            self.length_us[:-1][same].astype(np.float64), self.length_us[1:][same].astype(np.float64)
        )


def stays_by_state(streams: Streams, machine: Machine | None) -> Mapping[str, Stays]:
    """The stays of each wider state, by its name; without a machine the gaps, by the event that ends them."""
    if machine is None:
        return _gaps_by_event(streams)
    walked = walk_streams(streams, machine)
    length_us, group, stream = (np.empty(streams.n_events, np.int64) for _ in range(3))
    within = np.append(machine.within, -1)  # an unknown state (-1) lies in no group
    count = _stays(
        streams.first,
        streams.time_us,
        within[walked.before],
        within[walked.after],
        walked.broken,
        length_us,
        group,
        stream,
    )
    return {
        name: Stays(length_us[:count][group[:count] == code], stream[:count][group[:count] == code])
        for code, name in enumerate(machine.groups)
    }


def _gaps_by_event(streams: Streams) -> Mapping[str, Stays]:
    inside = np.ones(streams.n_events, np.bool_)
    inside[streams.first[:-1]] = False
    gaps, owner = streams.gap_us, streams.stream_of_event
    return {
        f"before {name}": Stays(gaps[chosen], owner[chosen])
        for code, name in enumerate(streams.events)
        for chosen in [inside & (streams.event == code)]
    }


@compiled
def _stays(
    first: I64,
    time_us: I64,
    before: I64,
    after: I64,
    broken: NDArray[np.bool_],
    length_us: I64,
    group: I64,
    stream: I64,
) -> int:
    """Write every whole stay; how many there are."""
    count = 0
    for s in range(len(first) - 1):
        entered_us = -1
        for row in range(first[s], first[s + 1]):
            if broken[row] or before[row] < 0 or after[row] < 0:
                entered_us = -1  # what came before is not known
            elif before[row] != after[row]:
                if entered_us >= 0:
                    length_us[count] = time_us[row] - entered_us
                    group[count] = before[row]
                    stream[count] = s
                    count += 1
                entered_us = time_us[row]
    return count
