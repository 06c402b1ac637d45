"""The line between head and agents: what proves to be of the run is heard in order, and nothing else is heard."""

# ruff: noqa: E402 - the serve extra is asked for first
from __future__ import annotations

import hashlib
import socket
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

msgspec = pytest.importorskip("msgspec")
pytest.importorskip("zmq")

from penstock.errors import BadInputError
from penstock.serve.control import WorkerUp
from penstock.serve.hosts.agent_messages import (
    AgentNote,
    Beat,
    EndPlan,
    FromAgent,
    FromHead,
    ReplaceWorker,
)
from penstock.serve.hosts.host_line import (
    BEAT_S,
    BUSY_US,
    MOST_BYTES_AT_FIRST,
    NONCE_BYTES,
    SILENCE_US,
    HostLine,
    Seal,
    secret_of,
)
from penstock.serve.transport.curve import new_keys

WAIT_S = 10.0
SECRET = b"s" * 32


def end_of(side, secret, *, is_head):
    side.settimeout(WAIT_S)
    decoder = msgspec.msgpack.Decoder(FromAgent if is_head else FromHead)
    return HostLine(side, secret, decoder, is_head=is_head)


def connected():
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        first = socket.create_connection(server.getsockname())
        return first, server.accept()[0]


@pytest.fixture
def sides():
    both = connected()
    yield both
    for side in both:
        side.close()


def both_ends(sides, secret=SECRET, other=SECRET):
    """Head and agent, who have each other's random bytes."""
    head, agent = end_of(sides[0], secret, is_head=True), end_of(sides[1], other, is_head=False)
    assert head.receive() == []
    assert agent.receive() == []
    return head, agent


def some(line, count):
    """The next ``count`` messages."""
    found = []
    while len(found) < count:
        messages = line.receive()
        assert messages is not None
        found += messages
    return found


def test_a_peer_whose_host_acknowledges_is_busy_and_not_gone(sides):
    """It gets beats and does not read them, as a process without a core. A stranger gets less time."""
    line, peer = both_ends(sides)
    assert line.silent_us(line.heard_us + SILENCE_US + 1) == SILENCE_US + 1
    peer.send(AgentNote("of the run"))
    assert some(line, 1)
    time.sleep(3 * BEAT_S)
    assert line.silent_us(line.heard_us + SILENCE_US + 1) is None
    assert line.silent_us(line.heard_us + BUSY_US) is None
    assert line.silent_us(line.heard_us + BUSY_US + 1) == BUSY_US + 1
    line.close()
    peer.close()


class CutOff(socket.socket):
    """A connection whose packets are sent again and again, as Linux says it when a link is down."""

    def getsockopt(self, level, option, size=0):
        return struct.pack("=BBBBBBBBIIIII", 1, 4, 3, 0, 3, 7, 0, 0, 1_600_000, 0, 1448, 536, 2)


def test_a_peer_whose_host_does_not_acknowledge_is_given_up_soon(sides):
    line, peer = both_ends((CutOff(fileno=sides[0].detach()), sides[1]))
    peer.send(AgentNote("of the run"))
    assert some(line, 1)
    assert line.silent_us(line.heard_us + SILENCE_US) is None
    assert line.silent_us(line.heard_us + SILENCE_US + 1) == SILENCE_US + 1
    line.close()
    peer.close()


def test_messages_go_both_ways_in_order(sides):
    head, agent = both_ends(sides)
    head.send(ReplaceWorker(3, "why"), EndPlan(1))
    agent.send(WorkerUp(2, "here"), AgentNote("x" * 300_000))
    assert some(agent, 2) == [ReplaceWorker(3, "why"), EndPlan(1)]
    assert some(head, 2) == [WorkerUp(2, "here"), AgentNote("x" * 300_000)]
    agent.close()
    while (messages := head.receive()) is not None:  # beats may be on their way
        assert messages == []
    head.close()


def test_what_makes_messages_is_asked_when_it_is_its_turn(sides):
    head, agent = both_ends(sides)
    head.send((EndPlan(n) for n in range(3)), EndPlan(9))
    assert some(agent, 4) == [EndPlan(0), EndPlan(1), EndPlan(2), EndPlan(9)]
    head.close()
    agent.close()


