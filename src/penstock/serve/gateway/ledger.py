"""The requests that are not answered yet, where their samples are, and the results that came back. It does no I/O.

A request of n samples is n units, numbered one after the other. Units leave in batches. A batch may have units of
several requests, and a request may be spread over several batches; its outputs are put together again here. Every
request is settled exactly once.

A batch may be lost: its worker dies, hangs or refuses it, or the dispatcher that sent it dies. It is forgotten here at
that moment, so a result that comes after all does not count; its units wait again, and the dispatcher is told of them.
:attr:`Ledger.messages` collects what it is to be told. A new dispatcher is told of all that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.serve.gateway.outputs import assembled, piece_of, places_in
from penstock.serve.gateway.waiting import MOST_RUNS, RETRY_AFTER_S, Outputs, Place, Run, Waiting
from penstock.serve.messages import (
    Again,
    Arrive,
    Assign,
    BatchDropped,
    BatchHeader,
    Cancel,
    Cancelled,
    Dropped,
    Failed,
    numbered,
    owner_of,
)
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.spec import TensorSpec
from penstock.serve.transport import Group
from penstock.units import US_PER_S

OVERDUE_US = US_PER_S
"""How late a batch of a dispatcher that died may be before its units wait again."""


@dataclass(frozen=True, slots=True)
class _Shipped:
    epoch: int
    workers: tuple[int, ...]
    end_us: int
    runs: tuple[Run, ...]


@final
class Ledger:
    """All requests in flight at gateway number ``gateway``.

    ``on_settled`` is called once for each, after its outcome is set. ``on_retried`` is called for each batch that was
    lost and is tried again, with one of its requests.
    """

    def __init__(
        self,
        on_settled: Callable[[Waiting, int], None],
        gateway: int = 0,
        on_retried: Callable[[Waiting], None] = lambda request: None,
    ) -> None:
        self._on_settled = on_settled
        self._on_retried = on_retried
        self._gateway = gateway
        self._next_unit = 0
        self._by_unit: dict[int, Waiting] = {}
        self._batches: dict[int, _Shipped] = {}
        self._dispatcher = -1
        self.messages: list[Arrive | Cancel] = []
        """What to tell the dispatcher; whoever sends them empties the list."""

    @property
    def in_flight(self) -> int:
        """Samples that are queued or run."""
        return len(self._by_unit)

    def any_of(self, epoch: int) -> bool:
        """Whether a batch of ``epoch`` is on its way, or a request for a model of it."""
        return any(shipped.epoch == epoch for shipped in self._batches.values()) or any(
            request.epoch == epoch for request in self._by_unit.values()
        )

    def admit(self, samples: int) -> int:
        """Number the units of a new request; returns the first."""
        first = numbered(self._gateway, self._next_unit)
        self._next_unit += samples
        return first

    def add(self, request: Waiting) -> None:
        """Take ``request`` in."""
        for unit in range(request.first, request.first + request.samples):
            self._by_unit[unit] = request
        self._tell(request, range(request.samples), alone=False)

    def dispatcher_up(self, number: int, now_us: int) -> None:
        """Dispatcher ``number`` decides from now on, and knows nothing yet."""
        if number <= self._dispatcher:
            return  # it died meanwhile
        self._dispatcher = number
        self.messages.clear()
        for request in self._requests():
            queued = request.queued()
            if request.is_settled or request.is_abandoned:
                self._leave(request, queued, now_us)
            else:
                self._tell(request, queued, alone=request.runs_alone)

    def assign(self, message: Assign, now_us: int) -> tuple[Run, ...]:
        """The pieces of requests that make up this gateway's share of a batch, in the order of its rows: those of one
        shared value together.

        None of them if the batch is of a dispatcher that died. Raises :class:`BadInputError`, and changes nothing, for
        a batch without a route or with an unknown unit.
        """
        if owner_of(message.batch) != self._dispatcher:
            return ()
        unknown = [unit for unit in message.units if unit not in self._by_unit]
        if unknown or not message.units or not message.route:
            raise BadInputError(
                f"batch {message.batch} has {len(message.units)} units ({unknown[:8]} of them unknown) and "
                f"{len(message.route)} stages: it needs known units and a route."
            )
        runs: list[Run] = []
        place = Place(message.epoch, message.pipeline, message.batch)
        for unit in message.units:
            request = self._by_unit[unit]
            offset = unit - request.first
            request.places[offset] = place
            request.dispatched_us = now_us
            last = runs[-1] if runs else None
            if last is not None and last.request is request and last.offset + last.rows == offset:
                runs[-1] = Run(request, last.offset, last.rows + 1)
            else:
                runs.append(Run(request, offset, 1))
        values = list(dict.fromkeys(run.request.shared for run in runs))
        if len(values) > 1:
            runs.sort(key=lambda run: values.index(run.request.shared))
        workers = tuple(step.worker for step in message.route)
        self._batches[message.batch] = _Shipped(message.epoch, workers, message.end_us, tuple(runs))
        return tuple(runs)

    def requests_of(self, batch: int) -> list[Waiting]:
        """The requests that have samples in a batch on its way."""
        shipped = self._batches.get(batch)
        return list({id(run.request): run.request for run in shipped.runs}.values()) if shipped else []

    def result(
        self, header: BatchHeader, groups: Sequence[Group], now_us: int, specs: Sequence[TensorSpec] = ()
    ) -> None:
        """A batch came back, in groups as it was sent. Batches that were given up meanwhile are ignored.

        ``specs`` say which axis of an output is the batch: the first one unless told. Requests whose samples are not
        all there are answered with an error.
        """
        shipped = self._batches.pop(header.batch, None)
        by_name = {spec.name: spec for spec in specs}
        places = places_in(groups)
        row = 0
        for run in shipped.runs if shipped else ():
            request = run.request
            self._forget(request, range(run.offset, run.offset + run.rows))
            group, first = places[row] if row < len(places) else (None, 0)
            row += run.rows
            piece = None if group is None else piece_of(group, first, run.rows, by_name)
            if isinstance(piece, list):
                request.pieces[run.offset] = piece
            else:
                text = piece or f"the batch came back with {len(places)} samples, fewer than were sent."
                self._settle(request, Outcome.ERROR, ProtocolError(500, text), now_us)
                continue
            request.missing -= run.rows
            request.compute_us = max(request.compute_us, header.compute_us)
            if request.missing == 0 and not request.is_settled:
                made = assembled(request.pieces, by_name)
                problem = request.problem_of(made)
                outcome = Outcome.MET if now_us <= request.deadline_us else Outcome.LATE
                if problem is not None:
                    outcome = Outcome.ERROR
                self._settle(request, outcome, problem or made, now_us)

    def drop(self, message: Dropped, now_us: int) -> None:
        """The policy dropped a unit: its request is answered, and its units that are still queued are forgotten."""
        request = self._by_unit.get(message.unit)
        if request is None or message.dispatcher != self._dispatcher:
            return
        if request.losses:
            # Some of it may just have been told again. It stays known until the dispatcher has forgotten it.
            self._forget(request, (message.unit - request.first,))
            self._cancel_rest(request)
        else:
            self._forget(request, request.queued())
        if request.failure is not None:
            text = f"{request.failure} No other route meets the deadline."
            error = ProtocolError(503, text, retry_after_s=RETRY_AFTER_S)
            self._settle(request, Outcome.ERROR, error, now_us)
            return
        waited_us = now_us - request.arrival_us
        text = f"dropped after {waited_us} us: the deadline of {_slo_us(request)} us can no longer be met."
        if request.doubt:
            text += f" Note: {request.doubt}."
        self._settle(request, Outcome(message.cause), ProtocolError(504, text), now_us)

    def drop_batch(self, message: BatchDropped, now_us: int) -> None:
        """A device gave up a batch that was sent to it: too much waits there, or the deadline cannot be met."""
        shipped = self._batches.pop(message.batch, None)
        cause = Outcome(message.cause)
        if cause is Outcome.DROPPED_EARLY:
            error = ProtocolError(503, "too much waits for the device.", retry_after_s=RETRY_AFTER_S)
        else:
            error = ProtocolError(504, "dropped by the device: the deadline can no longer be met.")
        for run in shipped.runs if shipped else ():
            self._forget(run.request, range(run.offset, run.offset + run.rows))
            self._settle(run.request, cause, error, now_us)

    def cancel(self, request: Waiting, now_us: int) -> None:
        """The client of ``request`` has gone: what waits of it need not run."""
        request.left_us = now_us
        if not request.is_settled and request.queued() and self._dispatcher >= 0:
            self.messages.append(Cancel(self._dispatcher, request.first))

    def cancelled(self, message: Cancelled, now_us: int) -> Waiting | None:
        """The dispatcher has forgotten what waited of a request whose client has gone: the request, if it is known.

        The dispatcher may have sent some of it just before it was asked.
        """
        request = self._by_unit.get(message.request) or self._request_of(message.request)
        if request is None or message.dispatcher != self._dispatcher:
            return None
        self._leave(request, request.queued(), now_us)
        return request

    def _leave(self, request: Waiting, offsets: Sequence[int], now_us: int) -> None:
        """Nobody wants ``request`` any more, and its units at ``offsets`` are nowhere."""
        self._forget(request, offsets)
        if offsets:
            error = ProtocolError(503, "the client closed the connection before the request ran.")
            self._settle(request, Outcome.DROPPED_DEADLINE, error, now_us)

    def sent_of(self, request: Waiting) -> list[tuple[int, int]]:
        """(batch, worker) of every batch on its way that holds samples of ``request`` and of no other."""
        batches = sorted({place.batch for place in request.places if place is not None})
        return [
            (batch, self._batches[batch].workers[-1])
            for batch in batches
            if batch in self._batches and all(run.request is request for run in self._batches[batch].runs)
        ]

    def fail(self, message: Failed, now_us: int) -> None:
        """Batches that will not come back: those named, and those that a dead worker may have held.

        Their requests wait again, or are answered with the error if that is no use.
        """
        lost = [batch for batch in message.batches if batch in self._batches]
        if message.worker >= 0:
            lost += [
                batch
                for batch, shipped in self._batches.items()
                if batch not in message.batches and self._may_be_lost_with(message.worker, batch, shipped)
            ]
        self._lose(lost, message.message, message.again, now_us)

    def lose_overdue(self, now_us: int) -> None:
        """What a dispatcher that died had sent, and that should be back by now, waits again."""
        oldest_us = now_us - OVERDUE_US
        lost = [
            batch
            for batch, shipped in self._batches.items()
            if shipped.end_us < oldest_us and owner_of(batch) != self._dispatcher
        ]
        self._lose(lost, "the dispatcher died, and the batch did not come back.", Again.TOGETHER, now_us)

    def give_up(self, is_overdue: Callable[[Waiting], bool], error: ProtocolError, now_us: int) -> None:
        """Answer the requests that ``is_overdue`` picks; their units stay known until they are settled."""
        for request in self._requests():
            if is_overdue(request):
                self._settle(request, Outcome.ERROR, error, now_us)

    def _may_be_lost_with(self, worker: int, batch: int, shipped: _Shipped) -> bool:
        """The dispatcher names the batches in its own books; what has left the last stage it does not hold any more."""
        if owner_of(batch) == self._dispatcher:
            return shipped.workers[-1] == worker
        return worker in shipped.workers

    def _lose(self, batches: Sequence[int], why: str, again: Again, now_us: int) -> None:
        lost: dict[Waiting, list[int]] = {}
        retried: set[Waiting] = set()
        gone = [self._batches.pop(batch) for batch in batches]
        for shipped in gone:
            for run in shipped.runs:
                units = range(run.offset, run.offset + run.rows)
                if run.request.is_settled or run.request.is_abandoned:
                    # Not to be told again: a ``Cancelled`` that is on its way would forget them here only.
                    self._leave(run.request, units, now_us)
                else:
                    lost.setdefault(run.request, []).extend(units)
        for request, offsets in lost.items():
            request.losses += 1
            request.failure = why
            request.is_suspect |= again is Again.ALONE
            for offset in offsets:
                request.places[offset] = None
            if again is Again.NEVER or request.losses >= MOST_RUNS:
                self._forget(request, offsets)
                self._give_up_rest(request, why, again, now_us)
            else:
                self._tell(request, sorted(offsets), alone=request.runs_alone)
                retried.add(request)
        for shipped in gone:
            again_of = next((run.request for run in shipped.runs if run.request in retried), None)
            if again_of is not None:
                self._on_retried(again_of)

    def _give_up_rest(self, request: Waiting, why: str, again: Again, now_us: int) -> None:
        """Answer ``request`` with why it failed; what waits of it need not run."""
        if again is Again.NEVER:
            error = ProtocolError(500, why)
        else:
            error = ProtocolError(
                503, f"{why} It failed {request.losses} times.", retry_after_s=RETRY_AFTER_S
            )
        self._settle(request, Outcome.ERROR, error, now_us)
        self._cancel_rest(request)

    def _cancel_rest(self, request: Waiting) -> None:
        """What waits of ``request`` need not run. It is known until the dispatcher has forgotten it: it may just be
        sending it."""
        waits = any(request.first + offset in self._by_unit for offset in request.queued())
        if waits and self._dispatcher >= 0:
            self.messages.append(Cancel(self._dispatcher, request.first))

    def _tell(self, request: Waiting, offsets: Sequence[int], *, alone: bool) -> None:
        """Tell the dispatcher of units that wait. Without one, the next one is told by :meth:`dispatcher_up`."""
        if self._dispatcher < 0:
            return
        for start, stop in _ranges(offsets):
            self.messages.append(
                Arrive(
                    dispatcher=self._dispatcher,
                    epoch=request.epoch,
                    model=request.model,
                    request=request.first,
                    first=request.first + start,
                    samples=stop - start,
                    deadline_us=request.deadline_us,
                    alone=alone,
                )
            )

    def _requests(self) -> list[Waiting]:
        return list({id(waiting): waiting for waiting in self._by_unit.values()}.values())

    def _request_of(self, first: int) -> Waiting | None:
        return next((request for request in self._by_unit.values() if request.first == first), None)

    def _settle(
        self, request: Waiting, outcome: Outcome, answer: Outputs | ProtocolError, now_us: int
    ) -> None:
        if request.is_settled:
            return
        has_result = outcome in (Outcome.MET, Outcome.LATE)
        if not has_result and 0 <= request.left_us <= request.deadline_us:
            outcome = Outcome.CANCELLED
        request.outcome = outcome
        request.settle(answer)
        self._on_settled(request, now_us)

    def _forget(self, request: Waiting, offsets: Iterable[int]) -> None:
        for offset in offsets:
            self._by_unit.pop(request.first + offset, None)


def _ranges(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive ``offsets``, which ascend, as [start, stop)."""
    ranges: list[tuple[int, int]] = []
    for offset in offsets:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return ranges


def _slo_us(request: Waiting) -> int:
    return request.deadline_us - request.arrival_us
