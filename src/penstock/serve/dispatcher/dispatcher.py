"""What the dispatcher does with each event, without I/O: the policy decides, this class tells the other processes.

Every method takes the time, and returns the messages. The policy says which batches are lost when a worker goes down.
What waits and what was sent is known to the gateways as well: so a batch that is lost is only named to them, and they
tell of its requests again; and a new dispatcher can start with empty books.

A real timer fires late. The policy waits for the last moment at which a batch still makes its deadline, so
asked a few microseconds after it, it would drop what it meant to send. A decision that is late by no more
than ``late_us`` is therefore made as of the moment it was due; the predictions' own allowance for what the
server adds to a request covers the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.schedule.checks import checked_batch, checked_id, checked_index, checked_time
from penstock.schedule.policy import Dispatch
from penstock.serve.control import Drained, WorkerHung, WorkerSilent
from penstock.serve.dispatcher.flights import AnyFlight, Flight, Flights, Over, Whole
from penstock.serve.dispatcher.liveness import Liveness
from penstock.serve.dispatcher.outgoing import EVERY, ForEngine, ForGateway, ForWorker, Messages
from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.dispatcher.served_plans import ServedPlans
from penstock.serve.dispatcher.split_flights import SplitFlight, SplitWhole
from penstock.serve.dispatcher.waiting_units import WaitingUnit, WaitingUnits
from penstock.serve.hops.pieces import Pieces, lot_pieces
from penstock.serve.messages import (
    Again,
    Arrive,
    Assign,
    BatchDropped,
    Cancel,
    CancelBatch,
    Cancelled,
    DispatcherUp,
    Dropped,
    Failed,
    GatewayGone,
    Pong,
    Share,
    StageDone,
    StageDropped,
    StageFailed,
    numbered,
    owner_of,
)
from penstock.units import LONGEST_US, NEVER_US

MOST_SAMPLES = 2**20
"""The most samples of one request; the gateway's own limit is lower."""


@dataclass(slots=True)
class _Silent:
    """A worker that does not answer. ``could_run``: it had a core, so it hangs."""

    plan: ServedPlan
    endpoint: str
    why: str
    could_run: bool = False


