"""Whose rows go to whom: checked row by row."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from penstock.serve.hops.pieces import lot_pieces, overlaps, senders_of, span_of, step_of
from penstock.serve.messages import ALL_SHARES, BatchHeader, Share, Split

LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def owners(lengths):
    """The range of every row."""
    return [place for place, length in enumerate(lengths) for _ in range(length)]


@given(LENGTHS, st.data())
def test_overlaps_hold_each_row_once(lengths, data):
    total = sum(lengths)
    first = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(first, total))
    rows = [(one.place, row) for one in overlaps(first, stop, lengths) for row in range(one.first, one.stop)]
    assert rows == [(owners(lengths)[row], row) for row in range(first, stop)]
    for place, length in enumerate(lengths):
        begin, end = span_of(lengths, place)
        assert [row for row, owner in enumerate(owners(lengths)) if owner == place] == list(range(begin, end))
        assert end - begin == length


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4), st.lists(st.integers(1, 4), min_size=1, max_size=3)
)
def test_the_lots_of_a_batch_fill_its_pieces_and_no_more(lots, counts):
    """However a batch goes out, a piece has the rows that were reserved: they differ by one at most."""
    rows, first, filled = sum(lots), 0, [[0] * count for count in counts]
    for lot in lots:
        for stage, own in enumerate(lot_pieces(counts, rows, first, lot)):
            assert sum(own) == lot
            filled[stage] = [a + b for a, b in zip(filled[stage], own, strict=True)]
        first += lot
    for whole in filled:
        assert sum(whole) == rows
        assert max(whole) - min(whole) <= 1
        assert whole == sorted(whole, reverse=True)


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4), st.lists(st.integers(1, 4), min_size=2, max_size=3)
)
def test_a_piece_waits_for_all_that_have_rows_of_it_and_for_no_other(shares, counts):
    rows = sum(shares)
    pieces = lot_pieces(counts, rows, 0, rows)
    spoken_for = tuple(Share(10 + place, length, "") for place, length in enumerate(shares))
    steps = [(stage, piece) for stage, count in enumerate(counts) for piece in range(count)]
    assert [step_of(pieces, *step) for step in steps] == list(range(len(steps)))
    for stage, piece in steps:
        split = Split(pieces, piece)
        header = BatchHeader(0, 0, 0, (), stage, spoken_for, ALL_SHARES, 0, 0, 0, (), (), split=split)
        before = owners(shares) if stage == 0 else owners(pieces[stage - 1])
        own = [row for row, owner in enumerate(owners(pieces[stage])) if owner == piece]
        wanted = dict.fromkeys(before[row] + (10 if stage == 0 else 0) for row in own)
        assert senders_of(header, split) == tuple(wanted)
