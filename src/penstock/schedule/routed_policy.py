"""The reservation policy as an object: queues, reservations and decisions behind the ``Policy`` protocol.

The rules are in :mod:`penstock.schedule.rules`; the simulator calls them without this object. Here are the calls with
the checks of their arguments, the arrays that grow, and decisions as plain data.
"""

from __future__ import annotations

from typing import final

import numpy as np

from penstock.errors import BadInputError
from penstock.schedule import routed_calls as calls
from penstock.schedule.checks import (
    LARGEST_ID,
    LEAST_ID,
    checked_batch,
    checked_duration,
    checked_id,
    checked_index,
    checked_time,
)
from penstock.schedule.facts import make_facts, make_state
from penstock.schedule.mechanism.in_flight_kernels import has_room
from penstock.schedule.pieces import pieces_at
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.rule_numbers import PENSTOCK, RULES
from penstock.schedule.rules.reservation_kernels import DROP
from penstock.schedule.state.addresses import addresses_of
from penstock.schedule.state.arrays import (
    PACE_OF_PROFILE,
    PolicyState,
    grow_flights,
    grow_queues,
)
from penstock.schedule.table import DispatchTable
from penstock.units import LATEST_US, NEVER_US

LARGEST_BATCH = 2**31 - 1
"""More pieces than any batch has."""


def rule_code(name: str) -> int:
    """The code of a rule; :class:`BadInputError` for an unknown name."""
    if name not in RULES:
        raise BadInputError(f"policy {name!r} is unknown. Use one of: {', '.join(RULES)}.")
    return RULES[name]


