"""How a batch is divided, and the route of a divided batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.schedule.pieces import Step, piece_rows, pieces_at, steps
from penstock.schedule.policy import Dispatch


@given(st.integers(1, 200), st.integers(1, 200))
def test_pieces_hold_every_row_once_and_none_is_too_large(size: int, most: int):
    rows = piece_rows(size, pieces_at(size, most))
    assert [row for begin, end in rows for row in range(begin, end)] == list(range(size))
    sizes = [end - begin for begin, end in rows]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert (len(rows) - 1) * most < size


def test_the_steps_of_a_route():
    split = Dispatch(0, 0, 0, (7, 8, 9), (4, 5, 6), (0, 1, 30), (20, 11, 40), (2, 1))
    assert steps(split) == (
        Step(0, 0, 4, 0, 2, 0, 20),
        Step(0, 1, 5, 2, 3, 1, 11),
        Step(1, 0, 6, 0, 3, 30, 40),
    )
    whole = Dispatch(0, 0, 0, (7, 8, 9), (4, 6), (0, 30), (20, 40))
    assert steps(whole) == (Step(0, 0, 4, 0, 3, 0, 20), Step(1, 0, 6, 0, 3, 30, 40))