def test_a_line_with_nothing_to_say_beats(sides):
    head, agent = both_ends(sides)
    before_us = agent.heard_us
    assert agent.receive() == []  # it waits for a beat, which is no message
    assert agent.heard_us > before_us
    head.close()
    agent.close()


def test_a_peer_with_other_keys_is_refused(sides):
    head, agent = both_ends(sides, secret_of(new_keys()), secret_of(new_keys()))
    agent.send(WorkerUp(2, "here"))
    with pytest.raises(BadInputError, match="does not have the keys of this run"):
        some(head, 1)
    head.close()
    agent.close()


def test_a_side_does_not_accept_what_it_said_itself(sides):
    """A peer without the secret that sends everything back proves nothing: each direction has a key of its own."""
    nonces = (b"h" * NONCE_BYTES, b"a" * NONCE_BYTES)
    assert Seal(SECRET, b"to head", *nonces).sealed(b"x") != Seal(SECRET, b"to agent", *nonces).sealed(b"x")
    head = end_of(sides[0], SECRET, is_head=True)
    head.send(EndPlan(1))
    sides[1].sendall(sides[1].recv(NONCE_BYTES))
    assert head.receive() == []
    sides[1].sendall(sides[1].recv(65_536))
    with pytest.raises(BadInputError, match="does not have the keys of this run"):
        some(head, 1)
    head.close()


def test_a_frame_is_accepted_once():
    """By hand: the same frame again has another number, so its proof is another."""
    sender, receiver = (Seal(SECRET, b"to head", b"h" * NONCE_BYTES, b"a" * NONCE_BYTES) for _ in range(2))
    first = sender.sealed(b"model")
    hidden, proof = first[: -hashlib.sha256().digest_size], first[-hashlib.sha256().digest_size :]
    assert receiver.opened(hidden, proof) == b"model"
    assert receiver.opened(hidden, proof) is None
    assert sender.sealed(b"model")[:5] != hidden


@pytest.mark.parametrize("place", [0, 4, 5, 36])
def test_a_frame_that_was_changed_on_its_way_is_refused(place):
    sender, receiver = (Seal(SECRET, b"to head", b"h" * NONCE_BYTES, b"a" * NONCE_BYTES) for _ in range(2))
    frame = bytearray(sender.sealed(b"model"))
    frame[place] ^= 1
    assert receiver.opened(bytes(frame[:5]), bytes(frame[5:])) is None


def test_nobody_on_the_way_reads_what_is_said(sides):
    """All bytes of a connection, with a part of a sub-model in it."""
    agent = end_of(sides[1], SECRET, is_head=False)
    weights = b"weights of a secret model" * 40
    agent.send(AgentNote(weights.decode()))
    sides[0].sendall(b"h" * NONCE_BYTES)
    assert agent.receive() == []  # the random bytes of the head
    seen = b""
    while len(seen) < NONCE_BYTES + len(weights):
        seen += sides[0].recv(65_536)
    assert weights[:12] not in seen
    assert b"AgentNote" not in seen
    agent.close()


def test_a_stranger_cannot_announce_much(sides):
    head = end_of(sides[0], SECRET, is_head=True)
    sides[1].sendall(b"n" * NONCE_BYTES + (MOST_BYTES_AT_FIRST + 1).to_bytes(4, "little"))
    with pytest.raises(BadInputError, match=f"announces a message of {MOST_BYTES_AT_FIRST + 1} bytes"):
        some(head, 1)
    head.close()


@settings(max_examples=30, deadline=None)
@given(noise=st.binary(max_size=400))
def test_noise_is_refused_or_waited_for(noise):
    head_side, noisy = connected()
    head = end_of(head_side, SECRET, is_head=True)
    noisy.sendall(noise)
    noisy.shutdown(socket.SHUT_WR)
    try:
        while (messages := head.receive()) is not None:
            assert messages == []
    except BadInputError:
        pass
    head.close()
    noisy.close()


def test_a_beat_has_no_content():
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Beat()), type=FromHead) == Beat()
