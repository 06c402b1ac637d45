"""Batches between transports: in one process, so that the test sees every side, and between real processes."""

# ruff: noqa: E402 - the serve extra is asked for first
from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

msgspec = pytest.importorskip("msgspec")
pytest.importorskip("zmq")
if not sys.platform.startswith("linux"):
    pytest.skip("shared memory needs Linux", allow_module_level=True)

from transport_cases import WAIT_S, Peer, header_of, one, parts_of, tensors_of

from penstock.errors import BadInputError
from penstock.serve.messages import CancelBatch
from penstock.serve.protocol.infer import Tensor
from penstock.serve.transport import decoded, read_groups, tensor_headers
from penstock.serve.transport.shared.doorbell import Hello, Refused, from_receiver, send_packet
from penstock.serve.transport.shared.memory_file import NAME, mapped
from penstock.serve.transport.shared.shared_memory import SharedMemoryTransport
from penstock.serve.transport.wire import WIRE_VERSION


@pytest.fixture
def peers(tmp_path):
    """A sender, which puts all tensors into its memory, and a receiver with its inbox."""
    made = [
        Peer(SharedMemoryTransport(limit_bytes=1 << 20, inline_bytes=0), tmp_path / name)
        for name in ("a", "b")
    ]
    yield made
    for peer in made:
        peer.transport.close()


def test_tensors_of_every_kind_arrive(peers):
    a, b = peers
    sent = [
        Tensor("images", "UINT8", np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)),
        Tensor("logits", "FP16", np.linspace(-1, 1, 14, dtype=np.float16).reshape(2, 7)),
        Tensor("turned", "FP32", np.arange(6, dtype=np.float32).reshape(3, 2).T),
        Tensor("names", "BYTES", np.array([[b"one"], [b""]], dtype=object)),
        Tensor("none", "INT64", np.zeros((2, 0), np.int64)),
        Tensor("flags", "BOOL", np.array([[True], [False]])),
    ]
    a.link_to(b).send_batch(*parts_of([sent]))
    got = tensors_of(one(b))
    assert [(t.name, t.datatype) for t in got] == [(t.name, t.datatype) for t in sent]
    for mine, theirs in zip(sent, got, strict=True):
        np.testing.assert_array_equal(theirs.array, mine.array)
    assert a.counts == (1, 0, 1)


def test_parts_are_joined_on_the_way(peers):
    a, b = peers
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    words = np.array([[b"a"], [b"bb"], [b""], [b"d"], [b"e"], [b"f"]], dtype=object)
    cuts = [slice(0, 1), slice(1, 4), slice(4, 6)]
    parts = [[Tensor("x", "FP32", rows[cut]), Tensor("w", "BYTES", words[cut])] for cut in cuts]
    a.link_to(b).send_batch(*parts_of(parts))
    received = one(b)
    assert header_of(received).parts == (6,)
    x, w = tensors_of(received)
    np.testing.assert_array_equal(x.array, rows)
    np.testing.assert_array_equal(w.array, words)


def test_groups_axes_and_shared_tensors_arrive(peers):
    """Two groups: the first of two parts that are joined along the second axis and share a rate."""
    a, b = peers
    first = np.arange(6, dtype=np.int16).reshape(2, 3)
    rates = [np.array(16_000), np.array(8_000)]
    words = np.array([[b"a", b"b", b"c"]], dtype=object)

    def samples(cut, rate):
        parts = (Tensor("x", "INT16", first[:, cut]), Tensor("rate", "INT64", rate))
        return [*parts, Tensor("w", "BYTES", words[:, cut])]

    groups = [
        [samples(slice(0, 1), rates[0]), samples(slice(1, 3), rates[0])],
        [samples(slice(0, 3), rates[1])],
    ]
    axes = {"x": 1, "rate": None, "w": 1}
    header, _ = parts_of(groups[1])
    header = msgspec.structs.replace(
        header,
        parts=(1, 2, 3),
        groups=(2, 1),
        size=6,
        tensors=tuple(one for parts in groups for one in tensor_headers(parts, axes)),
    )
    a.link_to(b).send_batch(header, groups)
    received = one(b)
    assert (header_of(received).parts, header_of(received).groups) == ((3, 3), (1, 1))
    got = read_groups(header_of(received), received.frames)
    assert [group.size for group in got] == [3, 3]
    for group, rate in zip(got, rates, strict=True):
        x, sent_rate, w = (tensor.array for tensor in group.tensors)
        np.testing.assert_array_equal(x, first)
        np.testing.assert_array_equal(w, words)
        assert sent_rate == rate


