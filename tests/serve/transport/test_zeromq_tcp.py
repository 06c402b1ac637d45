"""ZeroMQ over TCP on loopback: who has the keys of the run gets batches, and nobody else gets anything."""

# ruff: noqa: E402 - the serve extra is asked for first
from __future__ import annotations

import stat

import numpy as np
import pytest

msgspec = pytest.importorskip("msgspec")
zmq = pytest.importorskip("zmq")

from transport_cases import WAIT_S, Peer, one, parts_of, tensors_of

from penstock.errors import BadInputError
from penstock.serve.messages import CancelBatch, ToWorker
from penstock.serve.protocol.infer import Tensor
from penstock.serve.transport.curve import KEYS_FILE, CurveKeys, new_keys, read_keys, write_keys
from penstock.serve.transport.wire import WIRE_VERSION, decoded, encoded, tensor_frames
from penstock.serve.transport.zeromq import ZeroMqTransport

ANYWHERE = "tcp://127.0.0.1:0"
DECODER = msgspec.msgpack.Decoder(ToWorker)


@pytest.fixture(scope="module")
def keys():
    return new_keys()


@pytest.fixture
def listener(keys, tmp_path):
    peer = Peer(ZeroMqTransport(keys), tmp_path / "b", ANYWHERE)
    yield peer
    peer.transport.close()


def batch(value=1.0, rows=2):
    return parts_of([[Tensor("x", "FP32", np.full((rows, 250_000), value, np.float32))]])


def test_a_peer_with_the_keys_gets_through(listener, keys):
    assert listener.inbox.endpoint.startswith("tcp://127.0.0.1:")
    sender = ZeroMqTransport(keys)
    link = sender.connect(listener.inbox.endpoint)
    header, ((part,),) = batch()
    link.send_batch(header, [[part]])
    received = one(listener)
    (tensor,) = tensors_of(received)
    np.testing.assert_array_equal(tensor.array, part[0].array)
    # The array is the memory that ZeroMQ received into.
    (frame,) = received.frames
    assert np.shares_memory(tensor.array, np.frombuffer(frame, np.uint8))
    assert vars(sender.counts)["batches"] == 1
    sender.close()


def test_what_is_sent_is_not_copied_on_the_way_to_zeromq():
    _, (parts,) = batch()
    (frame,) = tensor_frames(parts)
    assert np.shares_memory(parts[0][0].array, np.frombuffer(frame, np.uint8))


class Handshakes:
    """What the sockets of a sender tell of their handshakes."""

    def __init__(self, socket):
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        events |= (
            zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            | zmq.EVENT_DISCONNECTED
        )
        self._socket = socket
        self._monitor = socket.get_monitor_socket(events)

    def first(self):
        from zmq.utils.monitor import recv_monitor_message

        assert self._monitor.poll(WAIT_S * 1_000)
        return recv_monitor_message(self._monitor)["event"]


def pushing(endpoint, prepare):
    """A foreign sender: (its context, the socket, its handshakes) after it sent a message."""
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.linger = 0
    prepare(socket)
    handshakes = Handshakes(socket)
    socket.connect(endpoint)
    socket.send(encoded(CancelBatch(666)))
    return context, handshakes


def with_keys(server, public, secret):
    def prepare(socket):
        socket.curve_serverkey = server.encode()
        socket.curve_publickey, socket.curve_secretkey = public.encode(), secret.encode()

    return prepare


def strangers(keys):
    """Senders that lack something: all keys, the run's sender keys, or the listener's."""
    other = new_keys()
    return {
        "none": lambda socket: None,
        "own keys": with_keys(keys.listener_public, other.sender_public, other.sender_secret),
        "another run": with_keys(other.listener_public, keys.sender_public, keys.sender_secret),
    }


@pytest.mark.parametrize("who", ["none", "own keys", "another run"])
def test_a_sender_without_the_keys_is_not_heard(listener, keys, who):
    """Its message is not received although it was there before that of a sender of the run."""
    context, handshakes = pushing(listener.inbox.endpoint, strangers(keys)[who])
    assert handshakes.first() != zmq.EVENT_HANDSHAKE_SUCCEEDED
    sender = ZeroMqTransport(keys)
    sender.connect(listener.inbox.endpoint).send(CancelBatch(1))
    assert decoded(DECODER, one(listener).head) == CancelBatch(1)
    assert list(listener.inbox.waiting()) == []
    sender.close()
    context.destroy(linger=0)


