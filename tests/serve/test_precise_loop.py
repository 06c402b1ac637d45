"""The loop of the load generator: precise timers, and more connections than ``select`` takes."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys

import pytest

from penstock.serve.load.precise_loop import precise_loop

ABOVE = 1_200


@pytest.fixture
def many_descriptors():
    """As many as a server under overload makes a client open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < 2 * ABOVE:
        pytest.skip(f"this machine allows {before[1]} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 2 * ABOVE), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(sys.platform != "linux", reason="select is not used elsewhere")
def test_descriptors_above_those_of_select_are_heard(many_descriptors):
    async def heard():
        loop = asyncio.get_running_loop()
        taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(ABOVE)]
        one, other = socket.socketpair()
        assert one.fileno() > 1_023
        one.setblocking(False)
        try:
            loop.call_later(0.01, other.send, b"here")
            return await asyncio.wait_for(loop.sock_recv(one, 10), 30)
        finally:
            for descriptor in taken:
                os.close(descriptor)
            one.close()
            other.close()

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        assert runner.run(heard()) == b"here"


def test_a_timer_does_not_fire_early_and_a_call_from_a_thread_wakes_it():
    async def run():
        loop = asyncio.get_running_loop()
        due = loop.time() + 0.0102
        await asyncio.sleep(due - loop.time())
        late = loop.time() - due
        return late, await asyncio.to_thread(lambda: "woken")

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        late, word = runner.run(run())
    assert late > -1e-4
    assert word == "woken"
