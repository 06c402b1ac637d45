"""Which type of event may follow: a table learned from the trace, or the state machine if it is known.

Both are one thing for the sampler, an automaton: ``next_state[state, type]``, -1 if the type may not come; sampling
begins in state 0, and a stream ends in a state that nothing may follow. The learned automaton remembers the
last three types (fewer if there are very many types). A type may come if training saw it after them. A context
seen fewer than ``FEWEST`` times is replaced by a shorter one, so that the odd sequence of a single user decides little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.traffic.machine import Machine
from penstock.traffic.machine.state_machine import ILLEGAL
from penstock.traffic.streams import Streams

I32 = NDArray[np.int32]

FEWEST = 200
"""Times that a context must have been followed by an event to be judged by itself."""

LONGEST = 3
"""Types remembered."""

MOST_CELLS = 4_000_000
"""Of a learned table; more types remember less."""


@dataclass(frozen=True)
class Grammar:
    """``next_state``: int32 (states, types), -1 if the type may not come; state 0 is before the first event."""

    next_state: I32

    def __post_init__(self) -> None:
        table = self.next_state
        if table.ndim != 2 or table.dtype != np.int32 or not table.size:
            raise BadInputError(
                f"grammar: the table is {table.dtype} {table.shape}; int32 (states, types) is needed."
            )
        if table.min() < -1 or table.max() >= len(table):
            raise BadInputError(
                f"grammar: states must lie in -1 to {len(table) - 1}; found {table.min()} to {table.max()}."
            )

    @property
    def types(self) -> int:
        """Types of event."""
        return int(self.next_state.shape[1])


def free_grammar(types: int) -> Grammar:
    """The automaton that lets any type follow any other."""
    return Grammar(np.zeros((1, types), np.int32))


def learn_grammar(streams: Streams, fewest: int = FEWEST) -> Grammar:
    """The automaton of what follows the last three types in ``streams``."""
    types = len(streams.events)
    memory = max(n for n in range(1, LONGEST + 1) if n == 1 or (types + 1) ** n * types <= MOST_CELLS)
    counts = _follow_counts(streams, memory)
    allowed = np.zeros(counts.shape, bool)
    decided = np.zeros(counts.shape[:-1], bool)
    for kept in range(memory, -1, -1):
        # Sum over the oldest types, which a shorter context forgets.
        shorter = counts.sum(axis=tuple(range(memory - kept)), keepdims=True)
        enough = (shorter.sum(axis=-1) >= (fewest if kept else 1)) & ~decided
        allowed |= enough[..., None] & (shorter > 0)
        decided |= enough
    states = (types + 1) ** memory
    context = np.arange(states)
    following = (context[:, None] * (types + 1) + 1 + np.arange(types)) % states
    return Grammar(np.where(allowed.reshape(states, types), following, -1).astype(np.int32))


def _follow_counts(streams: Streams, memory: int) -> NDArray[np.int64]:
    """How often each type followed each context: (types + 1,) * memory + (types,); 0 stands for before the first."""
    types = len(streams.events)
    place = np.arange(streams.n_events) - np.repeat(streams.first[:-1], streams.sizes)
    index = np.zeros(streams.n_events, np.int64)
    for back in range(memory, 0, -1):
        earlier = np.zeros(streams.n_events, np.int64)
        earlier[back:] = streams.event[:-back] + 1
        index = index * (types + 1) + np.where(place >= back, earlier, 0)
    cells = np.bincount(index * types + streams.event, minlength=(types + 1) ** memory * types)
    return cells.reshape((types + 1,) * memory + (types,))


def machine_grammar(machine: Machine, events: tuple[str, ...]) -> Grammar:
    """The automaton of a state machine whose start state is unknown: its states are sets of possible states.

    Raises :class:`BadInputError` for an event that the machine does not know.
    """
    table = machine.table_for(events)
    start = tuple(range(len(table)))
    numbers, rows, waiting = {start: 0}, [], [start]
    while waiting:
        states = waiting.pop(0)
        row = []
        for kind in range(table.shape[1]):
            after = tuple(sorted({int(table[state, kind]) for state in states} - {ILLEGAL}))
            if after and after not in numbers:
                numbers[after] = len(numbers)
                waiting.append(after)
            row.append(numbers[after] if after else -1)
        rows.append(row)
    return Grammar(np.array(rows, np.int32))
