"""Events that break a machine: how many, in how many streams, and which.

Events count from the first one that fixes the state (Kong et al., IMC 2024, score so): before it, an event is
counted only if no state allows what the stream has done so far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.traffic.machine.state_machine import ILLEGAL, Machine
from penstock.traffic.machine.walk import UNKNOWN, walk
from penstock.traffic.streams import Streams

I16 = NDArray[np.int16]

ANY_STATE = "(not known)"
"""The state of a violation that no state allows, before the state was fixed."""


@dataclass(frozen=True)
class Walked:
    """One row an event: the machine's state before and after it (-1: not known), and whether the event broke it."""

    before: I16
    after: I16
    broken: NDArray[np.bool_]


@dataclass(frozen=True)
class Violations:
    """``scored`` events in streams whose state was known, or that broke the machine; ``top``: (state, event,
    count)."""

    events: int
    scored: int
    streams: int
    streams_scored: int
    top: tuple[tuple[str, str, int], ...]

    @property
    def event_share(self) -> float:
        """Of the scored events, 0 if there are none."""
        return self.events / self.scored if self.scored else 0.0

    @property
    def stream_share(self) -> float:
        """Of the streams in which an event was scored, 0 if there are none."""
        return self.streams / self.streams_scored if self.streams_scored else 0.0


def walk_streams(streams: Streams, machine: Machine) -> Walked:
    """Every event of ``streams``, with the state of ``machine`` before and after it.

    Raises :class:`BadInputError` for events that the machine does not know.
    """
    next_state = machine.table_for(streams.events)
    leads_to = np.zeros(len(streams.events), np.int64)
    for code in range(len(streams.events)):
        for state in set(next_state[:, code].tolist()) - {ILLEGAL}:
            leads_to[code] |= np.int64(1) << np.int64(state)
    before, after = np.empty(streams.n_events, np.int16), np.empty(streams.n_events, np.int16)
    broken = np.empty(streams.n_events, np.bool_)
    walk(streams.event, streams.first, next_state, leads_to, before, after, broken)
    return Walked(before, after, broken)


def find_violations(streams: Streams, machine: Machine, *, top: int = 10) -> Violations:
    """How ``streams`` break ``machine``, with the ``top`` most frequent pairs of state and event."""
    walked = walk_streams(streams, machine)
    scored = walked.broken | (walked.before != UNKNOWN)
    owner = streams.stream_of_event
    kinds = len(streams.events)
    key = (walked.before[walked.broken].astype(np.int64) + 1) * kinds + streams.event[walked.broken]
    found, counts = np.unique(key, return_counts=True)
    order = np.lexsort((found, -counts))[:top]
    names = (ANY_STATE, *machine.states)
    return Violations(
        events=int(walked.broken.sum()),
        scored=int(scored.sum()),
        streams=len(np.unique(owner[walked.broken])),
        streams_scored=len(np.unique(owner[scored])),
        top=tuple(
            (names[found[i] // kinds], streams.events[found[i] % kinds], int(counts[i]))
            for i in order.tolist()
        ),
    )
