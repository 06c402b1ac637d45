"""What waits on a link within a host: for room, for a peer that does not listen yet, for one that is started again."""

# ruff: noqa: E402 - the serve extra is asked for first
from __future__ import annotations

import sys
import threading
import time

import numpy as np
import pytest

msgspec = pytest.importorskip("msgspec")
pytest.importorskip("zmq")
if not sys.platform.startswith("linux"):
    pytest.skip("shared memory needs Linux", allow_module_level=True)

from transport_cases import WAIT_S, Peer, header_of, one, parts_of, tensors_of

from penstock.errors import BadInputError
from penstock.serve.messages import CancelBatch, Failed
from penstock.serve.protocol.infer import Tensor
from penstock.serve.transport import decoded
from penstock.serve.transport.shared import doorbell
from penstock.serve.transport.shared.doorbell import INLINE_BYTES, LONGEST_PACKET
from penstock.serve.transport.shared.shared_memory import SharedMemoryTransport

LONG_S = 30.0


@pytest.fixture
def make(tmp_path):
    """Peers by name, at a path of that name."""
    made = []

    def peer(name):
        made.append(Peer(SharedMemoryTransport(process=name), tmp_path / name))
        return made[-1]

    yield peer
    for one_peer in made:
        one_peer.transport.close()


def batch_of(array, batch=7):
    datatypes = {"float32": "FP32", "int64": "INT64", "uint8": "UINT8"}
    return parts_of([[Tensor("x", datatypes[str(array.dtype)], array)]], batch=batch)


def numbers(received):
    return [decoded(msgspec.msgpack.Decoder(CancelBatch), each.head).batch for each in received]


def test_small_tensors_come_with_their_header_and_take_no_memory_of_the_sender(make):
    a, b = make("a"), make("b")
    sent = [
        Tensor("odd", "UINT8", np.arange(7, dtype=np.uint8).reshape(1, 7)),
        Tensor("words", "BYTES", np.array([[b"one", b""]], dtype=object)),
        Tensor("none", "INT64", np.zeros((1, 0), np.int64)),
        Tensor("turned", "FP64", np.arange(6.0).reshape(3, 2).T[:1]),
        Tensor("flags", "BOOL", np.array([[True]])),
    ]
    a.link_to(b).send_batch(*parts_of([sent]))
    got = tensors_of(one(b))
    for mine, theirs in zip(sent, got, strict=True):
        assert (theirs.name, theirs.datatype) == (mine.name, mine.datatype)
        np.testing.assert_array_equal(theirs.array, mine.array)
        if theirs.datatype in ("UINT8", "FP64"):
            assert theirs.array.ctypes.data % 16 == 0
            assert not theirs.array.flags.writeable
    assert a.counts == (1, 0, 0)
    assert a.transport._file is None


def test_parts_of_small_tensors_are_joined(make):
    a, b = make("a"), make("b")
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    cuts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    a.link_to(b).send_batch(*parts_of([[Tensor("x", "FP32", rows[cut])] for cut in cuts]))
    received = one(b)
    assert header_of(received).parts == (6,)
    np.testing.assert_array_equal(tensors_of(received)[0].array, rows)


@pytest.mark.parametrize("size", [0, INLINE_BYTES, INLINE_BYTES + 1])
def test_the_limit_of_small_tensors(make, size):
    a, b = make("a"), make("b")
    array = np.arange(size).astype(np.uint8).reshape(1, size)
    a.link_to(b).send_batch(*batch_of(array))
    np.testing.assert_array_equal(tensors_of(one(b))[0].array, array)
    assert a.counts == (1, 0, int(size > INLINE_BYTES))


def test_a_message_of_any_length_arrives(make):
    a, b = make("a"), make("b")
    link = a.link_to(b)
    for length in (LONGEST_PACKET - 50, LONGEST_PACKET, 5 * LONGEST_PACKET):
        link.send(Failed((1,), -1, "x" * length, 0))
        message = decoded(msgspec.msgpack.Decoder(Failed), one(b).head)
        assert message.message == "x" * length


def test_what_is_sent_before_anybody_listens_arrives_in_order(make, tmp_path):
    a = make("a")
    link = a.transport.connect(f"ipc://{tmp_path}/b")
    for number in range(3):
        link.send(CancelBatch(number))
    link.send_batch(*batch_of(np.full((1, 100_000), 3, np.int64)))
    link.send(CancelBatch(4))
    assert a.transport.waits_for_peer
    assert a.inbox.patience_s is not None
    b = make("b")
    b._senders.append(a.transport)
    got = []
    while len(got) < 5:
        got += b.some()
    assert numbers(got[:3]) == [0, 1, 2]
    assert tensors_of(got[3])[0].array[0, -1] == 3
    assert header_of(got[3]).fallbacks == 1
    assert numbers(got[4:]) == [4]
    assert not a.transport.waits_for_peer
    assert a.inbox.patience_s is None


