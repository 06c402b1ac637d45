"""Streams from a network's weights: blocks of streams on all cores, put in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.generator.bins import GapBins
from penstock.traffic.generator.grammar import Grammar
from penstock.traffic.generator.gru_kernel import Tables, sample_block
from penstock.traffic.generator.gru_weights import GruWeights
from penstock.traffic.generator.keyed_draws import stream_keys

MOST_IN_BLOCK = 4096
"""Streams of one call of the kernel. At its end lanes run empty, so a block is as large as an even share allows."""

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Rows:
    """Events of streams: ``owner`` int64 (an index into what was asked for), ``event`` int16, ``time_us`` int64.

    The rows of a stream are in order of time; those of several may be mixed. ``cut``: streams cut at the most events.
    """

    owner: I64
    event: NDArray[np.int16]
    time_us: I64
    cut: int = 0


def sample_rows(
    weights: GruWeights,
    bins: GapBins,
    grammar: Grammar,
    *,
    streams: I64,
    klass: NDArray[np.int16],
    seed: int,
    window_us: int,
    most_events: int,
    threads: int | None = None,
    block: int | None = None,
    stopped: Callable[[float], None] | None = None,
) -> Rows:
    """Draw the streams numbered ``streams``, of the classes ``klass``; stream i depends on (seed, i, class) alone.

    ``threads`` None takes every core. ``block`` None takes :func:`even_block`; it changes the time, not the streams.
    ``stopped(share done)`` is called after each block.
    """
    check_seed(seed)
    threads = threads or os.cpu_count() or 1
    block = block or even_block(len(streams), threads)
    tables = Tables(bins.edges, bins.log_edges, bins.slot_of, grammar.next_state)
    keys = stream_keys(seed, streams)
    starts = range(0, len(streams), block)

    def draw(start: int) -> Rows:
        part = slice(start, start + block)
        owner, event, time_us, cut = sample_block(
            weights, tables, keys[part], klass[part], window_us, most_events
        )
        return Rows(owner.astype(np.int64) + start, event, time_us, cut)

    parts = []
    # The kernel lets go of Python's lock, so threads are enough.
    with ThreadPoolExecutor(threads) as pool:
        for part in pool.map(draw, starts):
            parts.append(part)
            if stopped is not None:
                stopped(len(parts) / len(starts))
    return join_rows(parts)


def even_block(streams: int, threads: int) -> int:
    """Streams in a block, at most ``MOST_IN_BLOCK``, so that every thread has equally many blocks."""
    rounds = -(-streams // (threads * MOST_IN_BLOCK))
    return max(1, -(-streams // (threads * max(1, rounds))))


def join_rows(parts: Sequence[Rows]) -> Rows:
    """All rows together."""
    return Rows(
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.event for part in parts]),
        np.concatenate([part.time_us for part in parts]),
        sum(part.cut for part in parts),
    )


def in_order(rows: Rows, streams: int) -> tuple[NDArray[np.int16], I64, I64]:
    """``event`` and ``time_us`` stream by stream, and ``first`` (streams + 1,)."""
    order = np.argsort(rows.owner, kind="stable")
    sizes = np.bincount(rows.owner, minlength=streams)
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return rows.event[order], rows.time_us[order], first


def check_seed(seed: int) -> None:
    """Raise :class:`BadInputError` unless ``seed`` fits the draws."""
    if not 0 <= seed <= LARGEST_SEED:
        raise BadInputError(f"seed (={seed}) must be 0 to {LARGEST_SEED}.")
