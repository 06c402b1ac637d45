"""Which requests wait, where their samples are, and their results as they come back. No I/O.

A request of n samples is n units, numbered in a row. Units leave in batches, which may mix requests and
split them; the outputs are put together again here. Every request is settled exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from penstock.record import Outcome
from penstock.serve.messages import Assign, BatchHeader, Dropped, Failed
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import Tensor

Outputs = tuple[Tensor, ...]
NOWHERE = (-1, -1)


@dataclass(eq=False, slots=True)
class Waiting:
    """An admitted request.

    ``settle`` gets its outputs or an error, once. ``places``: (pipeline, batch) of each unit. ``missing``:
    units whose outputs are not in ``pieces`` yet, which is by the offset of their first sample.
    """

    model: int
    inputs: Mapping[str, Tensor]
    first: int
    samples: int
    arrival_us: int
    deadline_us: int
    settle: Callable[[Outputs | ProtocolError], None]
    places: list[tuple[int, int]] = field(init=False)
    outcome: Outcome | None = None
    dispatched_us: int = -1
    compute_us: int = 0
    missing: int = field(init=False)
    pieces: dict[int, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = [NOWHERE] * self.samples
        self.missing = self.samples

    @property
    def is_settled(self) -> bool:
        """Whether the answer is given; units of it may still be on their way."""
        return self.outcome is not None

    @property
    def has_result(self) -> bool:
        """Whether the answer was a result, in time or late."""
        return self.outcome in (Outcome.MET, Outcome.LATE)


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of a batch that are consecutive samples of one request."""

    request: Waiting
    offset: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Shipped:
    last_worker: int
    runs: tuple[Run, ...]


@final
class Ledger:
    """All requests in flight. ``on_settled`` sees each once, after its outcome is set."""

    def __init__(self, on_settled: Callable[[Waiting, int], None]) -> None:
        self._on_settled = on_settled
        self._next_unit = 0
        self._by_unit: dict[int, Waiting] = {}
        self._batches: dict[int, _Shipped] = {}

    @property
    def in_flight(self) -> int:
        """Samples that wait or run."""
        return len(self._by_unit)

    def admit(self, samples: int) -> int:
        """Number the units of a new request; returns the first."""
        first = self._next_unit
        self._next_unit += samples
        return first

    def add(self, request: Waiting) -> None:
        """Take ``request`` in."""
        for unit in range(request.first, request.first + request.samples):
            self._by_unit[unit] = request

    def assign(self, message: Assign, now_us: int) -> tuple[Run, ...]:
        """The pieces of requests that make up a batch, in the order of its rows."""
        runs: list[Run] = []
        for unit in message.units:
            request = self._by_unit[unit]
            offset = unit - request.first
            request.places[offset] = (message.pipeline, message.batch)
            request.dispatched_us = now_us
            last = runs[-1] if runs else None
            if last is not None and last.request is request and last.offset + last.rows == offset:
                runs[-1] = Run(request, last.offset, last.rows + 1)
            else:
                runs.append(Run(request, offset, 1))
        self._batches[message.batch] = _Shipped(message.route[-1].worker, tuple(runs))
        return tuple(runs)

    def result(self, header: BatchHeader, outputs: Sequence[Tensor], now_us: int) -> None:
        """A batch came back. Batches that were given up meanwhile are ignored."""
        shipped = self._batches.pop(header.batch, None)
        row = 0
        for run in shipped.runs if shipped else ():
            request = run.request
            self._forget(request, range(run.offset, run.offset + run.rows))
            request.pieces[run.offset] = [_rows(tensor, row, run.rows) for tensor in outputs]
            request.missing -= run.rows
            request.compute_us = max(request.compute_us, header.compute_us)
            row += run.rows
            if request.missing == 0 and not request.is_settled:
                outcome = Outcome.MET if now_us <= request.deadline_us else Outcome.LATE
                self._settle(request, outcome, _assembled(request.pieces), now_us)

    def drop(self, message: Dropped, now_us: int) -> None:
        """The policy gave a unit up: its request is answered, and what still waits of it forgotten."""
        request = self._by_unit.get(message.unit)
        if request is None:
            return
        self._forget(request, [at for at, place in enumerate(request.places) if place == NOWHERE])
        waited_us = now_us - request.arrival_us
        text = f"dropped after {waited_us} us: the deadline of {_slo_us(request)} us can no longer be met."
        self._settle(request, Outcome(message.cause), ProtocolError(504, text), now_us)

    def fail(self, message: Failed, now_us: int) -> None:
        """Batches that will not come back: those named, and those whose last worker went down."""
        lost = [*message.batches]
        if message.worker >= 0:
            lost += [b for b, shipped in self._batches.items() if shipped.last_worker == message.worker]
        error = ProtocolError(500, message.message)
        for batch in lost:
            shipped = self._batches.pop(batch, None)
            for run in shipped.runs if shipped else ():
                self._forget(run.request, range(run.offset, run.offset + run.rows))
                self._settle(run.request, Outcome.ERROR, error, now_us)

    def give_up(self, is_overdue: Callable[[Waiting], bool], error: ProtocolError, now_us: int) -> None:
        """Answer the requests that ``is_overdue`` picks; their units stay known until they are settled."""
        for request in {id(waiting): waiting for waiting in self._by_unit.values()}.values():
            if is_overdue(request):
                self._settle(request, Outcome.ERROR, error, now_us)

    def _settle(
        self, request: Waiting, outcome: Outcome, answer: Outputs | ProtocolError, now_us: int
    ) -> None:
        if request.is_settled:
            return
        request.outcome = outcome
        request.settle(answer)
        self._on_settled(request, now_us)

    def _forget(self, request: Waiting, offsets: Iterable[int]) -> None:
        for offset in offsets:
            self._by_unit.pop(request.first + offset, None)


def _rows(tensor: Tensor, first: int, rows: int) -> Tensor:
    return Tensor(tensor.name, tensor.datatype, tensor.array[first : first + rows])


def _assembled(pieces: Mapping[int, Sequence[Tensor]]) -> Outputs:
    """The outputs in the order of the request's samples."""
    ordered = [pieces[offset] for offset in sorted(pieces)]
    if len(ordered) == 1:
        return tuple(ordered[0])
    return tuple(
        Tensor(column[0].name, column[0].datatype, np.concatenate([tensor.array for tensor in column]))
        for column in zip(*ordered, strict=True)
    )


def _slo_us(request: Waiting) -> int:
    return request.deadline_us - request.arrival_us
