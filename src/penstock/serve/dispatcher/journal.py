"""The journal file: JSON lines of the policy's calls and of what it decided.

The first line has the version, the dispatch table and the settings of the policy. Each further line is an array: a call
as in :mod:`penstock.schedule.journal`, or, after a ``decide``, a ``decided`` line with the decision.
:func:`read_journal` reads the calls and the decisions for a replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.schedule.checks import checked_table
from penstock.schedule.journal import Event, JournalingPolicy
from penstock.schedule.policy import Decision, Dispatch, Policy
from penstock.schedule.table import DispatchTable

VERSION = 4
"""Version 1 called the offsets of the table ``*_first``, 2 had no ``transferred``, 3 had no pieces; all are read."""


class _Header(msgspec.Struct):
    version: int
    dispatch_us: int
    overhead_us: int
    table: dict[str, list[Any]]
    policy: str = "reservation"
    epoch: int = 0
    max_queue_delay_us: int | None = None


def journal_path(path: Path, dispatcher: int, epoch: int) -> Path:
    """The file of one policy: ``path`` for the first plan of the first dispatcher.

    A dispatcher that was started again, and each later plan, has a policy of its own, so a journal of its own beside.
    """
    if dispatcher == epoch == 0:
        return path
    return path.with_name(f"{path.name}.dispatcher-{dispatcher}-epoch-{epoch}")


@dataclass(frozen=True)
class Journal:
    """A journal: everything that a replay needs, and the decisions to compare it with."""

    table: DispatchTable
    dispatch_us: int
    overhead_us: int
    events: list[Event]
    decisions: list[Decision]
    policy: str = "reservation"
    epoch: int = 0
    max_queue_delay_us: int | None = None


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
        epoch: int = 0,
        max_queue_delay_us: int | None = None,
    ) -> None:
        self._noting = JournalingPolicy(policy)
        self.policy = _DecisionNoting(self._noting)
        self._file = path.open("xb")
        plain = {name: values.tolist() for name, values in table._asdict().items()}
        self._write(_Header(VERSION, dispatch_us, overhead_us, plain, rule, epoch, max_queue_delay_us))

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
        self.transferred = noting.transferred
        self.abandon = noting.abandon
        self.cancel = noting.cancel
        self.worker_down = noting.worker_down
        self.worker_up = noting.worker_up

    @property
    def in_flight(self) -> int:
        return self._noting.in_flight

    def decide(self, now_us: int) -> Decision:
        decision = self._noting.decide(now_us)
        self._noting.events.append(("decided", *decision))
        return decision


def read_journal(path: Path) -> Journal:
    """The journal in ``path``; :class:`BadInputError` for a file that is not one.

    What a dispatcher that was killed had not written to its end is left out: the rest of a line, and a question
    without its decision.
    """
    try:
        content = path.read_bytes()
        first, *lines = content[: content.rfind(b"\n") + 1].splitlines()
        header = msgspec.json.decode(first, type=_Header)
        rows = [msgspec.json.decode(line, type=list[Any]) for line in lines]
        if rows and rows[-1][:1] == ["decide"]:
            rows.pop()
        table = _table(header)
        decisions = [_decision(*row[1:]) for row in rows if row[:1] == ["decided"]]
    except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise BadInputError(
            f"{path}: cannot be read as a journal ({error}). Was it written by serve?"
        ) from None
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    events = [tuple(row) for row in rows if row[:1] != ["decided"]]
    return Journal(
        table,
        header.dispatch_us,
        header.overhead_us,
        events,
        decisions,
        header.policy,
        header.epoch,
        header.max_queue_delay_us,
    )


def _table(header: _Header) -> DispatchTable:
    if not 1 <= header.version <= VERSION:
        raise BadInputError(f"version (={header.version}) must be 1 to {VERSION}: use a newer penstock.")
    columns = header.table
    if header.version == 1:
        columns = {name.replace("_first", "_offsets"): values for name, values in columns.items()}
    return checked_table(DispatchTable(**{name: _int_array(values) for name, values in columns.items()}))


def _int_array(values: list[Any]) -> I64:
    """The array of (nested) lists of integers; other values are refused, not rounded."""
    array = np.array(values)
    if array.size and array.dtype != np.int64:
        raise ValueError(f"an array of the table holds {array.dtype}, not integers of 64 bits")
    return array.astype(np.int64)


def _decision(dispatches: list[Any], drops: list[Any], wake_us: int) -> Decision:
    return Decision(
        tuple(Dispatch(*d[:3], *map(tuple, d[3:])) for d in dispatches),
        tuple((unit, cause) for unit, cause in drops),
        wake_us,
    )
