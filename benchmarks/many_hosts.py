"""What bounds a fleet of many hosts: the time of each part of the head, by the number of hosts.

    python benchmarks/many_hosts.py [--hosts 16 128 1000] [--devices 8]

Processor time of this process, on one core. Each host has some devices with a worker each, and all workers are a pool
of one stage with batch 1: so every request is a batch of its own, which costs the head most. Measured are:

- *decision*: the policy alone, from an arrival to a route, and its correction when the batch is done;
- *books*: the dispatcher with that policy, and the messages of a request read and written (Arrive, Assign, StageDone);
- *passage*: a message sent and received over ZeroMQ, three of which a request costs the dispatcher;
- *heartbeat*: a beat of an agent received by the head, and one sent to it, five each a second for a host;
- *start*: to tell the dispatcher that all workers are up.

From these follow the share of a core that the dispatcher takes at 3,000 requests/s, and the supervisor for the beats.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import DEFAULT_POLICY
from penstock.schedule.table import DispatchTable
from penstock.serve.dispatcher.dispatcher import Dispatcher
from penstock.serve.dispatcher.outgoing import ForGateway
from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.hosts.agent_messages import Beat, FromAgent, FromHead
from penstock.serve.hosts.host_line import BEAT_S, HostLine
from penstock.serve.messages import Arrive, Assign, StageDone, ToDispatcher, numbered
from penstock.serve.transport.wire import decoded, encoded
from penstock.serve.transport.zeromq import Context, connect, listen, received, send

REQUESTS = 20_000
RATE_RPS = 3_000
SERVICE_US = 20_000
SLO_US = 200_000
PASSES = 3


def table_of(hosts: int, devices: int) -> DispatchTable:
    workers = hosts * devices
    row = np.array([[0, SERVICE_US]], np.int64)
    return DispatchTable(
        slo_us=np.array([SLO_US], np.int64),
        pipeline_offsets=np.array([0, 1], np.int64),
        stage_offsets=np.array([0, 1], np.int64),
        worker_offsets=np.array([0, workers], np.int64),
        pipeline_batch=np.array([1], np.int64),
        latency_us=row,
        p99_us=row,
        transfer_us=np.zeros((1, 2), np.int64),
        worker_host=np.repeat(np.arange(hosts), devices).astype(np.int64),
        worker_device=np.arange(workers, dtype=np.int64),
    )


def decision_us(table: DispatchTable) -> float:
    """Of the policy: an arrival, its decision, and the completion of its batch."""
    policy = ReservationPolicy(table, rule=DEFAULT_POLICY)
    gap_us = 1_000_000 // RATE_RPS
    ends: list[tuple[int, int]] = []
    begin_s = time.process_time()
    for number in range(REQUESTS):
        now_us = number * gap_us
        while ends and ends[0][0] <= now_us:
            end_us, batch = ends.pop(0)
            policy.complete(end_us, batch, 0)
        policy.arrive(now_us, 0, number, now_us + SLO_US)
        ends += [(now_us + SERVICE_US, one.batch) for one in policy.decide(now_us).dispatches]
    return (time.process_time() - begin_s) / REQUESTS * 1e6


def books_us(table: DispatchTable) -> tuple[float, float]:
    """Of the dispatcher for a request, with its messages; and the seconds until it knows that all workers are up."""
    dispatcher = Dispatcher(0, late_us=0)
    dispatcher.add_plan(ServedPlan(0, ReservationPolicy(table, rule=DEFAULT_POLICY), table, 0))
    begin_s = time.process_time()
    for worker in range(table.n_workers):
        dispatcher.worker_up(0, worker, f"tcp://10.0.0.1:{worker}")
    up_s = time.process_time() - begin_s
    dispatcher.switch(0, 0)
    dispatcher.gateway_up(0, 0, "ipc:///run/gateway-0")
    decoder = msgspec.msgpack.Decoder(ToDispatcher)
    gap_us = 1_000_000 // RATE_RPS
    waiting: list[tuple[int, bytes]] = []
    begin_s = time.process_time()
    for number in range(REQUESTS):
        now_us = number * gap_us
        while waiting and waiting[0][0] <= now_us:
            done = decoded(decoder, waiting.pop(0)[1])
            dispatcher.stage_done(now_us, done)
        unit = numbered(0, number)
        text = encoded(Arrive(0, 0, 0, unit, unit, 1, now_us + SLO_US))
        messages = [*dispatcher.arrive(now_us, decoded(decoder, text)), *dispatcher.catch_up(now_us)]
        messages += dispatcher.look_after(now_us)
        for one in messages:
            encoded(one.message)
            if isinstance(one, ForGateway) and isinstance(one.message, Assign):
                it = one.message
                end_us = now_us + SERVICE_US
                step = it.route[0].worker
                done = StageDone(0, it.batch, it.pipeline, 0, step, 1, now_us, now_us, end_us, 0)
                waiting.append((end_us, encoded(done)))
    assert dispatcher.in_flight <= SERVICE_US // gap_us + 1, "the dispatcher lost batches"
    return (time.process_time() - begin_s) / REQUESTS * 1e6, up_s


def passage_us(count: int = 20_000) -> float:
    """A message of a request sent and received over ZeroMQ, by two ends in this process."""
    import zmq

    context: Context = zmq.Context()
    with tempfile.TemporaryDirectory() as folder:
        endpoint = f"ipc://{Path(folder) / 'inbox'}"
        inbox, link = listen(context, endpoint), connect(context, endpoint)
        message = Arrive(0, 0, 0, 1, 1, 1, SLO_US)
        begin_s, got = time.process_time(), 0
        for _ in range(count):
            send(link, message)
            got += sum(1 for _ in received(inbox))
        while got < count:
            got += sum(1 for _ in received(inbox))
        spent_s = time.process_time() - begin_s
        context.destroy(linger=0)
    return spent_s / count * 1e6


def heartbeat_us(count: int = 5_000) -> float:
    """A beat received by the head and one sent by it, both ends in this process: half of it is the head's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        ends = near, server.accept()[0]
    head = HostLine(ends[0], b"s" * 32, msgspec.msgpack.Decoder(FromAgent), is_head=True)
    agent = HostLine(ends[1], b"s" * 32, msgspec.msgpack.Decoder(FromHead), is_head=False)
    head.receive(), agent.receive()
    begin_s = time.process_time()
    for _ in range(count):
        head.send(Beat())
        agent.send(Beat())
        head.receive(), agent.receive()
    spent_s = time.process_time() - begin_s
    head.close()
    agent.close()
    return spent_s / count / 2 * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", type=int, nargs="+", default=[16, 128, 1000])
    parser.add_argument("--devices", type=int, default=8)
    given = parser.parse_args()
    for rounds in range(2):  # the first compiles
        passage, beat = (
            passage_us(2_000 if not rounds else 20_000),
            heartbeat_us(500 if not rounds else 5_000),
        )
        decision_us(table_of(1, 8))
    print(f"a message over ZeroMQ, both ends: {passage:.1f} us; a beat each way, at the head: {beat:.1f} us")
    print(
        f"{'hosts':>6}{'workers':>9}{'decision us':>13}{'books us':>10}{'all up s':>10}"
        f"{f'dispatcher at {RATE_RPS}/s':>22}{'most requests/s':>17}{'beats':>8}"
    )
    for hosts in given.hosts:
        table = table_of(hosts, given.devices)
        decision = min(decision_us(table) for _ in range(PASSES))
        books, up_s = min(books_us(table) for _ in range(PASSES))
        whole_us = books + 1.5 * passage  # three messages, of each one end
        beats = hosts * beat * 1e-6 / BEAT_S
        print(
            f"{hosts:>6}{table.n_workers:>9}{decision:>13.1f}{books:>10.1f}{up_s:>10.2f}"
            f"{whole_us * RATE_RPS * 1e-6:>21.0%} {1e6 / whole_us:>16.0f} {beats:>7.1%}"
        )


if __name__ == "__main__":
    main()
