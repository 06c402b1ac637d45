"""Many emulated workers in one process: each holds its batches for the table's time, one after the other.

A process for each of a hundred workers would need more than the two cores of this machine only to wake up. Messages,
transport and reports are those of a real worker (:mod:`penstock.serve.worker`). A batch is at its worker when the
table's transfer has passed since it was sent, because the plan's network is slower than this machine's memory.

    python fleet.py FOLDER    (prints "ready ENDPOINT"; ends with its standard input)
"""

from __future__ import annotations

import heapq
import select
import sys
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import msgspec

from penstock.clock import MonotonicClock
from penstock.serve.executor.emulated import zeros_of
from penstock.serve.hops.gather import Gather, Whole
from penstock.serve.hops.onward import Onward
from penstock.serve.messages import BatchHeader, GatewayGone, Ping, Pong, StageDone, ToWorker
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import ServerSpec, StageSpec, read_spec
from penstock.serve.transport import Group, decoded, dispatcher_endpoint, open_transport, worker_endpoint
from penstock.units import NEVER_US, US_PER_S


@dataclass
class Emulated:
    """One worker. ``free_us``: when its last batch will be done."""

    free_us: int = 0
    held: deque[int] = field(default_factory=deque)
    """When each batch that it has not finished began or will begin."""


class Fleet:
    """All workers of a plan of one epoch."""

    def __init__(self, folder: Path) -> None:
        self.clock = MonotonicClock()
        self.spec: ServerSpec = read_spec(folder)
        self.transport = open_transport(self.spec.transport, "fleet", folder)
        self.endpoint = worker_endpoint(folder, 0, 0)
        self.inbox = self.transport.listen(self.endpoint)
        self._dispatcher = self.transport.connect(dispatcher_endpoint(folder))
        self._onward = Onward(self.transport)
        self._gather: Gather[memoryview] = Gather()
        self._decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
        self._workers = {worker: Emulated() for worker in self.spec.workers}
        self._events: list[tuple[int, int, int, int, Whole[memoryview]]] = []
        self._order = count()
        self._transfer_us = self.spec.table["transfer_us"]
        self._stage_offsets = self.spec.table["stage_offsets"]
        self._made: dict[tuple[int, int], list[Tensor]] = {}

    @property
    def next_us(self) -> int:
        """When the next batch is done."""
        return self._events[0][0] if self._events else NEVER_US

    def turn(self) -> None:
        """Take in what came, and pass on what is done."""
        for received in self.inbox.waiting():
            message = decoded(self._decoder, received.head)
            if isinstance(message, BatchHeader):
                whole = self._gather.add(self.clock.now_us(), message, list(received.frames))
                if whole is not None:
                    self._begin(whole)
            elif isinstance(message, Ping):
                self._answer()
            elif isinstance(message, GatewayGone):
                self._onward.forget(message.gateway)
        while self.next_us <= self.clock.now_us():
            end_us, _, start_us, queued_us, whole = heapq.heappop(self._events)
            self._end(whole, queued_us, start_us, end_us)

    def _begin(self, whole: Whole[memoryview]) -> None:
        header = whole.header
        stage = self._stage_offsets[header.pipeline] + header.stage
        queued_us = max(self.clock.now_us(), header.sent_us + self._transfer_us[stage][header.size])
        worker = self._workers[header.route[header.stage].worker]
        start_us = max(queued_us, worker.free_us)
        worker.free_us = start_us + self.spec.stages[stage].latency_us[header.size]
        worker.held.append(start_us)
        heapq.heappush(self._events, (worker.free_us, next(self._order), start_us, queued_us, whole))

    def _end(self, whole: Whole[memoryview], queued_us: int, start_us: int, end_us: int) -> None:
        header = whole.header
        index = header.route[header.stage].worker
        self._workers[index].held.popleft()
        stage = self.spec.stage_at(header.pipeline, header.stage)
        outputs = self.spec.models[stage.model].outputs
        groups = [Group(header.size, self._zeros(stage, header.size))]
        self._onward.pass_on(header, groups, stage, outputs, self.clock.now_us(), end_us - start_us)
        transfer_us = queued_us - header.sent_us
        self._dispatcher.send(
            StageDone(header.epoch, header.batch, header.pipeline, header.stage, index, header.size,
                      queued_us, start_us, end_us, transfer_us)
        )  # fmt: skip

    def _zeros(self, stage: StageSpec, size: int) -> list[Tensor]:
        made = self._made.get((id(stage), size))
        if made is None:
            specs = (*stage.computed, *stage.forwarded)
            made = [Tensor(one.name, one.datatype, zeros_of(one, size)) for one in specs]
            self._made[id(stage), size] = made
        return made

    def _answer(self) -> None:
        """A ping does not say whom it is for, so all answer."""
        now_us = self.clock.now_us()
        for index, worker in self._workers.items():
            runs = bool(worker.held) and worker.held[0] <= now_us
            self._dispatcher.send(Pong(index, len(worker.held), worker.held[0] if runs else -1))


def main() -> None:
    fleet = Fleet(Path(sys.argv[1]))
    print(f"ready {fleet.endpoint}", flush=True)
    inbox = fleet.inbox.fileno()
    while True:
        left_s = max(min(fleet.next_us - fleet.clock.now_us(), US_PER_S), 0) / US_PER_S
        if 0 in select.select([inbox, 0], [], [], left_s)[0]:
            return
        fleet.turn()


if __name__ == "__main__":
    main()
