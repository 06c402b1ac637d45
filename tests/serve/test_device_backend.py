"""One device behind the protocol, in this process: what a client is told when things go wrong, segments gated."""

import asyncio
import json
import socket
import threading
from collections import Counter

import aiohttp
import numpy as np
import pytest

from penstock.serve.listen.options import ListenOptions
from penstock.serve.listen.start import start_listeners
from penstock.serve.observe.catalogue import REQUESTS, SAMPLES
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import InferRequest, Tensor
from penstock.serve.scheduled.device_backend import DeviceBackend
from penstock.serve.scheduled.device_spec import DeviceSpec, TypeSpec
from penstock.serve.scheduled.thread_driver import ThreadDriver
from penstock.serve.spec import Limits, ModelSpec, TensorSpec

LIMIT_S = 20.0
SHAPE = TensorSpec("x", "FP32", (-1, 2))
MODEL = ModelSpec("m", 60_000_000, 0.0, 4, (SHAPE,), (SHAPE,), ("onnxruntime",))


class Gate:
    """Two segments that wait for permits; an input of -1 fails in the second."""

    n_segments = 2

    def __init__(self):
        self.permits = threading.Semaphore(0)
        self.running = threading.Semaphore(0)
        self.ran = 0

    def run(self, segment, tensors):
        self.running.release()
        assert self.permits.acquire(timeout=LIMIT_S)
        self.ran += 1
        if segment == 1 and tensors["x"][0, 0] == -1:
            raise ValueError("no such weight")
        return tensors

    async def until_running(self):
        assert await asyncio.to_thread(self.running.acquire, timeout=LIMIT_S)


def request(value=1.0, samples=1):
    return InferRequest(inputs=(Tensor("x", "FP32", np.full((samples, 2), value, np.float32)),))


class Device:
    """A backend over a gated driver with room for ``most_queued`` jobs."""

    def __init__(self, most_queued=2, limits=Limits(drain_us=50_000)):  # noqa: B008
        self.gate = Gate()
        spec = DeviceSpec((TypeSpec("m", 2),), "fifo", "keep", most_queued=most_queued)
        self.policy = spec.policy()
        self.driver = ThreadDriver(self.policy, [self.gate], threads=1)
        self.backend = DeviceBackend(self.driver, (MODEL,), limits, 1)

    def ask(self, *arguments):
        return asyncio.ensure_future(self.backend.infer(0, request(*arguments), self.backend.now_us()))

    async def end(self):
        self.gate.permits.release(1000)
        await asyncio.to_thread(self.driver.close)
        assert self.backend.in_flight == self.driver.in_flight == 0
        assert self.policy.is_idle()
        assert self.policy.holds_nothing()


def count(device, outcome):
    return device.backend.metrics.totals()[REQUESTS.name, ("m", outcome)][0]


def run(test):
    async def bounded():
        async with asyncio.timeout(LIMIT_S * 2):
            await test()

    asyncio.run(bounded())


def test_a_result_and_a_failure():
    async def test():
        device = Device()
        device.gate.permits.release(4)
        (tensor,) = await device.ask(7.0, 3)
        np.testing.assert_array_equal(tensor.array, np.full((3, 2), 7.0))
        with pytest.raises(ProtocolError, match="executor failed: ValueError: no such weight") as failed:
            await device.ask(-1.0)
        assert failed.value.http_status == 500
        assert (count(device, "met"), count(device, "error")) == (1, 1)
        assert device.backend.metrics.totals()[SAMPLES.name, ("m",)] == [3]
        await device.end()

    run(test)


def test_a_full_queue_is_refused_with_a_time_to_come_back():
    async def test():
        device = Device(most_queued=2)
        first, second = device.ask(), device.ask()
        await device.gate.until_running()
        with pytest.raises(ProtocolError, match="queue is full") as refused:
            await device.ask()
        assert (refused.value.http_status, refused.value.retry_after_s) == (503, 1)
        assert count(device, "refused") == 1
        device.gate.permits.release(4)
        await asyncio.gather(first, second)
        await device.end()

    run(test)


def test_unload_answers_who_waits_and_who_runs():
    async def test():
        device = Device()
        waiting = [device.ask(), device.ask()]
        await device.gate.until_running()
        await device.backend.set_loaded(0, loaded=False)
        for one in waiting:
            with pytest.raises(ProtocolError, match="unloaded"):
                await one
        assert not device.backend.is_ready(0)
        await device.end()
        assert device.gate.ran == 1

    run(test)


def test_a_stop_answers_who_is_left_after_the_drain():
    async def test():
        device = Device()
        waiting = [device.ask(), device.ask()]
        await device.gate.until_running()
        await device.backend.drain()  # 50 ms, in vain
        with pytest.raises(ProtocolError, match="is stopping"):
            await device.ask()
        closing = asyncio.create_task(asyncio.to_thread(device.driver.close))
        for one in waiting:
            with pytest.raises(ProtocolError, match="stopped before the job was done"):
                await one
        device.gate.permits.release()
        await closing
        await device.end()

    run(test)


def test_a_client_that_closes_its_connection_cancels_its_job():
    async def test():
        device = Device()
        listener = socket.create_server(("127.0.0.1", 0))
        listeners = await start_listeners(device.backend, listener, ListenOptions())
        port = listener.getsockname()[1]
        body = json.dumps(
            {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
        ).encode()
        head = f"POST /v2/models/m/infer HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body)
        await device.gate.until_running()
        assert device.backend.in_flight == 1
        writer.close()
        while device.backend.in_flight:
            await asyncio.sleep(0.005)
        # Its first segment still runs; the second one never does.
        assert device.driver.in_flight == 1
        await listeners.close()
        await device.end()
        assert device.gate.ran == 1

    run(test)


def test_every_request_over_http_is_in_exactly_one_outcome():
    """Counted by hand: each line is an answer and the outcome that it must be in; then two clients that leave."""
    good = json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    ).encode()
    asked = [
        ("m", good, 200, "met"),
        ("m", b"{", 400, "malformed"),
        ("m", b'{"inputs":[]}', 400, "malformed"),
        ("m", b" " * 20_000, 413, "too-large"),
        ("none", good, 404, "unknown-model"),
        ("m/versions/7", good, 404, "unknown-model"),
    ]

    async def test():
        device = Device(limits=Limits(drain_us=50_000, body_bytes=10_000))
        device.gate.permits.release(2)  # the two segments of the good request
        listener = socket.create_server(("127.0.0.1", 0))
        listeners = await start_listeners(device.backend, listener, ListenOptions())
        port = listener.getsockname()[1]
        async with aiohttp.ClientSession() as client:
            for model, body, status, _ in asked:
                url = f"http://127.0.0.1:{port}/v2/models/{model}/infer"
                async with client.post(url, data=body) as answer:
                    assert answer.status == status
        # One leaves while it sends, one while its request runs.
        for sent in (b"{", good):
            length = len(good)
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % length
            writer.write(head + sent)
            await writer.drain()
            if sent == good:
                await device.gate.until_running()
                await device.gate.until_running()
                await device.gate.until_running()
            await asyncio.sleep(0.05)
            writer.close()
        while sum(outcomes(device).values()) != len(asked) + 2:
            await asyncio.sleep(0.005)
        await listeners.close()
        await device.end()
        assert outcomes(device) == Counter([*(outcome for *_, outcome in asked), "cancelled", "cancelled"])

    run(test)


def outcomes(device):
    totals = device.backend.metrics.totals().items()
    counted = Counter()
    for (name, labels), slots in totals:
        if name == REQUESTS.name:
            counted[labels[1]] += slots[0]
    return +counted
