"""Files that count arrivals by interval: as a trace, with times drawn, or as the shape of a rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import LONGEST_S
from penstock.traffic.processes.modulated import SteppedShape
from penstock.traffic.trace import MOST_ROWS, Labels, Trace
from penstock.units import US_PER_S

MOST_COUNT = 1_000_000_000
"""In one interval: more is a slip, and sums must stay far from 2**63."""


@dataclass(frozen=True)
class Series:
    """The arrivals of one stream in each interval, and its names by column."""

    counts: I64
    names: dict[str, str]


def coarser(series: Series, bins: int) -> Series:
    """The same arrivals, with ``bins`` intervals counted as one."""
    padded = np.pad(series.counts, (0, -len(series.counts) % bins))
    return Series(padded.reshape(-1, bins).sum(axis=1), series.names)


def shape(path: Path, series: Iterator[Series], bin_s: int, start_s: float | None) -> SteppedShape:
    """The counts of all streams together, as a rate over time that begins at ``start_s``, or anywhere.

    Raises :class:`BadInputError` if all are 0.
    """
    total: F64 | None = None
    for one in series:
        total = one.counts.astype(np.float64) if total is None else total + one.counts
    if total is None or not total.any():
        raise _no_arrivals(path)
    return SteppedShape(total, float(bin_s), start_s)


def trace(path: Path, series: Iterator[Series], bin_s: int, rng: np.random.Generator) -> Trace:
    """Every arrival at a time drawn uniformly within its interval, a whole microsecond.

    The period is that of the intervals, silent ones included. Raises :class:`BadInputError` without arrivals, or with
    more than fit in memory.
    """
    bin_us = bin_s * US_PER_S
    times: list[I64] = []
    streams: list[dict[str, str]] = []
    sizes: list[int] = []
    bins = arrivals = 0
    for one in series:
        bins = len(one.counts)
        arrivals += int(one.counts.sum())
        if arrivals > MOST_ROWS:
            raise BadInputError(
                f"{path}: counts more than {MOST_ROWS:,} arrivals, which would not fit in memory. Use counts:FILE, "
                f"which keeps only their number in each interval, or fewer rows."
            )
        begin_us = np.repeat(np.arange(bins) * bin_us, one.counts)
        times.append(begin_us + rng.integers(0, bin_us, len(begin_us)))
        streams.append(one.names)
        sizes.append(len(begin_us))
    if not arrivals:
        raise _no_arrivals(path)
    return _sorted(np.concatenate(times), bins * bin_us, streams, np.array(sizes))


def check_length(path: Path, line: int, bins: int, bin_s: int) -> None:
    """Raise :class:`BadInputError` for a file that counts more than a year."""
    if bins * bin_s > LONGEST_S:
        raise BadInputError(
            f"{path}: line {line}: the counts reach over {bins * bin_s:,} s, but a trace lasts at most 366 days. "
            f"Check the unit, or cut the file."
        )


def _sorted(time_us: I64, period_us: int, streams: list[dict[str, str]], sizes: I64) -> Trace:
    order = np.argsort(time_us, kind="stable")
    columns = {}
    for name in streams[0]:
        code: dict[str, int] = {}
        codes = np.array([code.setdefault(names[name], len(code)) for names in streams], np.int64)
        columns[name] = Labels(np.repeat(codes, sizes)[order], tuple(code))
    return Trace(
        time_us[order],
        period_us,
        stream=columns.get("stream"),
        class_=columns.get("class"),
        type_=columns.get("type"),
    )


def _no_arrivals(path: Path) -> BadInputError:
    return BadInputError(f"{path}: counts no arrivals at all, and a trace needs some. Is it the right file?")
