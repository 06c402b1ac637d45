"""The policies that reserve routes once more, in plain Python lists, from its description: a test's oracle.

Written for clarity alone, and sharing nothing with the kernels: lists, sorting, no arrays.

A worker serves what it was promised in the order of the promises. When it will be free is not kept, but worked out each
time from what it finished last and what it was promised since. So a correction changes one fact, and the rest follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from penstock.record import Outcome
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.table import DispatchTable
from penstock.units import NEVER_US


@dataclass(order=True)
class Queued:
    deadline_us: int
    sequence: int
    request: int = field(compare=False)
    arrived_us: int = field(compare=False)
    judged: bool = field(default=False, compare=False)


@dataclass
class Route:
    workers: list[int] = field(default_factory=list)
    transfers: list[tuple[int, int]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    @property
    def finish(self) -> int:
        """When the last piece of the last stage ends: no other column ends later."""
        return max(self.ends)


@dataclass
class Leg:
    """One stage of a batch in flight: its worker, the transfer of its input, how long it should run."""

    worker: int
    transfer_us: int
    ready_us: int
    work_us: int


@dataclass
class Flight:
    """A batch that was dispatched. ``over``: stages that are finished. ``sender``: the worker of the last of them."""

    model: int
    first_stage: int
    size: int
    legs: list[Leg]
    over: int = 0
    sender: int | None = None


ONE_PACE = 2**20
"""The pace of a stage that takes what its profile says."""


class PlainPolicy:
    """Reservations with adaptive batching, and the rules that differ from it."""

    def __init__(
        self,
        table: DispatchTable,
        *,
        rule: str = "reservation",
        dispatch_us: int = 0,
        overhead_us: int = 0,
        max_queue_delay_us: int | None = None,
    ) -> None:
        self.rule = rule
        self.max_queue_delay_us = max_queue_delay_us
        self.table, self.dispatch_us, self.overhead_us = table, dispatch_us, overhead_us
        self.queues: list[list[Queued]] = [[] for _ in range(table.n_models)]
        self.wake = [NEVER_US] * table.n_models
        self.done = [0] * table.n_workers
        self.promised: list[list[tuple[int, int]]] = [[] for _ in range(table.n_workers)]
        self.down: set[int] = set()
        self.flights: dict[int, Flight] = {}
        self.credit = [0] * table.n_models
        self.pace = [ONE_PACE] * len(table.latency_us)
        self.uplink: list[set[tuple[int, int]]] = [set() for _ in range(table.n_hosts)]
        self.downlink: list[set[tuple[int, int]]] = [set() for _ in range(table.n_hosts)]
        self.sequence = self.batches = 0

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        self.queues[model].append(Queued(deadline_us, self.sequence, request, now_us))
        self.queues[model].sort()
        self.sequence += 1
        self.wake[model] = min(self.wake[model], now_us)

    def decide(self, now_us: int) -> Decision:
        dispatches: list[Dispatch] = []
        drops: list[tuple[int, int]] = []
        for model, queue in enumerate(self.queues):
            if self.wake[model] > now_us:
                continue
            self.wake[model] = NEVER_US
            while queue:
                act = self.act_greedily if self.rule == "edf" else self.act
                wake_us = act(now_us, model, queue, dispatches, drops)
                if wake_us is not None:
                    self.wake[model] = wake_us
                    break
        return Decision(tuple(dispatches), tuple(drops), min(self.wake))

    def act(self, now_us, model, queue, dispatches, drops):
        """Drop the head or dispatch a batch; or the time to sleep until."""
        head = queue[0]
        pipeline = self.best_pipeline(model, now_us, head.deadline_us)
        planned = int(self.table.pipeline_batch[pipeline])
        # round(0.95 x planned), halves up
        least = (
            1
            if head.judged or self.rule == "whole-batch"
            else max(1, math.floor(0.95 * planned + 0.5 + 1e-9))
        )
        fitting = [
            b for b in range(least, planned + 1) if self.finish(pipeline, b, now_us) <= head.deadline_us
        ]
        if not fitting:
            if self.saves(now_us, model, queue, dispatches):
                return None
            if (borrowing := self.borrows(now_us, model, queue, dispatches)) is not None:
                return borrowing if borrowing > now_us else None
            early = not head.judged and self.rule != "whole-batch"
            self.credit[model] = max(self.credit[model] - 99, -400)
            drops.append((head.request, Outcome.DROPPED_EARLY if early else Outcome.DROPPED_DEADLINE))
            queue.pop(0)
            return None
        head.judged = True
        size = fitting[-1]
        if len(queue) < size:
            last_moment = now_us + head.deadline_us - self.finish(pipeline, len(queue) + 1, now_us)
            if self.max_queue_delay_us is not None:
                last_moment = min(last_moment, head.arrived_us + self.max_queue_delay_us)
            if last_moment > now_us and self.rule == "penstock":
                last_moment = min(last_moment, self.leaves_us(pipeline, len(queue), now_us))
            if last_moment > now_us:
                return last_moment
            now_fitting = [
                b for b in range(1, len(queue) + 1) if self.finish(pipeline, b, now_us) <= head.deadline_us
            ]
            if not now_fitting:
                if self.saves(now_us, model, queue, dispatches):
                    return None
                if (borrowing := self.borrows(now_us, model, queue, dispatches)) is not None:
                    return borrowing if borrowing > now_us else None
                self.credit[model] = max(self.credit[model] - 99, -400)
                drops.append((head.request, Outcome.DROPPED_DEADLINE))
                queue.pop(0)
                return None
            size = now_fitting[-1]
        self.dispatch(now_us, model, pipeline, size, queue, dispatches)
        return None

    def leaves_us(self, pipeline, size, now_us):
        """Now, if nothing on the route waits and half of the first pool is idle; else when this may change."""
        ready_us = now_us + self.dispatch_us
        route = self.probe(pipeline, size, now_us)
        stages = self.stages(pipeline)
        moving_us = sum(int(self.table.transfer_us[s, size]) for s in stages)
        waiting_us = route.finish - ready_us - self.running_us(route, pipeline, size) - moving_us
        if waiting_us > 0:
            first_us = self.begins_us(route, pipeline, size) - ready_us
            return now_us + (first_us or waiting_us)
        pool = self.pool(stages[0])
        seen = pool if len(pool) <= 16 else [pool[k * len(pool) // 16] for k in range(16)]
        up_us = [self.free_us(worker) for worker in seen if self.free_us(worker) < NEVER_US]
        busy_us = [free_us for free_us in up_us if free_us > ready_us]
        return now_us if 2 * len(busy_us) <= len(up_us) else now_us + min(busy_us) - ready_us

    def saves(self, now_us, model, queue, dispatches):
        """Whether an idle first stage could still do the head: then it does."""
        if self.rule != "penstock":
            return False
        for pipeline in range(self.table.pipeline_offsets[model], self.table.pipeline_offsets[model + 1]):
            if (
                min(self.free_us(worker) for worker in self.pool(self.stages(pipeline)[0]))
                > now_us + self.dispatch_us
            ):
                continue
            for size in range(min(len(queue), int(self.table.pipeline_batch[pipeline])), 0, -1):
                if self.probe(pipeline, size, now_us).finish <= queue[0].deadline_us:
                    self.dispatch(now_us, model, pipeline, size, queue, dispatches)
                    return True
        return False

    def borrows(self, now_us, model, queue, dispatches):
        """None if no pool lends a worker; now if it did, and the batch left; later if a batch may fill until then."""
        if self.rule != "penstock" or not len(self.table.lend_group):
            return None
        deadline_us = queue[0].deadline_us
        for pipeline in range(self.table.pipeline_offsets[model], self.table.pipeline_offsets[model + 1]):
            if not any(self.lenders(stage) for stage in self.stages(pipeline)):
                continue
            planned = int(self.table.pipeline_batch[pipeline])
            if len(queue) < planned:
                if self.lent_finish(pipeline, planned, now_us) > deadline_us:
                    continue
                last_moment = now_us + deadline_us - self.lent_finish(pipeline, len(queue) + 1, now_us)
                if last_moment > now_us:
                    return last_moment
                if len(queue) < 0.95 * planned:
                    continue
            size = min(len(queue), planned)
            if self.lent_finish(pipeline, size, now_us) <= deadline_us:
                self.send(
                    now_us,
                    model,
                    pipeline,
                    self.probe(pipeline, size, now_us, lent=True),
                    size,
                    queue,
                    dispatches,
                )
                return now_us
        return None

    def lent_finish(self, pipeline, batch, now_us):
        return self.probe(pipeline, batch, now_us, lent=True).finish + self.guard_us(pipeline, batch)

    def lenders(self, stage):
        """The other stages that may lend ``stage`` a worker of theirs."""
        group = self.table.lend_group
        return [s for s in range(len(group)) if group[s] == group[stage] and s != stage] if len(group) else []

    def lends(self, stage, worker, from_us, work_us):
        """Whether the model of ``stage`` can do without ``worker`` for that long."""
        pipeline = next(p for p in range(len(self.table.pipeline_batch)) if stage in self.stages(p))
        model = next(m for m in range(self.table.n_models) if pipeline < self.table.pipeline_offsets[m + 1])
        if self.credit[model] < 0:
            return False
        own = range(self.table.pipeline_offsets[model], self.table.pipeline_offsets[model + 1])
        slowest_us = max(self.alone_us(p, int(self.table.pipeline_batch[p])) for p in own)
        spare_us = max(int(self.table.slo_us[model]) - slowest_us, 0)
        others_us = [self.free_us(other) for other in self.pool(stage) if other != worker]
        missed_us = min([work_us, *(other_us - from_us for other_us in others_us)])
        return missed_us <= math.floor(Fraction(spare_us * self.credit[model], 2 * 400))

    def act_greedily(self, now_us, model, queue, dispatches, drops):
        """Drop a head that is lost, give what waits to a free first stage, or sleep until there is one."""
        ready_us = now_us + self.dispatch_us
        pipelines = range(self.table.pipeline_offsets[model], self.table.pipeline_offsets[model + 1])
        widest = self.table.latency_us.shape[1]
        least_us = min(self.alone_us(p, b) for p in pipelines for b in range(1, widest))
        spare_us = queue[0].deadline_us - ready_us - least_us
        if spare_us < 0:
            drops.append((queue.pop(0).request, Outcome.DROPPED_DEADLINE))
            return None
        sizes = {p: min(len(queue), int(self.table.pipeline_batch[p])) for p in pipelines}
        routes = {p: self.probe(p, sizes[p], now_us) for p in pipelines}
        # A pipeline that has a stage without a worker is never free.
        starts = {
            p: self.begins_us(r, p, sizes[p]) if r.finish < NEVER_US else NEVER_US for p, r in routes.items()
        }
        pipeline = min(pipelines, key=lambda p: starts[p])
        if starts[pipeline] > ready_us:
            return now_us + min(starts[pipeline] - ready_us, spare_us + 1)
        self.dispatch(now_us, model, pipeline, sizes[pipeline], queue, dispatches)
        return None

    def dispatch(self, now_us, model, pipeline, size, queue, dispatches):
        self.send(now_us, model, pipeline, self.probe(pipeline, size, now_us), size, queue, dispatches)

    def send(self, now_us, model, pipeline, route, size, queue, dispatches):
        self.credit[model] = min(self.credit[model] + size, 400)
        self.reserve(model, pipeline, size, route)
        taken = [queue.pop(0).request for _ in range(size)]
        dispatches.append(
            Dispatch(
                self.batches,
                model,
                pipeline,
                tuple(taken),
                tuple(route.workers),
                tuple(route.starts),
                tuple(route.ends),
            )
        )
        self.batches += 1

    def best_pipeline(self, model, now_us, deadline_us):
        def key(pipeline):
            batch = int(self.table.pipeline_batch[pipeline])
            stages = self.stages(pipeline)
            work = sum(
                int(self.table.latency_us[s, self.piece(s, batch)] + self.table.transfer_us[s, batch])
                for s in stages
            )
            counts = batch == 1 or self.rule == "penstock"
            misses = counts and self.finish(pipeline, batch, now_us) > deadline_us
            return misses, self.probe(pipeline, batch, now_us).finish - now_us - work, pipeline

        return min(range(self.table.pipeline_offsets[model], self.table.pipeline_offsets[model + 1]), key=key)

    def piece(self, stage, batch):
        """The requests that one worker of ``stage`` gets at most."""
        return batch

    def running_us(self, route, pipeline, batch):
        return sum(end - start for start, end in zip(route.starts, route.ends, strict=True))

    def begins_us(self, route, pipeline, batch):
        return route.starts[0]

    def stages(self, pipeline):
        return range(int(self.table.stage_offsets[pipeline]), int(self.table.stage_offsets[pipeline + 1]))

    def finish(self, pipeline, batch, now_us):
        return self.probe(pipeline, batch, now_us).finish + self.guard_us(pipeline, batch)

    def alone_us(self, pipeline, batch):
        """What a batch takes when nothing waits, guard included."""
        rows = list(self.stages(pipeline))
        pieces = [self.piece(s, batch) for s in rows]
        work_us = self.table.latency_us[rows, pieces].sum() + self.table.transfer_us[rows, batch].sum()
        return int(work_us) + self.guard_us(pipeline, batch)

    def guard_us(self, pipeline, batch):
        spread = math.sqrt(
            sum(
                int((self.table.p99_us - self.table.latency_us)[s, self.piece(s, batch)]) ** 2
                for s in self.stages(pipeline)
            )
        )
        return math.ceil(spread) + self.overhead_us

    def probe(self, pipeline, batch, now_us, *, lent=False):
        route = Route()
        ready, sender = now_us + self.dispatch_us, None
        for s in self.stages(pipeline):
            options = []
            pool = self.pool(s)
            for worker in pool:
                transfer = int(self.table.transfer_us[s, batch])
                arrival = self.arrival_us(sender, worker, ready, transfer)
                start = max(arrival, self.free_us(worker))
                end = start + math.ceil(
                    Fraction(int(self.table.latency_us[s, batch]) * self.pace[s], ONE_PACE)
                )
                tie = self.free_us(worker), self.rank(pool, worker)
                options.append((end, tie, worker, arrival, start, transfer))
            end, _, worker, arrival, start, transfer = min(options)
            for stage in self.lenders(s) if lent else ():
                pool = self.pool(stage)
                other = min(pool, key=lambda w, pool=pool: (self.free_us(w), self.rank(pool, w)))
                there = self.arrival_us(sender, other, ready, transfer)
                # Its own workers first, then an idle one that starts sooner.
                if self.free_us(other) <= there < start and self.lends(stage, other, there, end - start):
                    worker, arrival, end, start = other, there, there + end - start, there
            route.workers.append(worker)
            route.transfers.append((arrival - transfer, arrival))
            route.starts.append(start)
            route.ends.append(end)
            ready, sender = end, int(self.table.worker_host[worker])
        return route

    def arrival_us(self, sender, worker, ready, transfer):
        """When the input reaches ``worker``. A transfer of no length needs no link: it passes a promised span."""
        host, sent = int(self.table.worker_host[worker]), ready
        if sender is not None and host != sender and transfer > 0:
            busy = self.uplink[sender] | self.downlink[host]
            while any(start < sent + transfer and sent < end for start, end in busy):
                sent += 1
        return sent + transfer

    def pool(self, stage):
        """The workers of every stage that shares its pool with ``stage``."""
        numbers, first = self.table.stage_pool, self.table.worker_offsets
        alike = [s for s, number in enumerate(numbers) if number == numbers[stage]] or [stage]
        return [worker for s in alike for worker in range(int(first[s]), int(first[s + 1]))]

    def rank(self, pool, worker):
        """How many workers of the pool sit before it on its host, then the host."""
        host = self.table.worker_host
        return sum(host[other] == host[worker] for other in pool if other < worker), int(host[worker])

    def reserve(self, model, pipeline, size, route):
        stages = self.stages(pipeline)
        legs = []
        for number, (worker, transfer) in enumerate(zip(route.workers, route.transfers, strict=True)):
            work_us = route.ends[number] - route.starts[number]
            legs.append(Leg(worker, transfer[1] - transfer[0], transfer[1], work_us))
            self.promised[worker].append((self.batches, number))
            if number:
                self.hold(route.workers[number - 1], worker, transfer)
        self.flights[self.batches] = Flight(model, stages[0], size, legs)

    def hold(self, sender, receiver, span):
        """Promise the links of a transfer, unless it stays within a host or takes no time."""
        hosts = [int(self.table.worker_host[worker]) for worker in (sender, receiver)]
        if hosts[0] != hosts[1] and span[0] < span[1]:
            self.uplink[hosts[0]].add(span)
            self.downlink[hosts[1]].add(span)

    def let_go(self, sender, receiver, span):
        hosts = [int(self.table.worker_host[worker]) for worker in (sender, receiver)]
        if hosts[0] != hosts[1]:
            self.uplink[hosts[0]].discard(span)
            self.downlink[hosts[1]].discard(span)

    def ends(self, worker):
        """When the worker ends each of its promises, one after the other."""
        free_us, ends = self.done[worker], {}
        for batch, number in self.promised[worker]:
            leg = self.flights[batch].legs[number]
            free_us = ends[batch, number] = max(free_us, leg.ready_us) + leg.work_us
        return ends

    def free_us(self, worker):
        if worker in self.down:
            return NEVER_US
        return max(self.ends(worker).values(), default=self.done[worker])

    @property
    def in_flight(self):
        return len(self.flights)

    def complete(self, now_us: int, batch: int, stage: int) -> None:
        """What the batch finished is over; what was promised after it moves by as much as it was early or late."""
        flight = self.flights.get(batch)
        if flight is None or not flight.over <= stage < len(flight.legs):
            return
        while flight.over < stage:
            self.finish_leg(now_us, batch)
        if self.rule == "penstock":
            self.learn_pace(now_us, batch)
        was_late = self.finish_leg(now_us, batch)
        if flight.over == len(flight.legs):
            del self.flights[batch]
        elif was_late:
            self.move_later_legs(now_us, batch)

    def finish_leg(self, now_us, batch):
        """The worker of the next leg is done with it; whether that was early or late."""
        flight = self.flights[batch]
        worker = flight.legs[flight.over].worker
        was_late = self.ends(worker)[batch, flight.over] != now_us
        if was_late:
            self.wake[flight.model] = min(self.wake[flight.model], now_us)
        self.promised[worker].remove((batch, flight.over))
        self.done[worker] = now_us
        flight.over += 1
        flight.sender = worker
        return was_late

    def learn_pace(self, now_us, batch):
        """A 64th of the way to what this service took, if it is known when it began."""
        flight = self.flights[batch]
        leg, stage = flight.legs[flight.over], flight.first_stage + flight.over
        if self.promised[leg.worker][0] != (batch, flight.over):
            return
        profiled_us = int(self.table.latency_us[stage, flight.size])
        took_us = now_us - max(leg.ready_us, self.done[leg.worker])
        took_us = sorted([profiled_us // 4, took_us, 4 * profiled_us])[1]
        seen = math.floor(Fraction(ONE_PACE * took_us, profiled_us))
        self.pace[stage] += math.floor(Fraction(seen - self.pace[stage], 64))

    def move_later_legs(self, now_us, batch):
        """Send the data again from when the stage before really ended, as long as that changes anything."""
        flight = self.flights[batch]
        sender, sent_us = flight.sender, now_us
        for number in range(flight.over, len(flight.legs)):
            leg = flight.legs[number]
            before_us = self.ends(leg.worker)[batch, number]
            self.let_go(sender, leg.worker, (leg.ready_us - leg.transfer_us, leg.ready_us))
            hosts = [int(self.table.worker_host[worker]) for worker in (sender, leg.worker)]
            if hosts[0] != hosts[1] and leg.transfer_us > 0:
                busy = self.uplink[hosts[0]] | self.downlink[hosts[1]]
                while any(start < sent_us + leg.transfer_us and sent_us < end for start, end in busy):
                    sent_us += 1
            leg.ready_us = sent_us + leg.transfer_us
            self.hold(sender, leg.worker, (sent_us, leg.ready_us))
            after_us = self.ends(leg.worker)[batch, number]
            if after_us == before_us:
                return
            sender, sent_us = leg.worker, after_us

    def abandon(self, now_us: int, batch: int) -> tuple[int, ...]:
        """The batch leaves its workers, and its transfers that have not begun leave the links."""
        if batch not in self.flights:
            return ()
        flight = self.flights[batch]
        sender = flight.sender
        for number in range(flight.over, len(flight.legs)):
            leg = flight.legs[number]
            span = leg.ready_us - leg.transfer_us, leg.ready_us
            if sender is not None and span[0] >= now_us:
                self.let_go(sender, leg.worker, span)
            if self.promised[leg.worker][0] == (batch, number):
                # It may have been running until now.
                self.done[leg.worker] = max(self.done[leg.worker], now_us)
            self.promised[leg.worker].remove((batch, number))
            sender = leg.worker
        del self.flights[batch]
        self.wake[flight.model] = 0
        return (batch,)

    def worker_down(self, now_us: int, worker: int) -> tuple[int, ...]:
        lost = [
            batch
            for batch, flight in self.flights.items()
            if flight.sender == worker or any(leg.worker == worker for leg in flight.legs[flight.over :])
        ]
        for batch in lost:
            self.abandon(now_us, batch)
        self.down.add(worker)
        return tuple(lost)

    def worker_up(self, now_us: int, worker: int) -> None:
        if worker in self.down:
            self.down.remove(worker)
            self.done[worker] = now_us

    def cancel(self, request: int) -> bool:
        for model, queue in enumerate(self.queues):
            kept = [queued for queued in queue if queued.request != request]
            if len(kept) < len(queue):
                self.queues[model] = kept
                self.wake[model] = 0 if kept else NEVER_US
                return True
        return False
