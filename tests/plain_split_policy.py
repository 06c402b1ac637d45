"""The policies of fleets with split stages once more, in plain Python: a test's oracle.

A leg is a piece of a batch at a stage. All that it knows of the pieces before it is which rows each of them has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from plain_policy import ONE_PACE, PlainPolicy, Route


@dataclass
class SplitRoute(Route):
    legs: list[SplitLeg] = field(default_factory=list)


@dataclass
class Input:
    """A transfer from the leg ``sender`` of the same batch."""

    sender: int
    sent_us: int
    length_us: int


@dataclass
class SplitLeg:
    """A piece: rows ``[begin, end)`` of a batch at ``stage``. ``work_us`` is what it should take."""

    stage: int
    begin: int
    end: int
    worker: int
    start_us: int
    work_us: int
    inputs: list[Input]
    dispatched_us: int
    is_over: bool = False
    end_us: int = 0

    @property
    def ready_us(self):
        return max((one.sent_us + one.length_us for one in self.inputs), default=self.dispatched_us)


@dataclass
class SplitFlight:
    model: int
    first_stage: int
    size: int
    legs: list[SplitLeg]


def free_from(busy, from_us, length_us):
    """The first time from ``from_us`` on at which nothing of ``busy`` is in the way."""
    times = sorted([from_us, *(end for _, end in busy if end > from_us)])
    return next(t for t in times if all(end <= t or t + length_us <= start for start, end in busy))


class PlainSplitPolicy(PlainPolicy):
    def bounds(self, stage, batch):
        """Where the rows of the pieces begin and end."""
        pieces = math.ceil(Fraction(batch, int(self.table.piece_batch[stage])))
        sizes = [len(range(piece, batch, pieces)) for piece in range(pieces)]
        return [sum(sizes[:piece]) for piece in range(pieces + 1)]

    def piece(self, stage, batch):
        return max(b - a for a, b in pairwise(self.bounds(stage, batch))) if batch else 0

    def running_us(self, route, pipeline, batch):
        return sum(max(leg.work_us for leg in route.legs if leg.stage == s) for s in self.stages(pipeline))

    def moving_us(self, pipeline, batch):
        """As if all went over one link, and 1 us for each further transfer, because each is rounded up by itself."""
        moving_us, senders = 0, 1
        for s in self.stages(pipeline):
            whole_us, pieces = int(self.table.transfer_us[s, batch]), len(self.bounds(s, batch)) - 1
            moving_us += whole_us + (senders + pieces - 2 if whole_us else 0)
            senders = pieces
        return moving_us

    def begins_us(self, route, pipeline, batch):
        return max(leg.start_us for leg in route.legs if leg.stage == self.stages(pipeline)[0])

    def probe(self, pipeline, batch, now_us, *, lent=False):
        route = SplitRoute()
        up, down = [set(spans) for spans in self.uplink], [set(spans) for spans in self.downlink]
        taken: dict[int, int] = {}
        for s in self.stages(pipeline):
            before = [(n, leg) for n, leg in enumerate(route.legs) if leg.stage == s - 1]
            before = before if s > self.stages(pipeline)[0] else []
            for begin, end in pairwise(self.bounds(s, batch)):
                work_us = math.ceil(
                    Fraction(int(self.table.latency_us[s, end - begin]) * self.pace[s], ONE_PACE)
                )
                options = []
                pool = self.pool(s)
                for worker in pool:
                    inputs = self.inputs(before, begin, end, s, worker, up, down)
                    arrival = max(
                        (one.sent_us + one.length_us for one in inputs), default=now_us + self.dispatch_us
                    )
                    free_us = taken.get(worker, self.free_us(worker))
                    options.append((max(arrival, free_us), free_us, self.rank(pool, worker), worker, inputs))
                start_us, _, _, worker, inputs = min(options, key=lambda one: one[:3])
                leg = SplitLeg(
                    s,
                    begin,
                    end,
                    worker,
                    start_us,
                    work_us,
                    inputs,
                    now_us + self.dispatch_us,
                    end_us=start_us + work_us,
                )
                taken[worker] = leg.end_us
                self.link(route.legs, leg, up, down)
                route.legs.append(leg)
        route.workers = [leg.worker for leg in route.legs]
        route.starts = [leg.start_us for leg in route.legs]
        route.ends = [leg.end_us for leg in route.legs]
        return route

    def inputs(self, before, begin, end, stage, worker, up, down):
        """Its input, from one sender after the other."""
        found, busy_us, host = [], 0, int(self.table.worker_host[worker])
        for number, sender in before:
            rows = min(end, sender.end) - max(begin, sender.begin)
            if rows <= 0:
                continue
            length_us, sent_us = int(self.table.transfer_us[stage, rows]), sender.end_us
            source = int(self.table.worker_host[sender.worker])
            if source != host and length_us:
                sent_us = free_from(up[source] | down[host], max(sent_us, busy_us), length_us)
                busy_us = sent_us + length_us
            found.append(Input(number, sent_us, length_us))
        return found

    def link(self, legs, leg, up, down):
        """Hold the links of all inputs of ``leg``."""
        for one in leg.inputs:
            hosts = [int(self.table.worker_host[w]) for w in (legs[one.sender].worker, leg.worker)]
            if hosts[0] != hosts[1] and one.length_us:
                up[hosts[0]].add((one.sent_us, one.sent_us + one.length_us))
                down[hosts[1]].add((one.sent_us, one.sent_us + one.length_us))

    def reserve(self, model, pipeline, size, route):
        for number, leg in enumerate(route.legs):
            self.promised[leg.worker].append((self.batches, number))
            self.link(route.legs, leg, self.uplink, self.downlink)
        self.flights[self.batches] = SplitFlight(model, self.stages(pipeline)[0], size, route.legs)

    def decide(self, now_us):
        decision = super().decide(now_us)
        return decision._replace(
            dispatches=tuple(
                each._replace(
                    pieces=tuple(
                        len(self.bounds(s, len(each.requests))) - 1 for s in self.stages(each.pipeline)
                    )
                )
                for each in decision.dispatches
            )
        )

    def ends(self, worker):
        free_us, ends = self.done[worker], {}
        for batch, number in self.promised[worker]:
            leg = self.flights[batch].legs[number]
            free_us = ends[batch, number] = max(free_us, leg.ready_us) + leg.work_us
        return ends

    def predicted_us(self, batch, number):
        """When a leg ends: as seen, or as its worker's promises say."""
        leg = self.flights[batch].legs[number]
        return leg.end_us if leg.is_over else self.ends(leg.worker)[batch, number]

    def complete(self, now_us, batch, stage, piece=0):
        flight = self.flights.get(batch)
        found = (
            [n for n, leg in enumerate(flight.legs) if leg.stage == flight.first_stage + stage]
            if flight
            else []
        )
        if piece >= len(found) or flight.legs[found[piece]].is_over:
            return
        number = found[piece]
        moved = set()
        for other in self.before(flight, number):
            moved |= self.finish_piece(now_us, batch, other)
        if self.rule == "penstock":
            self.learn(now_us, batch, number)
        moved |= self.finish_piece(now_us, batch, number)
        self.move_later(now_us, batch, moved)
        if all(leg.is_over for leg in flight.legs):
            del self.flights[batch]

    def before(self, flight, number):
        """The open legs that have some of its rows, directly or through others: those of the stage before it first."""
        found, wanted = [], [number]
        while wanted:
            wanted = sorted({one.sender for n in wanted for one in flight.legs[n].inputs})
            found += [n for n in wanted if not flight.legs[n].is_over]
        return found

    def finish_piece(self, now_us, batch, number):
        """The worker is done with it. The leg, if it ended earlier or later than predicted."""
        flight = self.flights[batch]
        leg = flight.legs[number]
        is_late = self.ends(leg.worker)[batch, number] != now_us
        if is_late:
            self.wake[flight.model] = min(self.wake[flight.model], now_us)
        self.promised[leg.worker].remove((batch, number))
        self.done[leg.worker] = leg.end_us = now_us
        leg.is_over = True
        return {number} if is_late else set()

    def learn(self, now_us, batch, number):
        leg = self.flights[batch].legs[number]
        if self.promised[leg.worker][0] != (batch, number):
            return
        profiled_us = int(self.table.latency_us[leg.stage, leg.end - leg.begin])
        took_us = sorted(
            [profiled_us // 4, now_us - max(leg.ready_us, self.done[leg.worker]), 4 * profiled_us]
        )[1]
        seen = math.floor(Fraction(ONE_PACE * took_us, profiled_us))
        self.pace[leg.stage] += math.floor(Fraction(seen - self.pace[leg.stage], 64))

    def move_later(self, now_us, batch, moved):
        """Send again what comes from legs that moved, and what was to be sent to the same leg after it."""
        flight = self.flights[batch]
        for number, leg in enumerate(flight.legs):
            senders = {one.sender for one in leg.inputs}
            if leg.is_over or not senders & moved:
                continue
            before_us, busy_us, is_moved = self.predicted_us(batch, number), 0, False
            for one in leg.inputs:
                hosts = [int(self.table.worker_host[w]) for w in (flight.legs[one.sender].worker, leg.worker)]
                needs_link = hosts[0] != hosts[1] and one.length_us > 0
                if one.sender in moved or (is_moved and one.sent_us >= now_us):
                    is_moved = True
                    old = one.sent_us, one.sent_us + one.length_us
                    one.sent_us = self.predicted_us(batch, one.sender)
                    if needs_link:
                        self.uplink[hosts[0]].discard(old)
                        self.downlink[hosts[1]].discard(old)
                        busy = self.uplink[hosts[0]] | self.downlink[hosts[1]]
                        one.sent_us = free_from(busy, max(one.sent_us, busy_us), one.length_us)
                        new = one.sent_us, one.sent_us + one.length_us
                        self.uplink[hosts[0]].add(new)
                        self.downlink[hosts[1]].add(new)
                if needs_link:
                    busy_us = one.sent_us + one.length_us
            if self.predicted_us(batch, number) != before_us:
                moved = moved | {number}

    def abandon(self, now_us, batch):
        if batch not in self.flights:
            return ()
        flight = self.flights[batch]
        for leg in flight.legs:
            for one in leg.inputs:
                hosts = [int(self.table.worker_host[w]) for w in (flight.legs[one.sender].worker, leg.worker)]
                if not leg.is_over and one.sent_us >= now_us and hosts[0] != hosts[1]:
                    span = one.sent_us, one.sent_us + one.length_us
                    self.uplink[hosts[0]].discard(span)
                    self.downlink[hosts[1]].discard(span)
        for number, leg in enumerate(flight.legs):
            if not leg.is_over:
                if self.promised[leg.worker][0] == (batch, number):
                    self.done[leg.worker] = max(self.done[leg.worker], now_us)
                self.promised[leg.worker].remove((batch, number))
        del self.flights[batch]
        self.wake[flight.model] = 0
        return (batch,)

    def worker_down(self, now_us, worker):
        lost = [batch for batch, flight in self.flights.items() if self.is_lost(flight, worker)]
        for batch in lost:
            self.abandon(now_us, batch)
        self.down.add(worker)
        return tuple(lost)

    def is_lost(self, flight, worker):
        """Whether it has work there to do, or rows there that an open leg waits for."""
        waited_for = {one.sender for leg in flight.legs if not leg.is_over for one in leg.inputs}
        return any(
            leg.worker == worker and (not leg.is_over or number in waited_for)
            for number, leg in enumerate(flight.legs)
        )