@final
class Dispatcher:
    """The plans that are served, and the books of what waits and of what is on its way.

    Every method raises :class:`BadInputError`, and does nothing, if a message names what the table does not have.
    """

    def __init__(self, number: int, *, late_us: int) -> None:
        self.number = number
        self._late_us = late_us
        self._plans = ServedPlans()
        self._gateways: dict[int, str] = {}
        self._waiting = WaitingUnits()
        self._flights = Flights()
        self._liveness = Liveness()
        self._silent: dict[int, _Silent] = {}
        self._batches = 0

    @property
    def in_flight(self) -> int:
        """Batches on their way."""
        return len(self._flights)

    @property
    def wake_us(self) -> int:
        """When :meth:`catch_up` or :meth:`look_after` has something to do."""
        plans_us = min((plan.wake_us for plan in self._plans), default=NEVER_US)
        return min(plans_us, self._flights.check_us)

    # Plans

    def add_plan(self, plan: ServedPlan) -> None:
        """Know ``plan``, whose workers may come up now. It gets no requests before :meth:`switch`."""
        self._plans.add(plan)

    def remove_plan(self, epoch: int) -> None:
        """Forget a plan that was added and is not served."""
        plan = self._plans.remove(epoch)
        for worker in plan.workers if plan is not None else ():
            self._silent.pop(worker, None)

    def switch(self, now_us: int, epoch: int, carried: Sequence[int | None] = ()) -> Messages:
        """Serve the plan of ``epoch`` from now on.

        ``carried[m]`` is what model m of the plan before is in this one, None if it is not in it; what waits for a
        model that is, waits for the new one. The rest is served by the old plan until it is drained.
        """
        messages = self.catch_up(now_us)
        before, plan = self._plans.switch(epoch, carried)
        messages.append(ForGateway(EVERY, plan.readiness(self.number)))
        if before is not None:
            self._waiting.carry(now_us, before, plan, carried)
            messages += self._decide(before, now_us)
        return messages + self._decide(plan, now_us) + self._retire()

    def _retire(self) -> Messages:
        """Forget each plan that was replaced and has nothing more to do."""
        messages: Messages = []
        for plan in self._plans.replaced:
            if not plan.waiting and not self._flights.any_of(plan.epoch):
                self.remove_plan(plan.epoch)
                messages.append(ForEngine(Drained(plan.epoch)))
        return messages

    # Gateways

    def gateway_up(self, now_us: int, gateway: int, endpoint: str) -> Messages:
        """A gateway that listens at ``endpoint`` has started: it is asked for what waits, and told what is served."""
        self._gateways[gateway] = endpoint
        messages: Messages = [ForGateway(gateway, DispatcherUp(self.number))]
        if self._plans.current is not None:
            messages.append(ForGateway(gateway, self._plans.current.readiness(self.number)))
        return messages

    def gateway_down(self, now_us: int, gateway: int) -> Messages:
        """A gateway died: nobody waits for its units. Its batches run on, because they may hold units of others.

        A batch that is split does not if rows may be missing: its pieces could not tell which rows they have.
        """
        messages = self.catch_up(now_us)
        self._gateways.pop(gateway, None)
        self._waiting.cancel_of(gateway)
        messages.append(ForWorker(EVERY, GatewayGone(gateway)))
        for flight in [flight for flight in self._flights if flight.needs(gateway)]:
            why = f"gateway {gateway} died, and may not have sent its share."
            messages += self._lose(now_us, flight, Failed((flight.batch,), -1, why, Again.TOGETHER))
        return messages + self._decide_all(now_us) + self._retire()

    # Requests

    def arrive(self, now_us: int, message: Arrive) -> Messages:
        """Queue the samples of a request, each a unit of its own to the policy."""
        checked_time("deadline_us", message.deadline_us)
        checked_id("the request's last unit", message.first + message.samples)
        if not 0 < message.samples <= MOST_SAMPLES:
            raise BadInputError(
                f"samples (={message.samples}) must be from 1 to {MOST_SAMPLES}: split the request."
            )
        gateway, units = owner_of(message.first), range(message.first, message.first + message.samples)
        if not owner_of(message.request) == gateway == owner_of(units[-1]):
            raise BadInputError(
                f"units {units[0]} to {units[-1]} of request {message.request} are not of one gateway: "
                "number them by penstock.serve.messages.numbered."
            )
        found = self._plans.resolved(message.epoch, message.model)
        if message.dispatcher != self.number or gateway not in self._gateways:
            # It was meant for a dispatcher that died, or its gateway did.
            return []
        if any(unit in self._waiting for unit in units):
            raise BadInputError(f"units {units[0]} to {units[-1]}: some wait already; tell of each once.")
        if found is None:
            return [ForGateway(gateway, Dropped(self.number, message.first, int(Outcome.DROPPED_EARLY)))]
        plan, model = found
        messages = self.catch_up(now_us)
        one = WaitingUnit(plan, model, message.request, message.deadline_us, message.alone)
        self._waiting.arrive(now_us, units, one)
        return messages + self._decide(plan, now_us)

    def cancel(self, now_us: int, message: Cancel) -> Messages:
        """Take what still waits of a request out of the queue."""
        if message.dispatcher != self.number:
            return []
        messages = self.catch_up(now_us)
        self._waiting.cancel(message.request)
        messages.append(ForGateway(owner_of(message.request), Cancelled(self.number, message.request)))
        return messages + self._decide_all(now_us)

    # Decisions

    def catch_up(self, now_us: int) -> Messages:
        """The decisions that were due by ``now_us``, each as of its own moment if that is not long ago."""
        messages: Messages = []
        for plan in self._plans:
            while (due_us := plan.wake_us) <= now_us:
                messages += self._decide(plan, max(due_us, now_us - self._late_us))
                if plan.wake_us <= due_us:
                    break
        return messages

    def _decide_all(self, now_us: int) -> Messages:
        messages: Messages = []
        for plan in self._plans:
            messages += self._decide(plan, now_us)
        return messages

    def _decide(self, plan: ServedPlan, now_us: int) -> Messages:
        """What the policy of ``plan`` wants at ``now_us``; sets its wake time."""
        decision = plan.policy.decide(now_us)
        plan.wake_us = decision.wake_us
        messages: Messages = []
        for dispatch in decision.dispatches:
            messages += self._send(plan, dispatch)
        for unit, cause in decision.drops:
            messages += self._drop(unit, cause)
        return messages

    def _send(self, plan: ServedPlan, dispatch: Dispatch) -> Messages:
        messages: Messages = []
        route = plan.route(dispatch.workers)
        workers = tuple(step.worker for step in route)
        whole = Whole(plan, dispatch.batch, len(route))
        split = SplitWhole(plan, dispatch.batch) if is_split(dispatch) else None
        pieces: Pieces = ()
        rows = 0
        for units, requests in self._waiting.take(dispatch.requests):
            batch = numbered(self.number, self._batches)
            self._batches += 1
            by_gateway: dict[int, list[int]] = {}
            for unit in units:
                by_gateway.setdefault(owner_of(unit), []).append(unit)
            flight: AnyFlight
            if split is None:
                flight = Flight(batch, whole, requests, workers, dispatch.end_us)
            else:
                pieces = lot_pieces(dispatch.pieces, len(dispatch.requests), rows, len(units))
                gateways = tuple(by_gateway)
                flight = SplitFlight(batch, split, requests, workers, dispatch.end_us, pieces, gateways)
                rows += len(units)
            self._flights.add(flight, self._liveness.first_check_us(flight))
            shares = tuple(
                Share(gateway, len(own), self._gateways[gateway]) for gateway, own in by_gateway.items()
            )
            for gateway, own in by_gateway.items():
                assign = Assign(
                    plan.epoch,
                    batch,
                    dispatch.pipeline,
                    tuple(own),
                    route,
                    shares,
                    flight.last_end_us,
                    pieces,
                )
                messages.append(ForGateway(gateway, assign))
        return messages

    def _drop(self, unit: int, cause: int) -> Messages:
        """Give up ``unit``, and what still waits of its request: a part of an answer is no answer."""
        self._waiting.drop(unit)
        return [ForGateway(owner_of(unit), Dropped(self.number, unit, int(Outcome(cause))))]

    # Batches

    def reserved_end_us(self, message: StageDone) -> int | None:
        """When a batch should have left the stage, as predicted at its dispatch; None if it is not on its way."""
        flight = self._flights.get(message.batch)
        if flight is None or not 0 <= message.stage < len(flight.end_us):
            return None
        return flight.reserved_us(message.stage, message.piece)

    def stage_done(self, now_us: int, message: StageDone) -> Messages:
        """Correct the policy's table by what really happened."""
        checked_batch(message.batch)
        plan = self._plans.get(message.epoch)
        if plan is None:
            return []
        pipeline = checked_index("pipeline", message.pipeline, len(plan.table.pipeline_batch))
        checked_index("stage", message.stage, plan.stages_of(pipeline))
        messages = self.catch_up(now_us) + self._answers(now_us, message.worker)
        self._liveness.heard_of(message.worker)
        flight = self._flights.get(message.batch)
        if flight is not None:
            if message.stage and plan.has_links and not flight.pieces:
                # Clocks of hosts agree to half of a message's way only: a time below 0 is none.
                transfer_us = min(max(message.transfer_us, 0), LONGEST_US)
                plan.policy.transferred(now_us, flight.whole.batch, message.stage, transfer_us)
            over = self._flights.stage_done(flight, message.stage, message.piece)
            self._over(now_us, flight.whole, over)
        return messages + self._decide(plan, now_us) + self._retire()

    def stage_failed(self, now_us: int, message: StageFailed) -> Messages:
        """The batch goes no further; its worker lives on.

        Of several requests each runs again alone, because one of them may be to blame. A request that was alone is
        answered with the error.
        """
        checked_batch(message.batch)
        messages = self.catch_up(now_us)
        flight = self._flights.get(message.batch)
        if flight is None:
            if owner_of(message.batch) == self.number:
                return messages
            # It was sent by a dispatcher that died. Its gateways know it.
            failed = Failed((message.batch,), -1, message.message, Again.TOGETHER)
            return [*messages, ForGateway(EVERY, failed)]
        again = Again.ALONE if flight.requests > 1 else Again.NEVER
        if message.is_incomplete:
            again = Again.TOGETHER
        messages += self._lose(now_us, flight, Failed((flight.batch,), -1, message.message, again))
        return messages + self._decide(flight.whole.plan, now_us) + self._retire()

    def stage_dropped(self, now_us: int, message: StageDropped) -> Messages:
        """The policy of a scheduled device gave the batch up."""
        checked_batch(message.batch)
        messages = self.catch_up(now_us)
        flight = self._flights.get(message.batch)
        if flight is None:
            return messages
        messages += self._lose(now_us, flight, BatchDropped(message.batch, message.cause))
        return messages + self._decide(flight.whole.plan, now_us) + self._retire()

    def _over(self, now_us: int, whole: Whole | SplitWhole, steps: Over) -> None:
        for step in steps:
            whole.plan.policy.complete(now_us, whole.batch, *step)

    def _lose(self, now_us: int, flight: AnyFlight, said: Failed | BatchDropped) -> Messages:
        """``flight`` goes no further; ``said`` to the gateways."""
        over = self._flights.lose(flight)
        if over is None:
            flight.whole.plan.policy.abandon(now_us, flight.whole.batch)
        else:
            self._over(now_us, flight.whole, over)
        return [ForGateway(EVERY, said), *_not_to_wait([flight])]

    # Workers

    def worker_up(self, now_us: int, worker: int, endpoint: str) -> Messages:
        """``worker`` listens at ``endpoint`` and is idle."""
        plan = self._plans.of_worker(worker)
        if plan is None:
            return []
        messages = self.catch_up(now_us)
        self._liveness.heard_of(worker)
        self._silent.pop(worker, None)
        plan.up(now_us, worker, endpoint)
        return messages + self._readiness(plan) + self._decide(plan, now_us)

    def worker_down(self, now_us: int, worker: int, reason: str) -> Messages:
        """``worker`` died: what it held is lost, and what it had sent on may be.

        The policy names the batches that have a stage to go. The gateway settles those that were on their way to it,
        because only it knows which results it got.
        """
        plan = self._plans.of_worker(worker)
        if plan is None:
            return []
        messages = self.catch_up(now_us)
        self._silent.pop(worker, None)
        return messages + self._give_up(now_us, plan, worker, reason)

    def _give_up(self, now_us: int, plan: ServedPlan, worker: int, reason: str) -> Messages:
        self._liveness.heard_of(worker)
        lost = self._flights.lose_whole(plan, plan.down(now_us, worker))
        failed = Failed(tuple(flight.batch for flight in lost), worker, reason, Again.TOGETHER)
        return [
            ForGateway(EVERY, failed),
            *_not_to_wait(lost),
            *self._readiness(plan),
            *self._decide(plan, now_us),
            *self._retire(),
        ]

    def pong(self, now_us: int, message: Pong) -> Messages:
        """A worker that was overdue answers: it is alive, but what it runs may hang."""
        plan = self._plans.of_worker(message.worker)
        if plan is None:
            return []
        messages = self.catch_up(now_us) + self._answers(now_us, message.worker)
        if plan.endpoint(message.worker) is None:
            return messages
        why = self._liveness.pong(now_us, message, plan.table.latency_us)
        if why is not None:
            return messages + self._replace(now_us, plan, message.worker, why)
        return messages

    def look_after(self, now_us: int) -> Messages:
        """Ping the workers whose batches are overdue; give up those that do not answer, and batches that got lost.

        Call it when every message that came is handled: an answer that waits to be read is an answer.
        """
        messages: Messages = []
        for flight in self._flights.due(now_us):
            if self._flights.get(flight.batch) is not flight:
                continue  # lost with a worker that was given up a moment ago
            plan = flight.whole.plan
            steps = [
                (worker, self._liveness.overdue(now_us, worker, end_us))
                for worker, end_us in flight.awaited()
            ]
            self._flights.check_at(flight, min(step.check_us for _, step in steps))
            for worker, step in steps:
                if step.ping:
                    messages.append(ForWorker(worker, step.ping))
                if step.silent is not None:
                    messages += self._suspend(now_us, plan, worker, step.silent)
                elif step.lost is not None and self._flights.get(flight.batch) is flight:
                    failed = Failed((flight.batch,), -1, step.lost, Again.TOGETHER)
                    messages += [*self._lose(now_us, flight, failed), *self._decide(plan, now_us)]
        for worker in [worker for worker, one in self._silent.items() if one.could_run]:
            silent = self._silent.pop(worker)
            why = f"{silent.why}, though it had a core"
            messages.append(ForEngine(WorkerHung(worker, why)))
            if silent.plan.endpoint(worker) is not None:
                messages += self._give_up(now_us, silent.plan, worker, f"worker {worker} hangs ({why}).")
        return messages + self._retire()

    def could_run(self, worker: int) -> None:
        """A silent worker had a core. :meth:`look_after` replaces it, if its answer does not wait to be read."""
        if worker in self._silent:
            self._silent[worker].could_run = True

    def _suspend(self, now_us: int, plan: ServedPlan, worker: int, why: str) -> Messages:
        """Give ``worker`` no work until it answers, if another one can do it. Its host sees whether it hangs, or waits
        for a core."""
        endpoint = plan.endpoint(worker)
        if endpoint is None or worker in self._silent:
            return []
        self._silent[worker] = _Silent(plan, endpoint, why)
        messages: Messages = [ForEngine(WorkerSilent(worker))]
        if not plan.is_alone(worker):
            messages += self._give_up(now_us, plan, worker, f"worker {worker} does not answer ({why}).")
        return messages

    def _answers(self, now_us: int, worker: int) -> Messages:
        """``worker`` says something. If it was silent, it works again."""
        silent = self._silent.pop(worker, None)
        if silent is None or silent.plan.endpoint(worker) is not None:
            return []
        silent.plan.up(now_us, worker, silent.endpoint)
        return [*self._readiness(silent.plan), *self._decide(silent.plan, now_us)]

    def _replace(self, now_us: int, plan: ServedPlan, worker: int, why: str) -> Messages:
        if plan.endpoint(worker) is None:
            return []
        reason = f"worker {worker} hangs ({why})."
        return [ForEngine(WorkerHung(worker, why)), *self._give_up(now_us, plan, worker, reason)]

    def _readiness(self, plan: ServedPlan) -> Messages:
        return [ForGateway(EVERY, plan.readiness(self.number))] if plan is self._plans.current else []


def _not_to_wait(lost: Sequence[AnyFlight]) -> Messages:
    """Workers that have, or will get, a part of a lost batch would wait for the rest of it."""
    return [
        ForWorker(worker, CancelBatch(flight.batch)) for flight in lost for worker in flight.workers_to_tell
    ]


def is_split(dispatch: Dispatch) -> bool:
    """Whether any stage of the batch has several pieces."""
    return bool(dispatch.pieces) and max(dispatch.pieces) > 1
