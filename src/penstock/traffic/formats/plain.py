"""Plain CSV, the format Penstock writes: ``time_us``, ``time_s`` or ISO 8601 ``time``, and names if there are any.

Times are from any origin, in order. ``model`` may stand for ``type``: what a request asks for is a model.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.files import write_whole
from penstock.traffic.formats.gather import LATEST_S, LATEST_US, Piece, gather, whole_us
from penstock.traffic.formats.lines import CHUNK_ROWS, Chunk, read_header, read_table
from penstock.traffic.suggest import suggest
from penstock.traffic.trace import Trace

TIMES = ("time_us", "time_s", "time")
NAMES = {"stream": "stream", "class": "class", "type": "type", "model": "type"}
"""Columns of names, and what each is."""


def matches(header: list[str]) -> bool:
    """Whether ``header`` is of this format."""
    return any(name in header for name in TIMES)


def load(path: Path) -> Trace:
    """The trace in ``path``. Raises :class:`BadInputError` with line, value, rule and fix."""
    _check_header(read_header(path), path)
    return gather(path, _pieces(path), promises_order=True)


def save(trace: Trace, path: Path, *, force: bool = False) -> None:
    """Write ``trace`` whole or not at all. The time after the last arrival is not kept: a row is an arrival."""
    write_whole(path, lambda made: _write(trace, made), force=force)


def _pieces(path: Path) -> Iterator[Piece]:
    for chunk in read_table(path):
        names = {NAMES[name]: chunk.names(name) for name in chunk.columns if name in NAMES}
        yield Piece(chunk.lines, _times(chunk), names)


def _times(chunk: Chunk) -> np.ndarray:
    if "time_us" in chunk.columns:
        return chunk.numbers("time_us", most=LATEST_US, whole=True).astype(np.int64)
    if "time_s" in chunk.columns:
        return whole_us(chunk.numbers("time_s", most=LATEST_S))
    return np.array([chunk.unix_us(row, "time") for row in range(len(chunk.lines))], np.int64)


def _check_header(header: list[str], path: Path) -> None:
    for name in header:
        if name not in TIMES and name not in NAMES:
            raise BadInputError(
                f"{path}: line 1: unknown column {name!r}. {suggest(name, [*TIMES, *NAMES])} "
                f"Rename or remove it."
            )
    if sum(name in TIMES for name in header) != 1 or {"type", "model"} <= set(header):
        raise BadInputError(
            f"{path}: line 1: the header is {','.join(header)!r}, but it must have one of time_us, time_s and time, "
            f"and at "
            f"most one of type and model. Remove one."
        )


def _write(trace: Trace, path: Path) -> None:
    labels = trace.labels()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time_us", *labels])
        for begin in range(0, len(trace), CHUNK_ROWS):
            rows = slice(begin, begin + CHUNK_ROWS)
            names = [[column.names[code] for code in column.codes[rows]] for column in labels.values()]
            writer.writerows(zip(trace.time_us[rows].tolist(), *names, strict=True))