def test_arrays_are_views_of_the_senders_memory_and_cannot_be_written(peers):
    a, b = peers
    a.link_to(b).send_batch(*parts_of([[Tensor("x", "INT32", np.arange(5, dtype=np.int32))]]))
    (x,) = tensors_of(one(b))
    a.transport.file().memory[:4] = np.array([77], np.int32).view(np.uint8)
    assert x.array.tolist() == [77, 1, 2, 3, 4]
    assert x.array.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        x.array[0] = 1


def test_nothing_is_allocated_once_warm(peers):
    """Three batches are read at a time, of three sizes: the blocks that this takes are made once."""
    a, b = peers
    link = a.link_to(b)
    reading = []
    made = []
    for turn in range(200):
        rows = 1_000 + 1_000 * (turn % 3)
        link.send_batch(*parts_of([[Tensor("x", "FP32", np.full((rows, 2), turn, np.float32))]]))
        reading = [*reading[-2:], (turn, tensors_of(one(b))[0].array)]
        assert all((array == number).all() for number, array in reading)
        made.append(a.counts[2])
    assert len(set(made[20:])) == 1
    assert a.counts[:2] == (200, 0)


def test_a_block_is_used_again_only_after_the_last_view_of_it(peers):
    a, b = peers
    link = a.link_to(b)

    def send(value):
        link.send_batch(*parts_of([[Tensor("x", "INT64", np.array([[value], [value]]))]]))
        return one(b)

    first = tensors_of(send(1))[0].array
    view = first[1:]
    del first
    for value in range(2, 30):
        send(value)
    assert view.tolist() == [[1]]
    assert a.counts == (29, 0, 2)
    del view
    kept = [tensors_of(send(value)) for value in (30, 31)]
    assert a.counts == (31, 0, 2)
    assert [k[0].array[0, 0] for k in kept] == [30, 31]