def test_the_owner_of_the_inbox_sends_what_another_thread_could_not(make, tmp_path):
    """As in a worker: one thread waits, another one reports to a dispatcher that is just started again."""
    a = make("a")
    link = a.transport.connect(f"ipc://{tmp_path}/b")

    def own():
        while not done.is_set():
            a.inbox.wait(10 * LONG_S)
            list(a.inbox.waiting())

    done = threading.Event()
    owner = threading.Thread(target=own)
    owner.start()
    try:
        link.send(CancelBatch(1))
        b = make("b")
        got = []
        end = time.monotonic() + LONG_S
        while not got and time.monotonic() < end:
            b.inbox.wait(0.1)
            got += b.inbox.waiting()
        assert numbers(got) == [1]
    finally:
        done.set()
        a.inbox.look()
        owner.join()


def test_a_peer_that_is_started_again_gets_what_came_meanwhile_and_later(make):
    """As a dispatcher, whose address stays the same."""
    a, b = make("a"), make("b")
    link = a.link_to(b)
    link.send(CancelBatch(1))
    assert numbers([one(b)]) == [1]
    b.transport.close()
    for number in (2, 3):
        link.send(CancelBatch(number))
    again = make("b")
    link.send(CancelBatch(4))
    got = []
    while len(got) < 3:
        got += again.some()
    assert numbers(got) == [2, 3, 4]


def test_a_batch_that_was_cut_in_the_middle_is_sent_again_as_a_whole(make):
    """Its first pieces are with the process that died."""
    a, b = make("a"), make("b")
    link = a.link_to(b)
    a.transport._pool._limit_bytes = 0  # no memory
    array = np.arange(1 << 21, dtype=np.int64).reshape(1, -1)
    link.send_batch(*batch_of(array))
    assert list(b.inbox.waiting()) == []
    assert 0 < link._at < len(link._unsent[0])
    b.transport.close()
    again = make("b")
    again._senders.append(a.transport)
    np.testing.assert_array_equal(tensors_of(one(again))[0].array, array)


def test_nothing_is_overtaken_or_lost_if_the_receiver_is_slow(make):
    """Messages, small batches and large ones, more than the socket holds; the sender's own loop sends the rest."""
    a, b = make("a"), make("b")
    link = a.link_to(b)
    small, large = np.zeros((1, 9), np.uint8), np.zeros((1, 40_000), np.uint8)

    def own():
        while not done.is_set():
            a.inbox.wait(LONG_S)
            list(a.inbox.waiting())

    done = threading.Event()
    owner = threading.Thread(target=own)
    owner.start()
    try:
        for number in range(3_000):
            if number % 3:
                link.send_batch(*batch_of(small if number % 3 == 1 else large, batch=number))
            else:
                link.send(CancelBatch(number))
        seen = []
        end = time.monotonic() + LONG_S
        while len(seen) < 3_000 and time.monotonic() < end:
            b.inbox.wait(WAIT_S)
            seen += [decoded(b.decoder, received.head).batch for received in b.inbox.waiting()]
        assert seen == list(range(3_000))
        assert a.counts[1] > 0
        # The last packet is read before the loop that sent it has looked whether more waits.
        while a.transport._unsent and time.monotonic() < end:
            time.sleep(0.01)
        assert not a.transport._unsent
    finally:
        done.set()
        a.inbox.look()
        owner.join()


def test_what_is_sent_when_there_is_room_again_goes_after_what_waits(make):
    """Of each kind: nobody has flushed the link meanwhile."""
    small, large = np.zeros((1, 9), np.uint8), np.zeros((1, 40_000), np.uint8)
    for kind in ("message", "small", "large"):
        a, b = make(f"a-{kind}"), make(f"b-{kind}")
        link = a.link_to(b)
        count = 0
        while not link._unsent:
            link.send(CancelBatch(count))
            count += 1
        seen = [*b.inbox.waiting()]
        assert seen
        if kind == "message":
            link.send(CancelBatch(count))
        else:
            link.send_batch(*batch_of(small if kind == "small" else large, batch=count))
        while len(seen) <= count:
            seen += b.some()
        assert [decoded(b.decoder, received.head).batch for received in seen] == list(range(count + 1))


def test_a_closed_link_sends_nothing_more_and_forgets_what_waited(make, tmp_path):
    a = make("a")
    link = a.transport.connect(f"ipc://{tmp_path}/b")
    link.send(CancelBatch(1))
    link.close()
    b = make("b")
    link.send(CancelBatch(2))
    a.transport.flush()
    assert list(b.inbox.waiting()) == []
    assert not a.transport._unsent


@pytest.mark.parametrize("packet", [b"\x09" + bytes(40), b"\x01", b"\x02\0\0\0\xff\0\0\0" + bytes(16)])
def test_a_packet_that_is_none_of_ours_is_an_error(make, packet):
    a, b = make("a"), make("b")
    link = a.link_to(b)
    link.send(CancelBatch(1))
    one(b)
    doorbell.push(link.bell, packet)
    with pytest.raises(BadInputError, match=r"packet"):
        one(b)
