"""The journal file: JSON lines of the policy's calls and of what it decided.

The first line holds the version, the dispatch table and the policy's settings; then an array a line, as in
:mod:`penstock.schedule.journal`, and after each ``decide`` that decided something a ``decided`` line.
:func:`read_journal` gives the calls and decisions back, for a replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from penstock.errors import BadInputError
from penstock.schedule.journal import Event, JournalingPolicy
from penstock.schedule.policy import Decision, Dispatch, Policy
from penstock.schedule.table import DispatchTable


class _Header(msgspec.Struct):
    version: int
    dispatch_us: int
    overhead_us: int
    table: dict[str, list[Any]]
    policy: str = "reservation"


@dataclass(frozen=True)
class Journal:
    """A journal as read: everything that a replay needs, and the decisions to compare with."""

    table: DispatchTable
    dispatch_us: int
    overhead_us: int
    events: list[Event]
    decisions: list[Decision]
    policy: str = "reservation"


class JournalFile:
    """Writes the calls of ``policy`` (through :attr:`policy`) to ``path``, which must not exist."""

    def __init__(
        self,
        policy: Policy,
        path: Path,
        table: DispatchTable,
        *,
        rule: str = "reservation",
        dispatch_us: int,
        overhead_us: int,
    ) -> None:
        self._noting = JournalingPolicy(policy)
        self.policy = _DecisionNoting(self._noting)
        self._file = path.open("xb")
        plain = {name: values.tolist() for name, values in table._asdict().items()}
        self._write(_Header(1, dispatch_us, overhead_us, plain, rule))

    def flush(self) -> None:
        """Write what was noted since the last flush."""
        for event in self._noting.events:
            self._write(event)
        self._noting.events.clear()
        self._file.flush()

    def close(self) -> None:
        """Write the rest and close."""
        self.flush()
        self._file.close()

    def _write(self, line: object) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")


class _DecisionNoting:
    """Adds each decision to the noted calls, right after its ``decide``."""

    def __init__(self, noting: JournalingPolicy) -> None:
        self._noting = noting
        self.arrive = noting.arrive
        self.complete = noting.complete
        self.abandon = noting.abandon
        self.cancel = noting.cancel
        self.worker_down = noting.worker_down
        self.worker_up = noting.worker_up

    def decide(self, now_us: int) -> Decision:
        decision = self._noting.decide(now_us)
        self._noting.events.append(("decided", *decision))
        return decision


def read_journal(path: Path) -> Journal:
    """The journal in ``path``; :class:`BadInputError` for a file that is not one, or not whole."""
    try:
        first, *lines = path.read_bytes().splitlines()
        header = msgspec.json.decode(first, type=_Header)
        rows = [msgspec.json.decode(line) for line in lines]
        decided = [row[1:] for row in rows if row[0] == "decided"]
        decisions = [
            Decision(
                tuple(Dispatch(*d[:3], *map(tuple, d[3:])) for d in dispatches),
                tuple((unit, cause) for unit, cause in drops),
                wake_us,
            )
            for dispatches, drops, wake_us in decided
        ]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise BadInputError(
            f"{path}: cannot be read as a journal ({error}). Was it written by serve?"
        ) from None
    table = DispatchTable(**{name: np.array(v, dtype=np.int64) for name, v in header.table.items()})
    events = [tuple(row) for row in rows if row[0] != "decided"]
    return Journal(table, header.dispatch_us, header.overhead_us, events, decisions, header.policy)
