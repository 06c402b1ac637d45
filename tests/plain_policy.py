"""The policies that reserve routes once more, in plain Python lists, from its description: a test's oracle.

Written for clarity alone, and sharing nothing with the kernels: lists, sorting, no arrays. It takes no
corrections, so it serves for exact execution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from penstock.record import Outcome
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.table import DispatchTable
from penstock.units import NEVER_US


@dataclass(order=True)
class Queued:
    deadline_us: int
    sequence: int
    request: int = field(compare=False)
    judged: bool = field(default=False, compare=False)


@dataclass
class Route:
    workers: list[int] = field(default_factory=list)
    transfers: list[tuple[int, int]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


class PlainPolicy:
    """Reservations with adaptive batching, and the rules that differ from it."""

    def __init__(
        self, table: DispatchTable, *, rule: str = "reservation", dispatch_us: int = 0, overhead_us: int = 0
    ) -> None:
        self.rule = rule
        self.table, self.dispatch_us, self.overhead_us = table, dispatch_us, overhead_us
        self.queues: list[list[Queued]] = [[] for _ in range(table.n_models)]
        self.wake = [NEVER_US] * table.n_models
        self.worker_free = [0] * table.n_workers
        self.uplink: list[set[tuple[int, int]]] = [set() for _ in range(table.n_hosts)]
        self.downlink: list[set[tuple[int, int]]] = [set() for _ in range(table.n_hosts)]
        self.sequence = self.batches = 0

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        self.queues[model].append(Queued(deadline_us, self.sequence, request))
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
            early = not head.judged and self.rule != "whole-batch"
            drops.append((head.request, Outcome.DROPPED_EARLY if early else Outcome.DROPPED_DEADLINE))
            queue.pop(0)
            return None
        head.judged = True
        size = fitting[-1]
        if len(queue) < size:
            last_moment = now_us + head.deadline_us - self.finish(pipeline, len(queue) + 1, now_us)
            if last_moment > now_us:
                return last_moment
            now_fitting = [
                b for b in range(1, len(queue) + 1) if self.finish(pipeline, b, now_us) <= head.deadline_us
            ]
            if not now_fitting:
                drops.append((head.request, Outcome.DROPPED_DEADLINE))
                queue.pop(0)
                return None
            size = now_fitting[-1]
        self.dispatch(now_us, model, pipeline, size, queue, dispatches)
        return None

    def act_greedily(self, now_us, model, queue, dispatches, drops):
        """Drop a head that is lost, give what waits to a free first stage, or sleep until there is one."""
        ready_us = now_us + self.dispatch_us
        pipelines = range(self.table.pipeline_first[model], self.table.pipeline_first[model + 1])
        widest = self.table.latency_us.shape[1]
        least_us = min(self.alone_us(p, b) for p in pipelines for b in range(1, widest))
        spare_us = queue[0].deadline_us - ready_us - least_us
        if spare_us < 0:
            drops.append((queue.pop(0).request, Outcome.DROPPED_DEADLINE))
            return None
        sizes = {p: min(len(queue), int(self.table.pipeline_batch[p])) for p in pipelines}
        starts = {p: self.probe(p, sizes[p], now_us).starts[0] for p in pipelines}
        pipeline = min(pipelines, key=lambda p: starts[p])
        if starts[pipeline] > ready_us:
            return now_us + min(starts[pipeline] - ready_us, spare_us + 1)
        self.dispatch(now_us, model, pipeline, sizes[pipeline], queue, dispatches)
        return None

    def dispatch(self, now_us, model, pipeline, size, queue, dispatches):
        route = self.probe(pipeline, size, now_us)
        self.reserve(route)
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
                int(self.table.latency_us[s, batch] + self.table.transfer_us[s, batch]) for s in stages
            )
            counts = batch == 1 or self.rule == "penstock"
            misses = counts and self.finish(pipeline, batch, now_us) > deadline_us
            return misses, self.probe(pipeline, batch, now_us).ends[-1] - now_us - work, pipeline

        return min(range(self.table.pipeline_first[model], self.table.pipeline_first[model + 1]), key=key)

    def stages(self, pipeline):
        return range(int(self.table.stage_first[pipeline]), int(self.table.stage_first[pipeline + 1]))

    def finish(self, pipeline, batch, now_us):
        return self.probe(pipeline, batch, now_us).ends[-1] + self.guard_us(pipeline, batch)

    def alone_us(self, pipeline, batch):
        """What a batch takes when nothing waits, guard included."""
        rows = list(self.stages(pipeline))
        work_us = self.table.latency_us[rows, batch].sum() + self.table.transfer_us[rows, batch].sum()
        return int(work_us) + self.guard_us(pipeline, batch)

    def guard_us(self, pipeline, batch):
        spread = math.sqrt(
            sum(
                int(self.table.p99_us[s, batch] - self.table.latency_us[s, batch]) ** 2
                for s in self.stages(pipeline)
            )
        )
        return math.ceil(spread) + self.overhead_us

    def probe(self, pipeline, batch, now_us):
        route = Route()
        ready, sender = now_us + self.dispatch_us, None
        for s in self.stages(pipeline):
            options = []
            pool = self.pool(s)
            for worker in pool:
                host = int(self.table.worker_host[worker])
                sent, transfer = ready, int(self.table.transfer_us[s, batch])
                # A transfer of no length needs no link, so it passes through a promised span.
                if sender is not None and host != sender and transfer > 0:
                    busy = self.uplink[sender] | self.downlink[host]
                    while any(start < sent + transfer and sent < end for start, end in busy):
                        sent += 1
                arrival = sent + transfer
                start = max(arrival, self.worker_free[worker])
                end = start + int(self.table.latency_us[s, batch])
                tie = self.worker_free[worker], self.rank(pool, worker)
                options.append((end, tie, worker, arrival, start, transfer))
            end, _, worker, arrival, start, transfer = min(options)
            route.workers.append(worker)
            route.transfers.append((arrival - transfer, arrival))
            route.starts.append(start)
            route.ends.append(end)
            ready, sender = end, int(self.table.worker_host[worker])
        return route

    def pool(self, stage):
        """The workers of every stage that shares its pool with ``stage``."""
        numbers, first = self.table.stage_pool, self.table.worker_first
        alike = [s for s, number in enumerate(numbers) if number == numbers[stage]] or [stage]
        return [worker for s in alike for worker in range(int(first[s]), int(first[s + 1]))]

    def rank(self, pool, worker):
        """How many workers of the pool sit before it on its host, then the host."""
        host = self.table.worker_host
        return sum(host[other] == host[worker] for other in pool if other < worker), int(host[worker])

    def reserve(self, route):
        sender = None
        for worker, transfer, end in zip(route.workers, route.transfers, route.ends, strict=True):
            host = int(self.table.worker_host[worker])
            if sender is not None and host != sender and transfer[0] < transfer[1]:
                self.uplink[sender].add(transfer)
                self.downlink[host].add(transfer)
            self.worker_free[worker] = end
            sender = host

    def complete(self, now_us: int, batch: int, stage: int) -> None:
        """Nothing to learn: execution is exact."""