def test_a_listener_without_the_keys_gets_nothing(keys):
    """It knows all that is public, and pretends to be a worker of the run."""
    context = zmq.Context()
    false = context.socket(zmq.PULL)
    other = new_keys()
    false.curve_publickey, false.curve_secretkey = (
        other.listener_public.encode(),
        other.listener_secret.encode(),
    )
    false.curve_server = True
    port = false.bind_to_random_port("tcp://127.0.0.1")
    sender = ZeroMqTransport(keys)
    link = sender.connect(f"tcp://127.0.0.1:{port}")
    handshakes = Handshakes(link._socket)
    link.send_batch(*batch())
    assert handshakes.first() != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert false.poll(0) == 0
    sender.close()
    context.destroy(linger=0)


def test_without_keys_there_is_no_tcp():
    transport = ZeroMqTransport()
    for use in (transport.listen, transport.connect):
        with pytest.raises(BadInputError, match="encrypted or not at all"):
            use("tcp://127.0.0.1:5555")
    transport.close()


def test_an_address_that_is_taken_is_named(listener, keys):
    other = ZeroMqTransport(keys)
    with pytest.raises(BadInputError, match=f"cannot listen at {listener.inbox.endpoint}"):
        other.listen(listener.inbox.endpoint)
    other.close()


class TestKeyFile:
    def test_only_its_owner_may_read_it_and_it_holds_the_keys(self, tmp_path):
        keys = write_keys(tmp_path)
        assert stat.S_IMODE((tmp_path / KEYS_FILE).stat().st_mode) == 0o600
        assert read_keys(tmp_path) == keys
        assert len({*msgspec.structs.astuple(keys)}) == 4

    def test_it_is_never_replaced(self, tmp_path):
        write_keys(tmp_path)
        with pytest.raises(FileExistsError):
            write_keys(tmp_path)

    def test_keys_that_others_could_read_are_refused(self, tmp_path):
        write_keys(tmp_path)
        (tmp_path / KEYS_FILE).chmod(0o640)
        with pytest.raises(BadInputError, match=r"mode 640 .must be 600"):
            read_keys(tmp_path)

    @pytest.mark.parametrize("text", [None, b"", b"{}"])
    def test_what_holds_no_keys_is_named(self, tmp_path, text):
        if text is not None:
            (tmp_path / KEYS_FILE).write_bytes(text)
        with pytest.raises(BadInputError, match=KEYS_FILE):
            read_keys(tmp_path)

    def test_secrets_are_not_shown(self):
        keys = CurveKeys("a", "secret1", "b", "secret2")
        assert "secret1" not in f"{keys}{keys!r}"
        assert "secret2" not in f"{keys}{keys!r}"


class TestVersion:
    """The head of a message says what wrote it, whatever brought it."""

    def test_its_own_is_read(self):
        assert decoded(DECODER, encoded(CancelBatch(5))) == CancelBatch(5)

    def test_another_release_is_refused_with_both_versions(self):
        head = bytearray(encoded(CancelBatch(5)))
        head[3] += 1
        with pytest.raises(
            BadInputError,
            match=f"wire version {WIRE_VERSION + 1}, and this process reads version {WIRE_VERSION} only",
        ):
            decoded(DECODER, bytes(head))

    @pytest.mark.parametrize(
        "head", [b"", b"ps", b"pst", b"GET / HTTP/1.1", msgspec.msgpack.encode(CancelBatch(5))]
    )
    def test_what_is_no_message_is_refused(self, head):
        with pytest.raises(BadInputError, match="not from a penstock server"):
            decoded(DECODER, head)

    def test_a_damaged_message_is_refused(self):
        with pytest.raises(BadInputError, match="cannot be read"):
            decoded(DECODER, encoded(CancelBatch(5))[:-1])
