"""Kernels that walk streams through a machine.

The state in which a stream begins is unknown. So a walk keeps the *set* of states that are possible, as the bits of
an int64: at first all; after an event, the states that it leads to from those in which it is legal. An event breaks
the machine if it is legal in none of the possible states. The walk then goes on from all states that the event can
lead to.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.kernels import compiled

UNKNOWN = -1


@compiled
def walk(
    event: NDArray[np.int16],
    first: I64,
    next_state: NDArray[np.int16],
    leads_to: I64,
    before: NDArray[np.int16],
    after: NDArray[np.int16],
    broken: NDArray[np.bool_],
) -> None:
    """Fill the one state before and after each event (:data:`UNKNOWN` if several are possible), and ``broken``.

    ``leads_to[event]``: the states that the event can lead to, as bits. At a broken event ``before`` is the state
    that the stream was last known to be in, if there was one.
    """
    states = next_state.shape[0]
    everything = (np.int64(1) << np.int64(states)) - np.int64(1)
    for stream in range(len(first) - 1):
        possible = everything
        for row in range(first[stream], first[stream + 1]):
            code = event[row]
            reached = np.int64(0)
            count, last = 0, UNKNOWN
            for state in range(states):
                if possible >> np.int64(state) & np.int64(1):
                    count += 1
                    last = state
                    if next_state[state, code] >= 0:
                        reached |= np.int64(1) << np.int64(next_state[state, code])
            before[row] = last if count == 1 else UNKNOWN
            broken[row] = reached == 0
            possible = leads_to[code] if reached == 0 else reached
            after[row] = UNKNOWN
            if possible != 0 and possible & (possible - 1) == 0:
                for state in range(states):
                    if possible >> np.int64(state) & np.int64(1):
                        after[row] = state
            if possible == 0:  # the event is legal nowhere: nothing is known of what follows
                possible = everything
