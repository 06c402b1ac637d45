"""Refusals of the gateway, with no other process there: it never waits for one that does not come."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from serve_cases import bytes_profile, write_plan

from penstock.plan.store import load_plan
from penstock.serve.gateway.core import RETRY_AFTER_S, Gateway
from penstock.serve.messages import Readiness
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import InferRequest, RequestedOutput, Tensor
from penstock.serve.spec import Limits


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
        gateway.readiness = Readiness((ready,), (1,))
        gateway.is_closing = closing
        answer = asyncio.ensure_future(gateway.infer(0, asked, gateway.now_us()))
        if stop_after_s is not None:
            await asyncio.sleep(stop_after_s)
            await gateway.drain()
        with pytest.raises(ProtocolError) as caught:
            await asyncio.wait_for(answer, 10)
        gateway.close()
        return caught.value, gateway.metrics[0].refused

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
