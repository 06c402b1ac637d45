"""An agent that finds no head, or another one."""

from __future__ import annotations

import socket
import threading

import pytest

pytest.importorskip("zmq")

from penstock.errors import BadInputError, PenstockError
from penstock.serve.hosts import agent as agent_module
from penstock.serve.hosts.agent import HostAgent
from penstock.serve.listeners import Address
from penstock.serve.transport.curve import new_keys


@pytest.fixture
def agent_of(tmp_path, monkeypatch):
    monkeypatch.setattr(agent_module, "ORPHAN_S", 1.5)
    agents = []

    def make(address):
        agents.append(HostAgent("gpu:0", "127.0.0.1", Address(*address), tmp_path, new_keys()))
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()


def test_a_head_that_does_not_know_the_keys_of_the_agent_is_bad_input(agent_of):
    """It ends each line when it has read what it cannot open."""
    met = []

    def head():
        while True:
            try:
                end = listener.accept()[0]
            except OSError:
                return
            met.append(end)
            end.sendall(bytes(32))
            end.recv(2**16)
            end.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=head, daemon=True)
        thread.start()
        with pytest.raises(BadInputError, match=r"ended the line \d+ times in 2 s without a word") as raised:
            agent_of(listener.getsockname()).run()
        listener.shutdown(socket.SHUT_RDWR)
    assert "start the agent with the keys of the run" in str(raised.value)
    assert raised.value.exit_status == 2
    assert 1 <= len(met) <= 10  # it does not ask again at once


def test_an_agent_without_a_head_ends(agent_of):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(PenstockError, match=r"host gpu:0: no head at 127.0.0.1:\d+ for 2 s"):
        agent_of(address).run()
