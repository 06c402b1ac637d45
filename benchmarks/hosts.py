"""Between two hosts of a rehearsal: tensors over ZeroMQ with CURVE and without, beside iperf3 on the same link.

``python benchmarks/hosts.py`` prints a line for each size. Both ends are processes in network namespaces of their own.
The programs run in turn, several rounds, and the best round of each counts: the machine may be busy. Without ``--gbps``
the link is as fast as the machine makes it. ``--start HOSTS DEVICES`` starts a plan of emulated workers on so many
hosts, and prints how long it took until it was ready. Then it sends requests of several samples, each of which is a
batch of its own, as many as the machine serves, and prints what a batch costs the dispatcher, and so 3,000 a second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import numpy as np

from penstock.serve.hosts.rehearsal import Namespace, Network
from penstock.serve.messages import BatchHeader, CancelBatch, ToWorker
from penstock.serve.protocol.infer import Tensor
from penstock.serve.transport import decoded, tensor_headers
from penstock.serve.transport.curve import CurveKeys, new_keys
from penstock.serve.transport.zeromq import Context, connect, listen, received, send

WAIT_S = 60.0
UNSHAPED_GBPS = 400.0
PORT = 5_600
IN_FLIGHT = 8
SAMPLES = 16
"""Of a request under load: the cores of this machine must not go to HTTP."""
CLIENTS = 4
LOAD_S = 10.0
AIM_RPS = 3_000


def inside(space: Namespace, *arguments: str) -> subprocess.Popen[str]:
    """This script in a namespace."""
    return subprocess.Popen(
        ["ip", "netns", "exec", space.name, sys.executable, __file__, *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def context_of(keys: CurveKeys | None) -> Context:
    """A context whose listeners let the run's senders in."""
    import zmq

    from penstock.serve.transport.curve import SendersOfRun

    context: Context = zmq.Context()
    if keys is not None:
        SendersOfRun(context, keys)
    return context


def receive(address: str, back: str, keys: CurveKeys | None) -> None:
    """Answer each batch by a small message, for ever."""
    import select

    context = context_of(keys)
    inbox = listen(context, f"tcp://{address}:{PORT}", keys)
    link = connect(context, f"tcp://{back}:{PORT}", keys)
    decoder = msgspec.msgpack.Decoder(ToWorker)
    print("ready", flush=True)
    while True:
        select.select([inbox.fileno()], [], [], WAIT_S)
        for frames in received(inbox):
            header = decoded(decoder, frames[0].buffer)
            array = np.frombuffer(frames[1].buffer, np.uint8)
            assert array[-1] == header.batch % 251
            send(link, CancelBatch(header.batch))


def transmit(address: str, to: str, size: int, batches: int, keys: CurveKeys | None) -> None:
    """Send batches of ``size`` bytes, some at once, and print the bytes of tensors in a second."""
    import select

    context = context_of(keys)
    inbox = listen(context, f"tcp://{address}:{PORT}", keys)
    link = connect(context, f"tcp://{to}:{PORT}", keys)
    arrays = [np.zeros(size, np.uint8) for _ in range(IN_FLIGHT * 2)]

    def one(number: int) -> None:
        array = arrays[number % len(arrays)]
        array[-1] = number % 251
        parts = [[Tensor("x", "UINT8", array.reshape(1, -1))]]
        header = BatchHeader(
            epoch=0, batch=number, pipeline=0, route=(), stage=0, shares=(), gateway=0, size=1, sent_us=0,
            compute_us=0, parts=(1,), tensors=tensor_headers(parts),
        )  # fmt: skip
        send(link, header, [memoryview(array)])

    def answers() -> int:
        select.select([inbox.fileno()], [], [], WAIT_S)
        return sum(1 for _ in received(inbox))

    one(0)
    while not answers():
        pass
    begin_s, sent, back = time.perf_counter(), 0, 0
    while back < batches:
        while sent < min(batches, back + IN_FLIGHT):
            one(sent)
            sent += 1
        back += answers()
    print(batches * size / (time.perf_counter() - begin_s), flush=True)


