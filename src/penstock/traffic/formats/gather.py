"""Checked chunks of a trace file, gathered into a :class:`Trace`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import LONGEST_S
from penstock.traffic.trace import MOST_ROWS, Labels, Trace, closed_to_a_circle
from penstock.units import US_PER_S

LATEST_US = 2**53
"""The year 2255 as Unix time: the last microsecond before floats skip some."""

LATEST_S = LATEST_US // US_PER_S


@dataclass(frozen=True)
class Piece:
    """Some arrivals of a file: the lines they stand on, their times, and their names by column."""

    lines: Sequence[int]
    time_us: I64
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)


def gather(path: Path, pieces: Iterable[Piece], *, promises_order: bool) -> Trace:
    """All arrivals of ``path``, closed to a circle.

    ``promises_order``: the format is in order of time, so a time that goes back means a damaged file. Raises
    :class:`BadInputError` with the line for that and for a time more than a year from the first; and for files
    without arrivals, with too many, or with all at one time.
    """
    times: list[I64] = []
    columns: dict[str, _Column] = {}
    last: tuple[int, int] | None = None
    arrivals = 0
    for piece in pieces:
        first_us = int(times[0][0]) if times else int(piece.time_us[0])
        _check_reach(path, piece, first_us)
        if promises_order:
            last = _check_order(path, piece, last)
        times.append(piece.time_us)
        for name, cells in piece.names.items():
            columns.setdefault(name, _Column()).add(cells)
        arrivals += len(piece.lines)
        _check_size(path, arrivals)
    if not times:
        raise BadInputError(f"{path}: holds no arrivals below its header, and a trace needs some. Add rows.")
    try:
        return closed_to_a_circle(
            np.concatenate(times), {name: column.labels() for name, column in columns.items()}
        )
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def whole_us(seconds: np.ndarray) -> I64:
    """Times in seconds as microseconds, rounded once."""
    times_us: I64 = np.rint(seconds * US_PER_S).astype(np.int64)
    return times_us


class _Column:
    """Names as numbers in order of first appearance: a stream is named a million times, stored once."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}
        self._parts: list[I64] = []

    def add(self, cells: Sequence[str]) -> None:
        code = self._code
        self._parts.append(np.array([code.setdefault(cell, len(code)) for cell in cells], np.int64))

    def labels(self) -> Labels:
        return Labels(np.concatenate(self._parts), tuple(self._code))


def _check_size(path: Path, arrivals: int) -> None:
    if arrivals > MOST_ROWS:
        raise BadInputError(
            f"{path}: holds more than {MOST_ROWS:,} arrivals, which would not fit in memory. Cut the file, or use "
            f"counts:FILE, which keeps only their number in each interval."
        )


def _check_reach(path: Path, piece: Piece, first_us: int) -> None:
    far = np.abs(piece.time_us - first_us) > LONGEST_S * US_PER_S
    if far.any():
        row = int(np.argmax(far))
        raise BadInputError(
            f"{path}: line {piece.lines[row]}: time {piece.time_us[row] / US_PER_S:.6f} s lies more than 366 days from "
            f"the first, {first_us / US_PER_S:.6f} s, the longest a trace may be. Check the unit, or cut the file."
        )


def _check_order(path: Path, piece: Piece, last: tuple[int, int] | None) -> tuple[int, int]:
    """The last line and time, once none goes back."""
    before_us = np.concatenate([[last[1] if last else piece.time_us[0]], piece.time_us[:-1]])
    back = piece.time_us < before_us
    if back.any():
        row = int(np.argmax(back))
        earlier = piece.lines[row - 1] if row else last[0] if last else piece.lines[0]
        raise BadInputError(
            f"{path}: line {piece.lines[row]}: time {piece.time_us[row] / US_PER_S:.6f} s lies before "
            f"{before_us[row] / US_PER_S:.6f} s on line {earlier}, but this format is in order of time. Sort the "
            f"lines by time."
        )
    return piece.lines[-1], int(piece.time_us[-1])