def test_leases_end_on_any_thread(peers):
    a, b = peers
    link = a.link_to(b)
    for _ in range(8):
        held = []
        for value in range(16):
            link.send_batch(*parts_of([[Tensor("x", "INT64", np.array([[value]]))]]))
            held.append(tensors_of(one(b)))
        threads = [threading.Thread(target=held.pop) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert a.counts == (128, 0, 16)


def test_a_full_memory_costs_a_copy_and_no_batch(peers):
    """The limit is 1 MiB: two batches of 400 kB lie there, and the third goes another way until one is read."""
    a, b = peers
    link = a.link_to(b)
    got = []
    for value in range(4):
        link.send_batch(*parts_of([[Tensor("x", "FP32", np.full((1, 100_000), value, np.float32))]]))
        got.append(one(b))
    assert [header_of(r).fallbacks for r in got] == [0, 0, 1, 1]
    assert [tensors_of(r)[0].array[0, -1] for r in got] == [0, 1, 2, 3]
    assert a.counts == (2, 2, 2)
    got.clear()
    link.send_batch(*parts_of([[Tensor("x", "FP32", np.zeros((1, 100_000), np.float32))]]))
    assert header_of(one(b)).fallbacks == 0
    # Larger than all of the memory.
    link.send_batch(*parts_of([[Tensor("x", "UINT8", np.ones((1, 1 << 21), np.uint8))]]))
    assert tensors_of(one(b))[0].array.sum() == 1 << 21
    assert a.counts == (3, 3, 2)


def test_when_sizes_change_old_blocks_give_their_memory_to_new_ones(peers):
    a, b = peers
    link = a.link_to(b)
    for size in (600_000, 900_000, 300_000, 600_000):
        link.send_batch(*parts_of([[Tensor("x", "UINT8", np.ones((1, size), np.uint8))]]))
        assert tensors_of(one(b))[0].array.sum() == size
    # No two of the blocks of 655,360, 917,504 and 327,680 bytes but the last with the first fit into 1 MiB, and a
    # block serves half its size at least.
    assert a.counts == (4, 0, 4)
    assert a.transport._pool.memory_bytes == 655_360 + 327_680


def test_a_receiver_that_does_not_listen_costs_a_copy_and_no_batch(peers):
    """More than its socket holds are sent before it looks once."""
    a, b = peers
    link = a.link_to(b)
    for value in range(3_000):
        link.send_batch(*parts_of([[Tensor("x", "INT32", np.array([[value]], np.int32))]]))
    batches, fallbacks, _ = a.counts
    assert batches + fallbacks == 3_000
    assert min(batches, fallbacks) > 0
    values = []
    while len(values) < 3_000:
        values += [int(tensors_of(received)[0].array[0, 0]) for received in b.some()]
    assert sorted(values) == list(range(3_000))
    link.send_batch(*parts_of([[Tensor("x", "INT32", np.array([[-1]], np.int32))]]))
    assert header_of(one(b)).fallbacks == 0


def test_a_batch_is_never_overtaken_by_a_later_message(peers):
    a, b = peers
    link = a.link_to(b)
    for number in range(50):
        link.send_batch(*parts_of([[Tensor("x", "INT32", np.array([[number]], np.int32))]], batch=number))
        link.send(CancelBatch(number))
    seen = []
    while len(seen) < 100:
        seen += [decoded(b.decoder, received.head) for received in b.some()]
    place = {(type(message), message.batch): at for at, message in enumerate(seen)}
    for number in range(50):
        assert place[type(seen[0]), number] < place[CancelBatch, number]


def test_a_head_too_long_for_a_packet_goes_the_other_way(peers):
    a, b = peers
    link = a.link_to(b)
    header, parts = parts_of([[Tensor("x" * 3_000_000, "UINT8", np.ones((1, 2), np.uint8))]])
    link.send_batch(header, parts)
    assert tensors_of(one(b))[0].array.tolist() == [[1, 1]]
    assert a.counts[:2] == (0, 1)


def test_a_closed_link_waits_for_what_is_still_read(peers):
    """As a link to an old generation of a worker that is slow to end."""
    a, b = peers
    old = a.link_to(b)
    old.send_batch(*parts_of([[Tensor("x", "INT64", np.array([[5]]))]]))
    held = tensors_of(one(b))[0].array
    old.close()
    new = a.link_to(b)
    for value in range(5):
        new.send_batch(*parts_of([[Tensor("x", "INT64", np.array([[value]]))]]))
        one(b)
    assert held.tolist() == [[5]]
    assert a.counts == (6, 0, 2)
    del held
    both = []
    for value in range(2):
        new.send_batch(*parts_of([[Tensor("x", "INT64", np.array([[value]]))]]))
        both.append(tensors_of(one(b)))
    assert a.counts == (8, 0, 2)
    assert len(a.transport._links) == 1


def test_a_sender_of_another_release_is_refused_with_both_versions(peers, caplog):
    _, b = peers
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bell, Path(__file__).open("rb") as file:
        bell.settimeout(WAIT_S)
        bell.connect(f"{b.path}.bell")
        hello = msgspec.msgpack.encode(Hello(WIRE_VERSION + 1, "worker 3"))
        socket.send_fds(bell, [hello], [file.fileno()])
        assert list(b.inbox.waiting()) == []
        refusal = from_receiver.decode(bell.recv(1_000))
        assert bell.recv(1_000) == b""
    assert isinstance(refusal, Refused)
    assert (
        f"worker 3 speaks wire version {WIRE_VERSION + 1}, and this process version {WIRE_VERSION}"
        in refusal.why
    )
    assert refusal.why in caplog.text


@pytest.mark.parametrize("first", [b"\xc0", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_greeting_is_refused_and_harms_nobody(peers, first):
    a, b = peers
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as bell:
        bell.settimeout(WAIT_S)
        bell.connect(f"{b.path}.bell")
        bell.send(first)
        a.link_to(b).send_batch(*parts_of([[Tensor("x", "INT64", np.array([[5]]))]]))
        assert tensors_of(one(b))[0].array.tolist() == [[5]]
        assert isinstance(from_receiver.decode(bell.recv(1_000)), Refused)


def test_a_receiver_that_cannot_map_the_memory_gets_frames(peers, monkeypatch):
    """As if its address space were limited."""
    a, b = peers

    def fails(descriptor):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr("penstock.serve.transport.shared.sender.mapped", fails)
    link = a.link_to(b)
    header, groups = parts_of([[Tensor("x", "INT64", np.array([[5]]))]])
    link.send_batch(header, groups)
    assert list(b.inbox.waiting()) == []  # lost, as what is sent to a process that dies
    link.send_batch(header, groups)
    assert tensors_of(one(b))[0].array.tolist() == [[5]]
    assert a.counts == (1, 1, 1)


def test_a_refused_sender_says_no_more(tmp_path, caplog):
    a = Peer(SharedMemoryTransport(limit_bytes=1 << 20, inline_bytes=0), tmp_path / "a")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "b.bell"))
    listener.listen()
    link = a.transport.connect(f"ipc://{tmp_path}/b")
    header, parts = parts_of([[Tensor("x", "INT64", np.array([[5]]))]])
    link.send_batch(header, parts)
    bell, _ = listener.accept()
    send_packet(bell, Refused("another release"))
    bell.close()
    for _ in range(2):
        link.send_batch(header, parts)
        link.send(CancelBatch(7))
    assert a.counts == (1, 2, 1)
    assert a.transport._pool.leased == 0
    assert not a.transport.waits_for_peer
    assert "another release" in caplog.text
    listener.settimeout(0.1)
    with pytest.raises(TimeoutError):
        listener.accept()
    a.transport.close()


def test_memory_that_could_shrink_is_not_mapped():
    descriptor = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 4_096)
    with pytest.raises(BadInputError, match="not sealed"):
        mapped(descriptor)
    os.close(descriptor)


