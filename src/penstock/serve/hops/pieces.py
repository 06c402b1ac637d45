"""How a batch is split among the workers of a stage: whose rows go to whom.

The rows of a batch are numbered in the order of its shares. A stage may be split: then each of its *pieces* is a range
of rows that follow each other, and runs on a worker of its own. A piece gets its rows from every piece of the stage
before that has some of them (the first stage: from every gateway that does), so who sends what to whom follows from
the rows of each piece alone. A *step* is one piece of one stage; a route lists steps stage after stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock.schedule.pieces import piece_rows
from penstock.serve.messages import BatchHeader, Share, Split

Pieces = tuple[tuple[int, ...], ...]
"""The rows of each piece of each stage; ``()`` if no stage of the batch is split. A piece without rows does not run."""


class Overlap(NamedTuple):
    """Rows [``first``, ``stop``) of a batch that belong to range number ``place``."""

    place: int
    first: int
    stop: int


def overlaps(first: int, stop: int, rows: Sequence[int]) -> list[Overlap]:
    """The ranges that have some of the rows [``first``, ``stop``). ``rows``: the lengths of all, from row 0 on."""
    found = []
    begin = 0
    for place, length in enumerate(rows):
        end = begin + length
        if max(first, begin) < min(stop, end):
            found.append(Overlap(place, max(first, begin), min(stop, end)))
        begin = end
    return found


def span_of(rows: Sequence[int], place: int) -> tuple[int, int]:
    """The rows [first, stop) of range number ``place``."""
    first = sum(rows[:place])
    return first, first + rows[place]


def step_of(pieces: Pieces, stage: int, piece: int) -> int:
    """The place of a piece of a stage in the route."""
    return sum(len(rows) for rows in pieces[:stage]) + piece


def lot_pieces(counts: Sequence[int], rows: int, first: int, lot: int) -> Pieces:
    """The pieces of a lot of ``lot`` rows, which begins at row ``first`` of a batch of ``rows``.

    The batch has ``counts[s]`` pieces at stage s. Every lot takes its own rows of each of them, so that no piece grows
    if a batch goes out in several lots.
    """
    stop = first + lot
    return tuple(
        tuple(max(0, min(stop, end) - max(first, begin)) for begin, end in piece_rows(rows, count))
        for count in counts
    )


def share_span(shares: Sequence[Share], gateway: int) -> tuple[int, int]:
    """The rows [first, stop) of a batch that are the share of ``gateway``, which must have one."""
    place = next(place for place, share in enumerate(shares) if share.gateway == gateway)
    return span_of([share.rows for share in shares], place)


def senders_of(header: BatchHeader, split: Split) -> tuple[int, ...]:
    """From whom the piece of a message gets its rows, in their order: gateways, or pieces of the stage before."""
    first, stop = span_of(split.pieces[header.stage], split.piece)
    if header.stage == 0:
        found = overlaps(first, stop, [share.rows for share in header.shares])
        return tuple(header.shares[one.place].gateway for one in found)
    return tuple(one.place for one in overlaps(first, stop, split.pieces[header.stage - 1]))


def sender_of(header: BatchHeader, split: Split) -> int:
    """Which of :func:`senders_of` a message to a piece is from."""
    return header.gateway if header.stage == 0 else split.sender
