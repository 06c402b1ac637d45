"""What streams tell about a two-level semi-Markov model: stays in the wider states, and events inside them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.kernels import compiled
from penstock.traffic.machine import Machine
from penstock.traffic.machine.violations import walk_streams
from penstock.traffic.streams import Streams

CENSORED = -1


class Delays(NamedTuple):
    """One row a delay: of which stream, from which slot, how long, and the event that ended it or
    :data:`CENSORED`."""

    stream: I64
    slot: I64
    delay_us: I64
    event: I64


def collect_delays(streams: Streams, machine: Machine) -> tuple[Delays, Delays]:
    """Stays (slot: the wider state) and delays within a stay (slot: wider state x (events + 1) + last event there).

    The last event is ``events`` (one past the last) just after the entry. A stay ends by an event that leaves the
    wider state, or is censored by the end of the window; a delay within is censored by the end of the stay as well.
    """
    walked = walk_streams(streams, machine)
    within = np.append(machine.within, -1)
    most = streams.n_events + len(streams)
    stays = Delays(*(np.empty(most, np.int64) for _ in range(4)))
    inner = Delays(*(np.empty(most, np.int64) for _ in range(4)))
    n_stays, n_inner = _collect(
        streams.first,
        streams.event,
        streams.time_us,
        within[walked.before],
        within[walked.after],
        walked.broken,
        len(streams.events),
        streams.window_us,
        stays,
        inner,
    )
    return Delays(*(column[:n_stays] for column in stays)), Delays(*(column[:n_inner] for column in inner))


@compiled
def _put(table: Delays, row: int, stream: int, slot: int, delay_us: int, event: int) -> None:
    table.stream[row], table.slot[row] = stream, slot
    table.delay_us[row], table.event[row] = delay_us, event


@compiled
def _collect(
    first: I64,
    event: NDArray[np.int16],
    time_us: I64,
    before: I64,
    after: I64,
    broken: NDArray[np.bool_],
    kinds: int,
    window_us: int,
    stays: Delays,
    inner: Delays,
) -> tuple[int, int]:
    n_stays, n_inner = 0, 0
    for s in range(len(first) - 1):
        entered_us, since_us, state, last = -1, -1, -1, kinds
        for row in range(first[s], first[s + 1]):
            now_us = int(time_us[row])
            known = not broken[row] and before[row] >= 0 and after[row] >= 0
            if not known:
                entered_us, since_us = -1, -1
                if after[row] >= 0:  # in the midst of a stay whose begin is not known
                    state, last, since_us = int(after[row]), int(event[row]), now_us
                continue
            if before[row] == after[row]:
                if since_us >= 0:
                    _put(inner, n_inner, s, state * (kinds + 1) + last, now_us - since_us, event[row])
                    n_inner += 1
                state, last, since_us = int(after[row]), int(event[row]), now_us
            else:
                if since_us >= 0:
                    _put(inner, n_inner, s, state * (kinds + 1) + last, now_us - since_us, CENSORED)
                    n_inner += 1
                if entered_us >= 0:
                    _put(stays, n_stays, s, state, now_us - entered_us, event[row])
                    n_stays += 1
                state, last, since_us, entered_us = int(after[row]), kinds, now_us, now_us
        if since_us >= 0:
            _put(inner, n_inner, s, state * (kinds + 1) + last, window_us - since_us, CENSORED)
            n_inner += 1
        if entered_us >= 0:
            _put(stays, n_stays, s, state, window_us - entered_us, CENSORED)
            n_stays += 1
    return n_stays, n_inner
