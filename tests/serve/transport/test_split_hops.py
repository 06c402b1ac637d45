"""Pieces from worker to worker, over both transports: each gets its rows of every tensor."""

# ruff: noqa: E402 - the serve extra is asked for first
from __future__ import annotations

import sys
import time

import numpy as np
import pytest

msgspec = pytest.importorskip("msgspec")
pytest.importorskip("zmq")

from transport_cases import LONGEST_S, Peer, header_of

from penstock.serve.hops.gather import Gather
from penstock.serve.hops.onward import Onward, parts_of_piece
from penstock.serve.hops.pieces import lot_pieces, span_of
from penstock.serve.messages import ALL_SHARES, BatchHeader, RouteStep, Share, Split, StageTiming
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import StageSpec, TensorSpec
from penstock.serve.transport import Group, read_groups
from penstock.serve.transport.curve import new_keys
from penstock.serve.transport.shared.shared_memory import SharedMemoryTransport
from penstock.serve.transport.zeromq import ZeroMqTransport

SPECS = (
    TensorSpec("wide", "FP32", (-1, 5_000)),
    TensorSpec("late", "INT64", (2, -1)),
    TensorSpec("merged", "UINT8", (-1, 4), rows=3),
)
RATE = TensorSpec("rate", "FP32", (1,))
STAGE = StageSpec(0, 0, (0, 1), "emulated", (RATE,), SPECS, (RATE,), (0, 1))
OUTPUTS = (*SPECS, RATE)


def tensors_of_rows(first, stop, rate=0.5):
    """Each value says whose row it is."""
    rows = np.arange(first, stop)
    return [
        Tensor("wide", "FP32", np.repeat(rows[:, None], 5_000, 1).astype(np.float32)),
        Tensor("late", "INT64", np.stack([rows, -rows])),
        Tensor("merged", "UINT8", np.repeat(rows, 3)[:, None].repeat(4, 1).astype(np.uint8)),
        Tensor("rate", "FP32", np.array([rate], np.float32)),
    ]


def parts_of(header, groups, compute_us=0):
    """What a piece sends on."""
    return parts_of_piece(header, header.split, groups, STAGE, OUTPUTS, 0, compute_us)


def transports(kind, count, folder):
    """So many peers of one kind, each with its inbox."""
    if kind == "shared memory":
        if not sys.platform.startswith("linux"):
            pytest.skip("shared memory needs Linux")
        return [Peer(SharedMemoryTransport(inline_bytes=0), folder / str(k)) for k in range(count)]
    keys = new_keys()
    return [Peer(ZeroMqTransport(keys), folder / str(k), "tcp://127.0.0.1:0") for k in range(count)]


def whole_at(peer, gather, messages):
    """What ``peer`` has when so many messages came; nothing may be whole before."""
    end, seen = time.monotonic() + LONGEST_S, 0
    while time.monotonic() < end:
        for received in peer.some():
            seen += 1
            whole = gather.add(seen, header_of(received), list(received.frames))
            assert (whole is not None) == (seen == messages)
            if whole is not None:
                return whole
    raise AssertionError(f"{seen} of {messages} messages came")


@pytest.mark.parametrize("kind", ["shared memory", "tcp"])
@pytest.mark.parametrize(
    ("counts", "rows"), [((2, 1), 5), ((1, 3), 7), ((3, 2), 8), ((3, 2), 2), ((1, 3), 1), ((2, 2), 4)]
)
def test_every_piece_gets_its_rows(counts, rows, kind, tmp_path):
    """Also uneven ones, and a last batch that is smaller than the pieces, so that some have no rows."""
    pieces = lot_pieces(counts, rows, 0, rows)
    peers = transports(kind, sum(counts), tmp_path)
    route = tuple(RouteStep(k, peer.inbox.endpoint) for k, peer in enumerate(peers))
    senders, receivers = peers[: counts[0]], peers[counts[0] :]
    expected = [0] * counts[1]
    for sender in range(counts[0]):
        first, stop = span_of(pieces[0], sender)
        header = header_of_piece(route, pieces, sender, stop - first)
        groups = [Group(stop - first, tensors_of_rows(first, stop))]
        for part in parts_of(header, groups) if stop > first else ():
            expected[part.header.split.piece] += 1
        for receiver in receivers:
            receiver._senders.append(senders[sender].transport)
        if stop > first:
            Onward(senders[sender].transport).pass_on(header, groups, STAGE, OUTPUTS, 9, 5)
    for piece, receiver in enumerate(receivers):
        first, stop = span_of(pieces[1], piece)
        if first == stop:
            continue
        whole = whole_at(receiver, Gather(), expected[piece])
        assert (whole.header.stage, whole.header.split.piece, whole.header.size) == (1, piece, stop - first)
        ((size, got),) = read_groups(whole.header, whole.frames)
        assert size == stop - first
        for tensor, wanted in zip(got, tensors_of_rows(first, stop), strict=True):
            assert tensor.name == wanted.name
            np.testing.assert_array_equal(tensor.array, wanted.array)
        if expected[piece] == 1:
            # Rows that come from one sender are not copied here.
            assert np.shares_memory(got[0].array, np.frombuffer(whole.frames[0], np.uint8))
        del whole, got
    assert sum(peer.transport.counts.batches for peer in senders) == sum(expected)
    for peer in peers:
        peer.transport.close()


