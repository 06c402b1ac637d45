"""Refusals of the gateway, with no other process there: it never waits for one that does not come."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from serve_cases import bytes_profile, write_plan

from penstock.plan.documents.store import load_plan
from penstock.serve.gateway import gateway_process
from penstock.serve.gateway.gateway import GIVE_UP_US, Gateway
from penstock.serve.gateway.ledger import RETRY_AFTER_S
from penstock.serve.messages import BatchHeader, Readiness, Share, TensorHeader
from penstock.serve.observe.catalogue import FALLBACKS, REQUESTS
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import InferRequest, RequestedOutput, Tensor
from penstock.serve.spec import Limits
from penstock.serve.transport import Received
from penstock.serve.transport.wire import encoded


@pytest.fixture
def spec(tmp_path):
    loaded = load_plan(write_plan(tmp_path, bytes_profile("sizes", (24, 10)), (0, 1)))
    options = ServeOptions(executors={"": "emulated"}, limits=Limits(in_flight=4, drain_us=0))
    return prepare(loaded.plan, loaded.profiles, options, tmp_path)


def request(samples, **changes):
    tensor = Tensor("input", "UINT8", np.zeros((samples, 24), np.uint8))
    return InferRequest((tensor,), **changes)


def refusal(spec, folder, asked, *, ready=True, closing=False, stop_after_s=None):
    """The error that a gateway of ``spec`` answers ``asked`` with."""

    async def ask():
        gateway = Gateway(spec, folder)
        gateway.readiness = Readiness(0, 0, (ready,))
        gateway.is_closing = closing
        answer = asyncio.ensure_future(gateway.infer(0, asked, gateway.now_us()))
        if stop_after_s is not None:
            await asyncio.sleep(stop_after_s)
            await gateway.drain()
        with pytest.raises(ProtocolError) as caught:
            await asyncio.wait_for(answer, 10)
        gateway.close()
        return caught.value, gateway.metrics.totals()[REQUESTS.name, ("sizes", "refused")][0]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("state", "samples", "words"),
    [
        ({"ready": False}, 1, "not all its stages have a worker"),
        ({"closing": True}, 1, "is stopping"),
        ({}, 5, "at most 4 may be"),
    ],
)
def test_overload_is_refused_with_a_time_to_come_back(spec, tmp_path, state, samples, words):
    error, refused = refusal(spec, tmp_path, request(samples), **state)
    assert (error.http_status, error.retry_after_s, refused) == (503, RETRY_AFTER_S, 1)
    assert words in str(error)


def test_a_stop_answers_what_nobody_else_will(spec, tmp_path):
    error, _ = refusal(spec, tmp_path, request(1), stop_after_s=0)
    assert error.http_status == 503
    assert "stopped before" in str(error)


def test_without_a_head_everything_is_refused_at_once(spec, tmp_path):
    """What waits, what comes, and what a dispatcher says after all; and the end does not wait for anything."""
    patient = msgspec.structs.replace(spec, limits=Limits(in_flight=4, drain_us=3_600_000_000))

    async def ask():
        gateway = Gateway(patient, tmp_path)
        gateway.readiness = Readiness(0, 0, (True,))
        waiting = asyncio.ensure_future(gateway.infer(0, request(1), gateway.now_us()))
        await asyncio.sleep(0)
        gateway.lose_head()
        errors = []
        for one in (waiting, gateway.infer(0, request(1), gateway.now_us())):
            with pytest.raises(ProtocolError, match="cannot reach the head") as caught:
                await one
            errors.append((caught.value.http_status, caught.value.retry_after_s))
        gateway._take(Received(encoded(Readiness(1, 0, (True,))), ()))
        is_ready = gateway.is_ready(0)
        await gateway.drain()
        gateway.close()
        return errors, is_ready

    assert asyncio.run(ask()) == ([(503, RETRY_AFTER_S)] * 2, False)


class SetClock:
    """A clock that stays at the time that it was set to."""

    def __init__(self, now_us):
        self.us = now_us

    def now_us(self):
        return self.us


def test_a_request_is_given_up_once_it_is_long_overdue(spec, tmp_path):
    async def ask():
        gateway = Gateway(spec, tmp_path)
        gateway._clock = clock = SetClock(1_000)
        gateway.readiness = Readiness(0, 0, (True,))
        answer = asyncio.ensure_future(gateway.infer(0, request(1), 1_000))
        await asyncio.sleep(0)
        clock.us = 1_000 + spec.models[0].slo_us + GIVE_UP_US
        gateway.give_up_overdue()
        await asyncio.sleep(0)
        assert not answer.done()
        clock.us += 1
        gateway.give_up_overdue()
        with pytest.raises(ProtocolError, match="no answer came") as caught:
            await answer
        gateway.close()
        return caught.value.http_status

    assert asyncio.run(ask()) == 500


def test_batches_that_found_no_room_in_shared_memory_are_counted(spec, tmp_path):
    """A result of which two hops went another way, for units that nobody waits for any more."""

    async def receive():
        gateway = Gateway(spec, tmp_path)
        header = BatchHeader(
            epoch=0,
            batch=1,
            pipeline=0,
            route=(),
            stage=1,
            shares=(Share(0, 1, ""),),
            gateway=0,
            size=1,
            sent_us=0,
            compute_us=0,
            parts=(1,),
            tensors=(TensorHeader("output", "UINT8", (1, 10)),),
            fallbacks=2,
        )
        gateway._take_result(header, [memoryview(bytes(10))])
        gateway.close()
        return gateway.metrics.totals()[FALLBACKS.name, ()][0]

    assert asyncio.run(receive()) == 2


def test_overdue_requests_are_looked_for_every_second(monkeypatch):
    slept, looked = [], []

    class Counting:
        metrics = SimpleNamespace(measure=lambda now_us: None)

        def give_up_overdue(self):
            looked.append(len(slept))

        def now_us(self):
            return 0

    async def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(gateway_process.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(gateway_process._sweep(Counting()))
    assert (slept, looked) == ([1.0] * 3, [1, 2])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request(0), "1 sample or more"),
        (InferRequest(()), "takes the inputs"),
        (InferRequest((Tensor("input", "INT8", np.zeros((1, 24), np.int8)),)), "is UINT8, got INT8"),
        (InferRequest((Tensor("input", "UINT8", np.zeros(24, np.uint8)),)), "got \\[24\\]"),
        (request(1, outputs=(RequestedOutput("what"),)), "not 'what'"),
    ],
)
def test_what_does_not_fit_the_model_is_named(spec, tmp_path, asked, words):
    with pytest.raises(ProtocolError, match=words):
        raise refusal(spec, tmp_path, asked)[0]


def test_a_gateway_says_when_new_requests_belong_to_another_plan(spec, tmp_path):
    async def told():
        noted = []
        gateway = Gateway(spec, tmp_path, 0, noted.append)
        gateway.add_plan(msgspec.structs.replace(spec, epoch=1))
        for readiness in (Readiness(0, 0, (True,)), Readiness(0, 1, (False,)), Readiness(0, 1, (True,))):
            gateway._take_readiness(readiness)
        gateway.close()
        return noted, gateway.spec.epoch

    assert asyncio.run(told()) == ([1], 1)
