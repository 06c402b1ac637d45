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
from typing import NamedTuple, final

from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.schedule.checks import checked_batch, checked_id, checked_index, checked_time
from penstock.schedule.policy import Dispatch
from penstock.serve.control import Drained, WorkerHung, WorkerSilent
from penstock.serve.dispatcher.flights import Flight, Flights, Whole
from penstock.serve.dispatcher.liveness import Liveness
from penstock.serve.dispatcher.outgoing import EVERY, ForEngine, ForGateway, ForWorker, Messages
from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.messages import (
    Again,
    Arrive,
    Assign,
    BatchDropped,
    Cancel,
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


class _Waiting(NamedTuple):
    """A unit that the policy has queued."""

    plan: ServedPlan
    model: int
    request: int
    deadline_us: int
    alone: bool


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
        self._plans: dict[int, ServedPlan] = {}
        self._ended: list[range] = []
        self._current: ServedPlan | None = None
        self._successors: dict[int, tuple[int, Sequence[int | None]]] = {}
        self._gateways: dict[int, str] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._siblings: dict[int, set[int]] = {}
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
        plans_us = min((plan.wake_us for plan in self._plans.values()), default=NEVER_US)
        return min(plans_us, self._flights.check_us)

    # Plans

    def add_plan(self, plan: ServedPlan) -> None:
        """Know ``plan``, whose workers may come up now. It gets no requests before :meth:`switch`."""
        self._plans[plan.epoch] = plan

    def remove_plan(self, epoch: int) -> None:
        """Forget a plan that was added and is not served."""
        plan = self._plans.pop(epoch, None)
        if plan is not None:
            self._end(plan)

    def switch(self, now_us: int, epoch: int, carried: Sequence[int | None] = ()) -> Messages:
        """Serve the plan of ``epoch`` from now on.

        ``carried[m]`` is what model m of the plan before is in this one, None if it is not in it; what waits for a
        model that is, waits for the new one. The rest is served by the old plan until it is drained.
        """
        messages = self.catch_up(now_us)
        before, plan = self._current, self._plans[epoch]
        self._current = plan
        messages.append(ForGateway(EVERY, plan.readiness(self.number)))
        if before is not None:
            self._successors[before.epoch] = (epoch, carried)
            for unit, one in list(self._waiting.items()):
                model = carried[one.model] if one.plan is before else None
                if model is not None:
                    before.policy.cancel(unit)
                    before.waiting -= 1
                    self._queue(now_us, unit, one._replace(plan=plan, model=model))
            messages += self._decide(before, now_us)
        return messages + self._decide(plan, now_us) + self._retire()

    def _retire(self) -> Messages:
        """Forget each plan that was replaced and has nothing more to do."""
        messages: Messages = []
        if len(self._plans) > 1:
            for epoch, plan in list(self._plans.items()):
                is_replaced = epoch in self._successors
                if is_replaced and not plan.waiting and not self._flights.any_of(epoch):
                    del self._plans[epoch]
                    self._end(plan)
                    messages.append(ForEngine(Drained(epoch)))
        return messages

    def _end(self, plan: ServedPlan) -> None:
        """Whatever is said of the workers of ``plan`` from now on is ignored."""
        self._ended.append(plan.workers)
        for worker in plan.workers:
            self._silent.pop(worker, None)

    def _resolved(self, epoch: int, model: int) -> tuple[ServedPlan, int] | None:
        """The plan and the model that serve requests for ``model`` of ``epoch`` now; None if none does."""
        while epoch in self._successors:
            later, carried = self._successors[epoch]
            successor = carried[checked_index("model", model, len(carried))]
            if successor is None:
                break
            epoch, model = later, successor
        plan = self._plans.get(epoch)
        if plan is None:
            return None
        return plan, checked_index("model", model, plan.table.n_models)

    # Gateways

    def gateway_up(self, now_us: int, gateway: int, endpoint: str) -> Messages:
        """A gateway that listens at ``endpoint`` has started: it is asked for what waits, and told what is served."""
        self._gateways[gateway] = endpoint
        messages: Messages = [ForGateway(gateway, DispatcherUp(self.number))]
        if self._current is not None:
            messages.append(ForGateway(gateway, self._current.readiness(self.number)))
        return messages

    def gateway_down(self, now_us: int, gateway: int) -> Messages:
        """A gateway died: nobody waits for its units. Its batches run on, because they may hold units of others."""
        messages = self.catch_up(now_us)
        self._gateways.pop(gateway, None)
        for unit in [unit for unit in self._waiting if owner_of(unit) == gateway]:
            self._unqueue(unit)
        messages.append(ForWorker(EVERY, GatewayGone(gateway)))
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
        found = self._resolved(message.epoch, message.model)
        if message.dispatcher != self.number or gateway not in self._gateways:
            # It was meant for a dispatcher that died, or its gateway did.
            return []
        if any(unit in self._waiting for unit in units):
            raise BadInputError(f"units {units[0]} to {units[-1]}: some wait already; tell of each once.")
        if found is None:
            return [ForGateway(gateway, Dropped(self.number, message.first, int(Outcome.DROPPED_EARLY)))]
        plan, model = found
        messages = self.catch_up(now_us)
        one = _Waiting(plan, model, message.request, message.deadline_us, message.alone)
        if len(units) > 1 or message.first != message.request:
            self._siblings.setdefault(message.request, set()).update(units)
        for unit in units:
            self._queue(now_us, unit, one)
        return messages + self._decide(plan, now_us)

    def cancel(self, now_us: int, message: Cancel) -> Messages:
        """Take what still waits of a request out of the queue."""
        if message.dispatcher != self.number:
            return []
        messages = self.catch_up(now_us)
        self._cancel(message.request)
        messages.append(ForGateway(owner_of(message.request), Cancelled(self.number, message.request)))
        return messages + self._decide_all(now_us)

    def _queue(self, now_us: int, unit: int, one: _Waiting) -> None:
        one.plan.policy.arrive(now_us, one.model, unit, one.deadline_us)
        one.plan.waiting += 1
        self._waiting[unit] = one

    def _unqueue(self, unit: int) -> None:
        one = self._leave(unit)
        if one is not None:
            one.plan.policy.cancel(unit)

    def _leave(self, unit: int) -> _Waiting | None:
        """``unit`` waits no more."""
        one = self._waiting.pop(unit, None)
        if one is not None:
            one.plan.waiting -= 1
            siblings = self._siblings.get(one.request)
            if siblings is not None:
                siblings.discard(unit)
                if not siblings:
                    del self._siblings[one.request]
        return one

    def _cancel(self, request: int) -> None:
        for unit in list(self._siblings.get(request, (request,))):
            self._unqueue(unit)

    # Decisions

    def catch_up(self, now_us: int) -> Messages:
        """The decisions that were due by ``now_us``, each as of its own moment if that is not long ago."""
        messages: Messages = []
        for plan in list(self._plans.values()):
            while (due_us := plan.wake_us) <= now_us:
                messages += self._decide(plan, max(due_us, now_us - self._late_us))
                if plan.wake_us <= due_us:
                    break
        return messages

    def _decide_all(self, now_us: int) -> Messages:
        messages: Messages = []
        for plan in list(self._plans.values()):
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
        whole = Whole(plan, dispatch.batch, len(route))
        for units, requests in self._lots(dispatch.requests):
            batch = numbered(self.number, self._batches)
            self._batches += 1
            workers = tuple(step.worker for step in route)
            flight = Flight(batch, whole, requests, workers, dispatch.end_us)
            self._flights.add(flight, self._liveness.first_check_us(flight))
            by_gateway: dict[int, list[int]] = {}
            for unit in units:
                by_gateway.setdefault(owner_of(unit), []).append(unit)
            shares = tuple(
                Share(gateway, len(own), self._gateways[gateway]) for gateway, own in by_gateway.items()
            )
            for gateway, own in by_gateway.items():
                assign = Assign(
                    plan.epoch, batch, dispatch.pipeline, tuple(own), route, shares, dispatch.end_us[-1]
                )
                messages.append(ForGateway(gateway, assign))
        return messages

    def _lots(self, units: Sequence[int]) -> list[tuple[list[int], int]]:
        """``units`` as they go out: those that may be together, and each request that must be alone.

        With each lot comes its number of requests.
        """
        together: list[int] = []
        requests: set[int] = set()
        alone: dict[int, list[int]] = {}
        for unit in units:
            one = self._leave(unit)
            assert one is not None, f"the policy dispatched unit {unit}, which does not wait"
            if one.alone:
                alone.setdefault(one.request, []).append(unit)
            else:
                together.append(unit)
                requests.add(one.request)
        lots = [(together, len(requests))] if together else []
        return lots + [(own, 1) for own in alone.values()]

    def _drop(self, unit: int, cause: int) -> Messages:
        """Give up ``unit``, and what still waits of its request: a part of an answer is no answer."""
        one = self._leave(unit)
        if one is not None and one.request in self._siblings:
            self._cancel(one.request)
        return [ForGateway(owner_of(unit), Dropped(self.number, unit, int(Outcome(cause))))]

    # Batches

    def reserved_end_us(self, batch: int, stage: int) -> int | None:
        """When ``batch`` should leave ``stage``, as predicted at its dispatch; None if it is not on its way."""
        flight = self._flights.get(batch)
        return flight.end_us[stage] if flight is not None and 0 <= stage < len(flight.end_us) else None

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
            if message.stage and plan.has_links:
                # Clocks of hosts agree to half of a message's way only: a time below 0 is none.
                transfer_us = min(max(message.transfer_us, 0), LONGEST_US)
                plan.policy.transferred(now_us, flight.whole.batch, message.stage, transfer_us)
            self._over(now_us, flight.whole, self._flights.stage_done(flight, message.stage))
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
        self._lose(now_us, flight)
        messages.append(ForGateway(EVERY, Failed((flight.batch,), -1, message.message, again)))
        return messages + self._decide(flight.whole.plan, now_us) + self._retire()

    def stage_dropped(self, now_us: int, message: StageDropped) -> Messages:
        """The policy of a scheduled device gave the batch up."""
        checked_batch(message.batch)
        messages = self.catch_up(now_us)
        flight = self._flights.get(message.batch)
        if flight is None:
            return messages
        self._lose(now_us, flight)
        messages.append(ForGateway(EVERY, BatchDropped(message.batch, message.cause)))
        return messages + self._decide(flight.whole.plan, now_us) + self._retire()

    def _over(self, now_us: int, whole: Whole, stage: int | None) -> None:
        if stage is not None:
            whole.plan.policy.complete(now_us, whole.batch, stage)

    def _lose(self, now_us: int, flight: Flight) -> None:
        over = self._flights.lose(flight)
        if over == -1:
            flight.whole.plan.policy.abandon(now_us, flight.whole.batch)
        else:
            self._over(now_us, flight.whole, over)

    # Workers

    def worker_up(self, now_us: int, worker: int, endpoint: str) -> Messages:
        """``worker`` listens at ``endpoint`` and is idle."""
        plan = self._plan_of(worker)
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
        plan = self._plan_of(worker)
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
            *self._readiness(plan),
            *self._decide(plan, now_us),
            *self._retire(),
        ]

    def pong(self, now_us: int, message: Pong) -> Messages:
        """A worker that was overdue answers: it is alive, but what it runs may hang."""
        plan = self._plan_of(message.worker)
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
            plan, worker = flight.whole.plan, flight.worker
            step = self._liveness.overdue(now_us, flight)
            self._flights.check_at(flight, step.check_us)
            if step.ping:
                messages.append(ForWorker(worker, step.ping))
            if step.silent is not None:
                messages += self._suspend(now_us, plan, worker, step.silent)
            elif step.lost is not None:
                self._lose(now_us, flight)
                failed = Failed((flight.batch,), -1, step.lost, Again.TOGETHER)
                messages += [ForGateway(EVERY, failed), *self._decide(plan, now_us)]
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
        return [ForGateway(EVERY, plan.readiness(self.number))] if plan is self._current else []

    def _plan_of(self, worker: int) -> ServedPlan | None:
        """The plan of ``worker``; None if that has ended."""
        for plan in self._plans.values():
            if worker in plan.workers:
                return plan
        if any(worker in workers for workers in self._ended):
            return None
        known = ", ".join(f"{plan.workers[0]} to {plan.workers[-1]}" for plan in self._plans.values())
        raise BadInputError(f"worker (={worker}) must be one of {known or 'a plan that was added'}.")