def header_of_piece(route, pieces, piece, size, **changes):
    fields = {
        "epoch": 0,
        "batch": 7,
        "pipeline": 0,
        "route": route,
        "stage": 0,
        "shares": (Share(0, sum(pieces[0]), ""),),
        "gateway": ALL_SHARES,
        "size": size,
        "sent_us": 0,
        "compute_us": 3,
        "parts": (size,),
        "tensors": (),
        "split": Split(pieces, piece),
    }
    return BatchHeader(**fields | changes)


def test_parts_are_views_of_what_the_executor_made():
    pieces = ((6,), (2, 2, 2))
    made = tensors_of_rows(0, 6)
    route = tuple(RouteStep(k, "") for k in range(4))
    parts = list(parts_of(header_of_piece(route, pieces, 0, 6), [Group(6, made)]))
    assert [part.receiver.worker for part in parts] == [1, 2, 3]
    for part in parts:
        for ours, theirs in zip(part.groups[0][0], made, strict=True):
            assert np.shares_memory(ours.array, theirs.array)


def test_unlike_scalars_stay_in_groups_of_their_own():
    """Two senders: the second one's rate differs from the first one's last, so both groups are kept apart."""
    pieces = ((2, 2), (4,))
    route = tuple(RouteStep(k, "") for k in range(3))
    gather = Gather()
    for piece, rates in enumerate(((0.5, 0.25), (0.25, 1.0))):
        groups = [
            Group(1, tensors_of_rows(2 * piece + k, 2 * piece + k + 1, rate)) for k, rate in enumerate(rates)
        ]
        ((_, header, parts),) = parts_of(header_of_piece(route, pieces, piece, 2), groups)
        frames = [memoryview(np.ascontiguousarray(t.array)).cast("B") for own in parts for t in own[0]]
        whole = gather.add(0, header, frames)
    found = read_groups(whole.header, whole.frames)
    assert [group.size for group in found] == [1, 2, 1]
    assert [float(group.tensors[-1].array[0]) for group in found] == [0.5, 0.25, 1.0]
    np.testing.assert_array_equal(found[1].tensors[1].array, [[1, 2], [-1, -2]])


def test_what_was_counted_on_the_way_is_counted_once():
    """A batch that was split and is put together again: time of the slower piece, fallbacks and timings of both."""
    pieces = ((2,), (1, 1), (2,))
    route = tuple(RouteStep(k, "") for k in range(4))
    before = StageTiming(0, 2, 0, 1, 2, 0, 0, 0)
    header = header_of_piece(route, pieces, 0, 2, fallbacks=2, timings=(before,), is_traced=True)
    gather = Gather()
    for part in parts_of(header, [Group(2, tensors_of_rows(0, 2))], 10):
        place = part.header.split.piece
        timing = StageTiming(1 + place, 1, 5, 6, 7, 1, 1, place)
        changes = {"timings": (before, timing), "fallbacks": part.header.fallbacks + 1}
        ran = msgspec.structs.replace(part.header, **changes)
        groups = [Group(1, tensors_of_rows(place, place + 1))]
        ((_, onward, parts),) = parts_of(ran, groups, 20 + place)
        frames = [memoryview(np.ascontiguousarray(t.array)).cast("B") for t in parts[0][0]]
        whole = gather.add(0, onward, frames)
    assert whole.header.compute_us == 3 + 10 + 21
    assert whole.header.fallbacks == 4
    assert [(timing.stage, timing.piece) for timing in whole.header.timings] == [(0, 0), (1, 0), (1, 1)]
