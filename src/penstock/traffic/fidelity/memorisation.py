"""What was copied from the training trace: runs of events, and whole streams.

A run is n consecutive events of a stream with the gaps between them, each gap by its size class (a factor of
:data:`GAP_FACTOR`). Runs of real streams that no model has seen also meet some of the training trace by chance:
their share is what to compare with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.kernels import compiled
from penstock.traffic.streams import Streams

RUN = 16
GAP_FACTOR = 2.75
COPY_US = 1_000
"""Two streams are copies if all their events agree, and their times since the first of them to a millisecond."""

TELLING = 3
"""Events of a stream whose copy is hardly chance. A stream of two events has one gap, and two real samples of 20,000
streams have such a stream in common as often as not (section ``chance`` of ``benchmarks/traffic.py``)."""

U64 = NDArray[np.uint64]
_PRIME = np.uint64(0x100000001B3)


def memorised_share(streams: Streams, training: Streams, *, run: int = RUN) -> float | None:
    """The share of the runs of ``streams`` that occur in ``training``; None if no stream is long enough."""
    own = _runs(streams, run)
    if not len(own):
        return None
    return float(np.isin(own, np.unique(_runs(training, run))).mean())


def whole_copies(streams: Streams, training: Streams, *, fewest: int = 2) -> int:
    """How many of ``streams`` of at least ``fewest`` events are, event by event, a stream of ``training``.

    Streams of one event have no gap, so they never count.
    """
    fewest = max(fewest, 2)
    own, seen = _whole(streams), _whole(training)
    return int(np.isin(own[streams.sizes >= fewest], seen[training.sizes >= fewest]).sum())


def _tokens(streams: Streams) -> U64:
    """Each event with the size class of the gap before it."""
    classes = np.floor(np.log1p(streams.gap_us / 1e6) / np.log(GAP_FACTOR)).astype(np.uint64)
    tokens: U64 = classes * np.uint64(len(streams.events)) + streams.event.astype(np.uint64)
    return tokens


def _runs(streams: Streams, run: int) -> U64:
    hashes = np.empty(streams.n_events, np.uint64)
    count = _hash_runs(_tokens(streams), streams.event.astype(np.uint64), streams.first, run, hashes)
    return hashes[:count]


def _whole(streams: Streams) -> U64:
    # From the stream's own begin: one that was moved as a whole is a copy too.
    begin_us = streams.time_us[streams.first[:-1]][streams.stream_of_event]
    times = ((streams.time_us - begin_us) // COPY_US).astype(np.uint64)
    hashes = np.empty(len(streams), np.uint64)
    _hash_whole(
        times * np.uint64(len(streams.events)) + streams.event.astype(np.uint64), streams.first, hashes
    )
    return hashes


@compiled
def _stir(word: np.uint64, token: np.uint64) -> np.uint64:
    word = (word ^ token) * _PRIME
    return word ^ (word >> np.uint64(29))


@compiled
def _hash_runs(token: U64, event: U64, first: I64, run: int, hashes: U64) -> int:
    """A hash of every run; the gap before a run is not part of it."""
    count = 0
    for s in range(len(first) - 1):
        for begin in range(first[s], first[s + 1] - run + 1):
            word = _stir(np.uint64(0xCBF29CE484222325), event[begin])
            for row in range(begin + 1, begin + run):
                word = _stir(word, token[row])
            hashes[count] = word
            count += 1
    return count


@compiled
def _hash_whole(token: U64, first: I64, hashes: U64) -> None:
    for s in range(len(first) - 1):
        word = np.uint64(0xCBF29CE484222325)
        for row in range(first[s], first[s + 1]):
            word = _stir(word, token[row])
        hashes[s] = word
