"""A deterministic state machine over named events, with states that may lie within a wider one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.traffic.suggest import suggest

ILLEGAL = -1
MOST_STATES = 62
"""A set of possible states is the bits of one int64."""


@dataclass(frozen=True)
class Machine:
    """``next_state[state, event]``: int16 (states, events), :data:`ILLEGAL` if the event may not come there.

    ``within[state]`` is the number, in ``groups``, of the wider state that it belongs to: sojourn times are those of
    groups (CONNECTED, IDLE), whatever happens inside. A state that is not inside another is a group of its own.
    """

    name: str
    states: tuple[str, ...]
    groups: tuple[str, ...]
    within: NDArray[np.int64]
    events: tuple[str, ...]
    next_state: NDArray[np.int16]

    def table_for(self, events: tuple[str, ...]) -> NDArray[np.int16]:
        """``next_state`` with a column for each of ``events``, in that order: int16 (states, len(events)).

        Raises :class:`BadInputError` for an event that the machine does not know.
        """
        columns = []
        for name in events:
            if name not in self.events:
                raise BadInputError(
                    f"event {name!r} is unknown to the machine {self.name!r}. {suggest(name, self.events)} Rename the "
                    f"event, or give another machine."
                )
            columns.append(self.events.index(name))
        return np.ascontiguousarray(self.next_state[:, columns])

    def legal(self, state: str, event: str) -> bool:
        """Whether ``event`` may come in ``state``."""
        return bool(self.next_state[self.states.index(state), self.events.index(event)] != ILLEGAL)