def zeromq_gbps(spaces: list[Namespace], size: int, total: int, keys: CurveKeys | None) -> float:
    """Gbit/s of tensors from the first host to the second."""
    key_text = "" if keys is None else msgspec.json.encode(keys).decode()
    first, second = spaces
    other = inside(second, "receive", second.address, first.address, key_text)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        sender = inside(
            first, "transmit", first.address, second.address, key_text, str(size), str(max(total // size, 8))
        )
        out, _ = sender.communicate(timeout=WAIT_S)
    finally:
        other.kill()
        other.wait()
    return float(out) * 8e-9


def iperf_gbps(spaces: list[Namespace], size: int, total: int) -> float:
    """What iperf3 gets with writes of ``size`` bytes over one connection."""
    first, second = spaces
    server = subprocess.Popen(
        ["ip", "netns", "exec", second.name, "iperf3", "-s", "-1", "--forceflush", "-B", second.address],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        server.stdout.readline()  # it listens
        command = ["iperf3", "-c", second.address, "-n", str(total), "-l", str(min(size, 2**20)), "-J"]
        done = subprocess.run(
            ["ip", "netns", "exec", first.name, *command],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
    finally:
        server.kill()
        server.wait()
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) * 1e-9


def compare(gbps: float, rounds: int, total: int) -> None:
    network = Network()
    try:
        spaces = [network.add(gbps) for _ in range(2)]
        keys = new_keys()
        print(
            f"{'size':>8} {'iperf3':>8} {'zeromq':>8} {'curve':>8}  Gbit/s, best of {rounds}; share of iperf3"
        )
        for size in (10**6, 10**7):
            best = [0.0, 0.0, 0.0]
            for _ in range(rounds):
                measured = [iperf_gbps(spaces, size, total)]
                measured += [zeromq_gbps(spaces, size, total, one) for one in (None, keys)]
                best = [max(pair) for pair in zip(best, measured, strict=True)]
            iperf, plain, curve = best
            print(
                f"{size:>8} {iperf:>8.2f} {plain:>8.2f} {curve:>8.2f}  zeromq {plain / iperf:.0%}, "
                f"with curve {curve / iperf:.0%}; curve costs {1 - curve / plain:.0%}"
            )
    finally:
        network.close()


def start(hosts: int, devices: int) -> None:
    """A stage of emulated workers, one for each device."""
    from dataclasses import replace

    sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "serve")]
    from serve_cases import bytes_profile, write_plan

    from penstock.plan.documents.store import load_plan, save_plan
    from penstock.plan.placement.seats import place
    from penstock.serve.local_server import LocalServer

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        profile = replace(bytes_profile("sizes", (24, 10), 10_000))
        path = write_plan(folder, profile, (0, 1), workers=hosts * devices, batch=1, slo_us=5_000_000)
        loaded = load_plan(path)
        cluster = loaded.plan.scenario.cluster
        gpu = cluster.device_classes["gpu"].model_copy(update={"per_host": devices})
        cluster = cluster.model_copy(update={"device_classes": {"gpu": gpu}})
        scenario = loaded.plan.scenario.model_copy(update={"cluster": cluster})
        plan = loaded.plan.model_copy(
            update={"scenario": scenario, "placement": place(loaded.plan.models, cluster)}
        )
        save_plan(plan, path, force=True)
        begin_s = time.perf_counter()
        options = ["--executor", "emulated", "--rehearse-hosts"]
        with LocalServer(path, options, ready_s=600) as server:
            ready_s = time.perf_counter() - begin_s
            named = server.notes.count("is network namespace")
            print(
                f"{named} hosts, {hosts * devices} workers: ready after {ready_s:.1f} s (aim 60)", flush=True
            )
            dispatcher = dispatcher_of(server.pid)
            before_s = cpu_s(dispatcher)
            time.sleep(LOAD_S / 2)
            idle = (cpu_s(dispatcher) - before_s) / (LOAD_S / 2)
            rate, busy = under_load(server.url, dispatcher)
            end_s = time.perf_counter()
        each_us = max(busy - idle, 0.0) / rate * 1e6
        print(
            f"the dispatcher takes {idle:.1%} of a core without load, {busy:.1%} at {rate:.0f} batches/s: "
            f"{each_us:.0f} us each, {idle + each_us * AIM_RPS * 1e-6:.0%} at {AIM_RPS}/s (aim 70%)"
        )
        print(f"ended after {time.perf_counter() - end_s:.1f} s")


def dispatcher_of(supervisor: int) -> int:
    """The dispatcher among the children of the supervisor."""
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        if "dispatcher" in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
            return int(child)
    raise AssertionError("no dispatcher")


def cpu_s(pid: int) -> float:
    """Processor time of a process, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def under_load(url: str, dispatcher: int) -> tuple[float, float]:
    """Batches a second that clients get who wait for their answers, and the share of a core that the dispatcher
    takes."""
    parts = urlsplit(url)
    row = [0] * 24
    body = json.dumps(
        {"inputs": [{"name": "input", "shape": [SAMPLES, 24], "datatype": "UINT8", "data": [row] * SAMPLES}]}
    )
    until_s = time.perf_counter() + LOAD_S

    def client() -> int:
        connection, met = HTTPConnection(parts.hostname or "", parts.port, timeout=WAIT_S), 0
        while time.perf_counter() < until_s:
            connection.request("POST", "/v2/models/sizes/infer", body)
            response = connection.getresponse()
            response.read()
            met += response.status == 200
        return met

    before_s = cpu_s(dispatcher)
    with ThreadPoolExecutor(CLIENTS) as pool:
        met = sum(one.result() for one in [pool.submit(client) for _ in range(CLIENTS)])
    assert met, "no request was answered in time"
    return met * SAMPLES / LOAD_S, (cpu_s(dispatcher) - before_s) / LOAD_S


def main() -> None:
    if sys.argv[1:2] == ["receive"]:
        keys = sys.argv[4] and msgspec.json.decode(sys.argv[4], type=CurveKeys)
        receive(sys.argv[2], sys.argv[3], keys or None)
        return
    if sys.argv[1:2] == ["transmit"]:
        keys = sys.argv[4] and msgspec.json.decode(sys.argv[4], type=CurveKeys)
        transmit(sys.argv[2], sys.argv[3], int(sys.argv[5]), int(sys.argv[6]), keys or None)
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gbps", type=float, default=UNSHAPED_GBPS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1_000, help="sent in each round")
    parser.add_argument("--start", nargs=2, type=int, metavar=("HOSTS", "DEVICES"))
    arguments = parser.parse_args()
    if arguments.start:
        start(*arguments.start)
    else:
        compare(arguments.gbps, arguments.rounds, arguments.megabytes * 10**6)


if __name__ == "__main__":
    main()