def maps_of(pid):
    """How many shared files of the server ``pid`` has mapped."""
    return Path(f"/proc/{pid}/maps").read_text().count(f"/memfd:{NAME} ")


_SENDER = """
import sys, time, numpy as np
from transport_cases import parts_of
from penstock.serve.protocol.infer import Tensor
from penstock.serve.transport.shared.shared_memory import SharedMemoryTransport
link = SharedMemoryTransport().connect("ipc://" + sys.argv[1])
for value in range(3):
    link.send_batch(*parts_of([[Tensor("x", "INT32", np.full((1, 300_000), value, np.int32))]]))
print("sent", flush=True)
sys.stdin.read()
"""


def child(source, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_a_killed_senders_batches_are_read_to_the_end_and_then_its_memory_is_gone(tmp_path):
    """Two of three batches are received after its death: what rings is mapped with the first packet."""
    b = Peer(SharedMemoryTransport(), tmp_path / "b")
    before = maps_of("self")
    sender = child(_SENDER, b.path)
    assert sender.stdout.readline() == "sent\n"
    sender.send_signal(signal.SIGKILL)
    sender.communicate()
    arrays = []
    while len(arrays) < 3:
        arrays += [tensors_of(received)[0].array for received in b.some()]
    assert list(b.inbox.waiting()) == []  # the end of its socket is heard
    assert [int(array.min()) for array in arrays] == [int(array.max()) for array in arrays] == [0, 1, 2]
    assert maps_of("self") == before + 1
    del arrays
    assert maps_of("self") == before
    assert not [one for one in Path("/dev/shm").iterdir() if NAME in one.name]
    b.transport.close()


_RECEIVER = """
import sys
from pathlib import Path
from transport_cases import Peer, tensors_of
from penstock.serve.transport.shared.shared_memory import SharedMemoryTransport
peer = Peer(SharedMemoryTransport(), Path(sys.argv[1]))
print("ready", flush=True)
held = []
while len(held) < 2:
    held += [tensors_of(received) for received in peer.some()]
print("holds", flush=True)
sys.stdin.read()
"""


def test_a_killed_receivers_blocks_are_used_again_and_not_before(tmp_path):
    a = Peer(SharedMemoryTransport(limit_bytes=1 << 20), tmp_path / "a")
    receiver = child(_RECEIVER, tmp_path / "b")
    assert receiver.stdout.readline() == "ready\n"
    link = a.transport.connect(f"ipc://{tmp_path}/b")
    header, parts = parts_of([[Tensor("x", "UINT8", np.ones((1, 400_000), np.uint8))]])
    link.send_batch(header, parts)
    link.send_batch(header, parts)
    assert receiver.stdout.readline() == "holds\n"
    receiver.send_signal(signal.SIGSTOP)
    link.send_batch(header, parts)
    assert a.counts == (2, 1, 2)  # it hangs, but it lives: its two blocks stay its own
    receiver.send_signal(signal.SIGKILL)
    receiver.communicate()
    c = Peer(SharedMemoryTransport(), tmp_path / "c")
    other = a.link_to(c)
    for _ in range(2):
        other.send_batch(header, parts)
    sums = []
    while len(sums) < 2:
        sums += [tensors_of(received)[0].array.sum() for received in c.some()]
    assert sums == [400_000] * 2
    assert a.counts == (4, 1, 2)
    link.send_batch(header, parts)  # to nobody
    assert a.counts == (4, 2, 2)
    for peer in (a, c):
        peer.transport.close()
