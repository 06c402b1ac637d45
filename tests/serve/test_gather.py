"""Batches put together from the shares of several gateways, whatever comes first and whoever dies."""

from __future__ import annotations

import hypothesis.strategies as st
import msgspec
import numpy as np
from hypothesis import given

from penstock.serve.hops.gather import MOST_PENDING, Gather
from penstock.serve.messages import ALL_SHARES, BatchHeader, RouteStep, Share, Split, TensorHeader

ROUTE = (RouteStep(0, "a"),)


def share_of(batch, shares, gateway, *, parts=None, deadline_us=100):
    """What ``gateway`` sends: two tensors whose rows say whose they are; each frame is a list of rows."""
    rows = next(share.rows for share in shares if share.gateway == gateway)
    parts = parts or (rows,)
    tensors = tuple(TensorHeader(name, "INT64", (rows, 2)) for name in ("x", "y"))
    header = BatchHeader(
        epoch=0,
        batch=batch,
        pipeline=0,
        route=ROUTE,
        stage=0,
        shares=shares,
        gateway=gateway,
        size=rows,
        sent_us=gateway,
        compute_us=0,
        parts=parts,
        tensors=tensors,
        deadline_us=deadline_us,
    )
    frames = []
    bounds = np.cumsum([0, *parts]).tolist()
    for name in ("x", "y"):
        values = [(name, gateway, row) for row in range(rows)]
        frames += [values[bounds[part] : bounds[part + 1]] for part in range(len(parts))]
    return header, frames


def rows_of(whole, name):
    """The rows of a tensor of a gathered batch, in order."""
    count = len(whole.header.parts)
    column = [tensor.name for tensor in whole.header.tensors].index(name)
    return [row for frame in whole.frames[column * count : (column + 1) * count] for row in frame]


def test_the_batch_of_one_gateway_is_whole_at_once():
    shares = (Share(3, 2, ""),)
    whole = Gather().add(0, *share_of(7, shares, 3))
    assert whole.header.gateway == ALL_SHARES
    assert (whole.header.size, whole.header.shares) == (2, shares)
    assert rows_of(whole, "y") == [("y", 3, 0), ("y", 3, 1)]


def test_what_comes_from_another_worker_is_whole():
    header, frames = share_of(7, (Share(3, 2, ""),), 3)
    later = BatchHeader(
        **{name: getattr(header, name) for name in header.__struct_fields__} | {"gateway": -1}
    )
    gather = Gather()
    assert gather.add(0, later, frames).frames is frames
    assert len(gather) == 0


@given(
    rows=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    order=st.randoms(use_true_random=False),
    dead=st.sets(st.integers(0, 3)),
    data=st.data(),
)
def test_a_batch_has_the_rows_of_every_share_that_came(rows, order, dead, data):
    """Shares come in any order, each in any parts, and deaths at any moment; a share that came before counts."""
    shares = tuple(Share(gateway, count, "") for gateway, count in enumerate(rows))
    dead &= set(range(len(rows)))
    events = [("share", gateway) for gateway in range(len(rows))] + [("death", gateway) for gateway in dead]
    order.shuffle(events)
    gather, made, came, gone = Gather(), [], [], set()
    for kind, gateway in events:
        if kind == "share":
            if gateway in gone:
                continue  # a dead gateway sends nothing
            parts = (1,) * rows[gateway] if data.draw(st.booleans()) else None
            came.append(gateway)
            whole = gather.add(0, *share_of(7, shares, gateway, parts=parts, deadline_us=100 - gateway))
            made += [whole] if whole is not None else []
        else:
            gone.add(gateway)
            made += gather.without(gateway)
    assert len(gather) == 0
    if not came:
        assert made == []
        return
    (whole,) = made
    assert whole.header.shares == tuple(share for share in shares if share.gateway in came)
    wanted = [("x", gateway, row) for gateway in sorted(came) for row in range(rows[gateway])]
    assert rows_of(whole, "x") == wanted
    assert rows_of(whole, "y") == [("y", *rest) for _, *rest in wanted]
    assert whole.header.size == sum(whole.header.parts) == len(wanted)
    assert [tensor.shape for tensor in whole.header.tensors] == [(len(wanted), 2)] * 2
    assert whole.header.deadline_us == 100 - max(came)


def test_a_share_that_does_not_come_is_not_waited_for_for_ever():
    shares = (Share(0, 1, ""), Share(1, 1, ""))
    gather = Gather()
    gather.add(5, *share_of(7, shares, 0))
    gather.add(6, *share_of(8, shares, 0))
    assert gather.older_than(6) == [7]
    assert len(gather) == 1
    assert gather.add(9, *share_of(8, shares, 1)).header.batch == 8


def test_the_batches_that_wait_are_bounded():
    shares = (Share(0, 1, ""), Share(1, 1, ""))
    gather = Gather()
    for batch in range(MOST_PENDING + 2):
        gather.add(5, *share_of(batch, shares, 0))
    assert gather.older_than(0) == [0, 1]


def part_of(batch, sender, *, piece=0, pieces=((1, 1), (2,))):
    """What a piece of the first stage sends to one of the second: its only row."""
    header, _ = share_of(batch, (Share(3, 2, ""),), 3, parts=(1,))
    changes = {"split": Split(pieces, piece, sender), "stage": 1, "gateway": -1, "size": 1}
    return msgspec.structs.replace(header, **changes), [[(name, sender)] for name in ("x", "y")]


def test_a_piece_is_whole_when_all_its_senders_sent():
    gather = Gather()
    assert gather.add(0, *part_of(7, 1)) is None
    assert gather.add(0, *part_of(8, 0)) is None
    whole = gather.add(0, *part_of(7, 0))
    assert rows_of(whole, "x") == [("x", 0), ("x", 1)]
    assert (whole.header.size, whole.header.gateway) == (2, ALL_SHARES)
    assert len(gather) == 1


def test_two_pieces_of_a_batch_at_one_worker_are_kept_apart():
    pieces = ((1, 1), (1, 1))
    gather = Gather()
    for piece in (1, 0):
        whole = gather.add(0, *part_of(7, piece, piece=piece, pieces=pieces))
        assert whole.header.split.piece == piece
    shares = (Share(0, 2, ""), Share(1, 2, ""))
    for piece in (0, 1):
        header, frames = share_of(7, shares, 0)
        split = Split(((3, 1),), 0)
        assert (piece, gather.add(0, msgspec.structs.replace(header, split=split), frames)) == (piece, None)


def test_what_comes_of_a_lost_batch_is_dropped_before_and_after():
    gather = Gather()
    gather.add(0, *part_of(7, 1))
    gather.forget(7)
    assert len(gather) == 0
    assert gather.add(0, *part_of(7, 0)) is None
    assert len(gather) == 0
    assert gather.is_forgotten(7)
    for batch in range(100, 100 + MOST_PENDING):
        gather.forget(batch)
    assert not gather.is_forgotten(7)


def test_a_piece_does_not_go_on_without_a_gateway_and_waits_longer():
    """Without the rows of one the others would be at other places."""
    pieces = ((4,), (4,))
    shares = (Share(0, 2, ""), Share(1, 2, ""))
    gather = Gather()
    header, frames = share_of(7, shares, 0)
    gather.add(5, msgspec.structs.replace(header, split=Split(pieces)), frames)
    gather.add(5, *share_of(8, shares, 0))
    (whole,) = gather.without(1)
    assert whole.header.batch == 8
    assert gather.older_than(6, 5) == []
    assert gather.older_than(6, 6) == [7]
