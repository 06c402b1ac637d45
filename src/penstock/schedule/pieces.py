"""How a split stage divides a batch: into pieces of nearly equal size, each for a worker of its own.

A batch is formed once, before the first stage. A stage that takes at most ``most`` requests a piece divides a batch of
``size`` into the fewest pieces that hold it. The rows of a batch are its requests in order. Every piece has rows that
follow each other, so it gets its input from the pieces of the stage before that have some of these rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from penstock.schedule.policy import Dispatch


class Step(NamedTuple):
    """A piece of a batch at a stage: its worker, its rows ``[begin, end)``, and its predicted times.

    A stage that is not split has one piece, with all rows.
    """

    stage: int
    piece: int
    worker: int
    begin: int
    end: int
    start_us: int
    end_us: int


def pieces_at(size: int, most: int) -> int:
    """The number of pieces of a batch of ``size`` requests, at most ``most`` in each."""
    return -(-size // most)


def piece_rows(size: int, pieces: int) -> tuple[tuple[int, int], ...]:
    """The rows ``[begin, end)`` of each of ``pieces``; the first ones have one row more if they cannot be equal."""
    least, more = divmod(size, pieces)
    ends = list(accumulate(least + (piece < more) for piece in range(pieces)))
    return tuple(zip([0, *ends[:-1]], ends, strict=True))


def steps(dispatch: Dispatch) -> tuple[Step, ...]:
    """The route of a batch, piece by piece, stage by stage."""
    pieces: Sequence[int] = dispatch.pieces or (1,) * len(dispatch.workers)
    places = [
        (stage, piece, *rows)
        for stage, count in enumerate(pieces)
        for piece, rows in enumerate(piece_rows(len(dispatch.requests), count))
    ]
    return tuple(
        Step(stage, piece, worker, begin, end, start_us, end_us)
        for (stage, piece, begin, end), worker, start_us, end_us in zip(
            places, dispatch.workers, dispatch.start_us, dispatch.end_us, strict=True
        )
    )