@final
class ReservationPolicy:
    """A policy that reserves whole routes; see :class:`penstock.schedule.policy.Policy` for the methods.

    ``rule`` names how it chooses among them, one of :data:`penstock.schedule.rule_numbers.RULES`; ``reservation`` is
    the published one.
    ``dispatch_us`` and ``overhead_us``: what the driver adds between a decision and the start of its batch, and
    to each request end to end; predictions count both. ``max_queue_delay_us``: the longest that a head waits for
    company, None for as long as its deadline allows. Raises :class:`BadInputError` for a negative one, and for an
    unknown rule.
    """

    def __init__(
        self,
        table: DispatchTable,
        *,
        rule: str = "reservation",
        dispatch_us: int = 0,
        overhead_us: int = 0,
        max_queue_delay_us: int | None = None,
    ) -> None:
        facts = make_facts(
            table, dispatch_us=dispatch_us, overhead_us=overhead_us, max_queue_delay_us=max_queue_delay_us
        )
        self._models, self._workers = table.n_models, table.n_workers
        # The policy learns what transfers take, so it has its own.
        self._planned_us = facts.transfer_us
        self._link_pace = [PACE_OF_PROFILE] * len(facts.transfer_us)
        facts = facts._replace(transfer_us=facts.transfer_us.copy())
        self._adopt(make_state(table, facts, rule=rule_code(rule)))
        self._stages = int(np.diff(table.stage_offsets).max())
        self._report = calls.make_report(self._state.actions)
        self._arrive, self._decide, self._complete = calls.frequent_calls(split=table.splits)
        self._piece_batch = table.piece_batch.tolist() if table.splits else None
        self._stage_offsets = table.stage_offsets.tolist()
        self._wake_us = NEVER_US

    @property
    def state(self) -> PolicyState:
        """The arrays behind the decisions, for metrics and tests; not to be written."""
        return self._state

    @property
    def in_flight(self) -> int:
        """Batches that were dispatched and are neither finished nor abandoned."""
        return int(np.count_nonzero(self._state.flights.batch >= 0))

    # Every call checks what it is given, because the kernels do not. The usual case is written out: all are plain
    # integers in their ranges, which one expression decides in a tenth of a microsecond. The functions of
    # penstock.schedule.checks then take other kinds of integers, and say what is wrong with the rest. What is passed on
    # is a plain integer of 64 bits, so the entry points of kernels may be called without numba's own look at it.

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        """Queue a request; the ring of its model grows if it is full."""
        if not (
            type(now_us) is type(model) is type(request) is type(deadline_us) is int
            and 0 <= now_us <= LATEST_US
            and 0 <= model < self._models
            and LEAST_ID <= request <= LARGEST_ID
            and 0 <= deadline_us <= LATEST_US
        ):
            now_us, model = checked_time("now_us", now_us), checked_index("model", model, self._models)
            request, deadline_us = checked_id("request", request), checked_time("deadline_us", deadline_us)
        while not self._arrive(self._block, now_us, model, request, deadline_us):
            self._adopt(self._state._replace(queues=grow_queues(self._state.queues)))
        if now_us < self._wake_us:  # noqa: PLR1730  (a call of min takes longer than the checks above)
            self._wake_us = now_us

    def decide(self, now_us: int) -> Decision:
        """Every decision that is due at ``now_us``, and when to ask again."""
        if not (type(now_us) is int and 0 <= now_us <= LATEST_US):
            now_us = checked_time("now_us", now_us)
        if self._wake_us > now_us:
            return Decision((), (), self._wake_us)
        dispatches: list[Dispatch] = []
        drops: list[tuple[int, int]] = []
        while self._wake_us <= now_us:
            words = self._report[: self._decide(self._block, now_us, self._report)].tolist()
            self._wake_us, needs_room, *actions = words
            _read(actions, dispatches, drops)
            if needs_room:
                self._make_room()
        if self._piece_batch is not None:
            dispatches = [each._replace(pieces=self._pieces(each)) for each in dispatches]
        return Decision(tuple(dispatches), tuple(drops), self._wake_us)

    def _pieces(self, dispatch: Dispatch) -> tuple[int, ...]:
        return self._pieces_of(self._stage_offsets[dispatch.pipeline], len(dispatch.requests))

    def _pieces_of(self, first_stage: int, size: int) -> tuple[int, ...]:
        """Into how many pieces each stage of a pipeline, from its first on, divides a batch of ``size``."""
        assert self._piece_batch is not None, "only stages that are split have pieces"
        stop = self._stage_offsets[self._stage_offsets.index(first_stage) + 1]
        return tuple(pieces_at(size, most) for most in self._piece_batch[first_stage:stop])

    def complete(self, now_us: int, batch: int, stage: int, piece: int = 0) -> None:
        """Correct the table by a real completion."""
        if not (
            type(now_us) is type(batch) is type(stage) is int
            and 0 <= now_us <= LATEST_US
            and 0 <= batch <= LARGEST_ID
            and 0 <= stage < self._stages
        ):
            now_us, batch = checked_time("now_us", now_us), checked_batch(batch)
            stage = checked_index("stage", stage, self._stages)
        if piece or self._piece_batch is not None:
            column = self._column(batch, stage, checked_index("piece", piece, LARGEST_BATCH))
            if column is None:
                return
            stage = column
        self._wake_us = self._complete(self._block, now_us, batch, stage)

    def _column(self, batch: int, stage: int, piece: int) -> int | None:
        """The column of a piece in the route of ``batch``. None if it is not in flight, or has no such piece."""
        flights = self._state.flights
        slot = batch & (len(flights.batch) - 1)
        if self._piece_batch is None or flights.batch[slot] != batch:
            return None
        pieces = self._pieces_of(int(flights.first_stage[slot]), int(flights.size[slot]))
        return sum(pieces[:stage]) + piece if stage < len(pieces) and piece < pieces[stage] else None

    def transferred(self, now_us: int, batch: int, stage: int, transfer_us: int) -> None:
        """Move the pace of the link into a stage by a 64th of the difference to what this transfer took, as the pace of
        a stage moves. It counts as the planned time at least, because the sums of least times rely on that, and as four
        times that at most. Of the rule ``penstock`` only, as with stages."""
        now_us, batch = checked_time("now_us", now_us), checked_batch(batch)
        stage = checked_index("stage", stage, self._stages)
        transfer_us = checked_duration("transfer_us", transfer_us)
        flights, facts = self._state.flights, self._state.facts
        slot = batch & (len(flights.batch) - 1)
        if (
            stage == 0
            or self._piece_batch is not None
            or flights.batch[slot] != batch
            or self._state.rule[0] != PENSTOCK
        ):
            return
        receiver, sender = int(flights.worker[slot, stage]), int(flights.worker[slot, stage - 1])
        sender = int(flights.sender[slot]) if sender < 0 else sender
        if receiver < 0 or sender < 0 or facts.worker_host[sender] == facts.worker_host[receiver]:
            return
        at, size = int(flights.first_stage[slot]) + stage, int(flights.size[slot])
        planned_us = int(self._planned_us[at, size])
        if planned_us:
            counted_us = min(max(transfer_us, planned_us), 4 * planned_us)
            pace = self._link_pace[at]
            pace += (PACE_OF_PROFILE * counted_us // planned_us - pace) // 64
            self._link_pace[at] = pace
            facts.transfer_us[at] = self._planned_us[at] * pace // PACE_OF_PROFILE

    def abandon(self, now_us: int, batch: int) -> tuple[int, ...]:
        """Free what a batch that goes no further still holds; returns it, or nothing if it is not in flight."""
        now_us, batch = checked_time("now_us", now_us), checked_batch(batch)
        was_in_flight, self._wake_us = calls.abandon(self._block, now_us, batch)
        return (batch,) if was_in_flight else ()

    def cancel(self, request: int) -> bool:
        """Take a queued request out."""
        was_queued, self._wake_us = calls.cancel(self._block, checked_id("request", request))
        return bool(was_queued)

    def worker_down(self, now_us: int, worker: int) -> tuple[int, ...]:
        """Promise ``worker`` nothing more; abandon its batches, and return them in the order of their dispatch."""
        now_us, worker = checked_time("now_us", now_us), checked_index("worker", worker, self._workers)
        flights = self._state.flights
        held = (flights.worker == worker).any(axis=1) | (flights.sender == worker)
        held |= (flights.done_by == worker).any(axis=1)
        lost = sorted(flights.batch[held & (flights.batch >= 0)].tolist())
        for batch in lost:
            calls.abandon(self._block, now_us, batch)
        self._wake_us = calls.worker_down(self._block, worker)
        return tuple(lost)

    def worker_up(self, now_us: int, worker: int) -> None:
        """Promise ``worker`` work again."""
        now_us, worker = checked_time("now_us", now_us), checked_index("worker", worker, self._workers)
        self._wake_us = calls.worker_up(self._block, now_us, worker)

    def _adopt(self, state: PolicyState) -> None:
        """Keep the arrays and their addresses, always together."""
        self._state, self._block = state, addresses_of(state)

    def _make_room(self) -> None:
        flights = self._state.flights
        while not has_room(flights, int(self._state.counter[0])):
            flights = grow_flights(flights)
        self._adopt(self._state._replace(flights=flights))


def _read(words: list[int], dispatches: list[Dispatch], drops: list[tuple[int, int]]) -> None:
    """The actions of a report as plain data; see :func:`penstock.schedule.routed_calls.decide`."""
    at = 0
    while at < len(words):
        kind, model, pipeline, batch, size, stages = words[at : at + 6]
        at += 6
        if kind == DROP:
            drops.append((words[at], size))
            at += 1
            continue
        workers = at + size
        starts, ends = workers + stages, workers + 2 * stages
        dispatches.append(
            Dispatch(
                batch,
                model,
                pipeline,
                tuple(words[at:workers]),
                tuple(words[workers:starts]),
                tuple(words[starts:ends]),
                tuple(words[ends : ends + stages]),
            )
        )
        at = ends + stages
