"""Counts by the second: ``second,count``, or ``count`` alone, a row a second; a file of bare numbers is the latter.

Seconds are whole and go up; those left out count 0. The first row is the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penstock.arrays import I64
from penstock.traffic.formats.counting import MOST_COUNT, Series, check_length
from penstock.traffic.formats.gather import LATEST_S
from penstock.traffic.formats.lines import Chunk, read_header, read_table

BIN_S = 1


def matches(header: list[str]) -> bool:
    """Whether ``header``, the first row, is of this format."""
    return header in (["second", "count"], ["count"]) or _is_bare(header)


def read_series(path: Path) -> Iterator[Series]:
    """The counts of the one stream. Raises :class:`BadInputError` with line, value, rule and fix."""
    bare = _is_bare(read_header(path))
    seconds: list[I64] = []
    counts: list[I64] = []
    for chunk in read_table(path, header=["count"] if bare else ()):
        counts.append(chunk.numbers("count", most=MOST_COUNT, whole=True).astype(np.int64))
        last = int(seconds[-1][-1]) if seconds else -1
        seconds.append(_seconds(chunk, last))
        check_length(path, chunk.lines[-1], int(seconds[-1][-1] - seconds[0][0]) + 1, BIN_S)
    if seconds:
        yield Series(_filled(np.concatenate(seconds), np.concatenate(counts)), {})


def _seconds(chunk: Chunk, last: int) -> I64:
    """The second of each row, all of them after ``last``."""
    if "second" not in chunk.columns:
        return last + 1 + np.arange(len(chunk.lines))
    seconds = chunk.numbers("second", most=LATEST_S, whole=True).astype(np.int64)
    forward = np.diff(seconds, prepend=last) > 0
    if not forward.all():
        chunk.refuse(
            int(np.argmin(forward)),
            "second",
            "must be later than the row before. Sort the rows, each second once.",
        )
    return seconds


def _filled(seconds: I64, counts: I64) -> I64:
    every = np.zeros(int(seconds[-1] - seconds[0]) + 1, np.int64)
    every[seconds - seconds[0]] = counts
    return every


def _is_bare(header: list[str]) -> bool:
    return len(header) == 1 and header[0].isascii() and header[0].isdecimal()
