"""A range of rates from Prometheus as CSV, in the two shapes in which tools write it.

Wide, as a Grafana panel exports it: ``Time`` and a column for each series, whose header is the series
(``{model="a"}``) or the model's name alone. Long, as scripts that ask the HTTP API write it: ``timestamp`` (or
``time``), ``value`` and a column for each label. Times are ISO 8601, Unix seconds or Unix milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from penstock.errors import BadInputError
from penstock.traffic.formats.counting import Series
from penstock.traffic.formats.lines import Chunk, read_header, read_table
from penstock.traffic.formats.rate_ranges import RateSeries, counts_of, rate_of, step_of
from penstock.units import US_PER_S

WIDE_TIME = "Time"
LONG_TIMES = ("timestamp", "time")
_LABEL = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_FROM_MS = 1e11
"""A Unix time above it is in milliseconds: in seconds it would be after the year 5000."""


def matches(header: list[str]) -> bool:
    """Whether ``header``, the first row, is of either shape."""
    return header[0] == WIDE_TIME or ("value" in header and any(name in header for name in LONG_TIMES))


def step_s(path: Path) -> int:
    """The step of the range in whole seconds."""
    return step_of(path, _series(path))


def read_series(path: Path) -> Iterator[Series]:
    """The counts of every series. Raises :class:`BadInputError` with the line of a bad cell."""
    return counts_of(path, _series(path))


def _series(path: Path) -> list[RateSeries]:
    header = read_header(path)
    found = _wide(path, header) if header[0] == WIDE_TIME else _long(path, header)
    if not found:
        raise BadInputError(f"{path}: has no values. Check the query and its time range.")
    return found


def _wide(path: Path, header: list[str]) -> list[RateSeries]:
    names = header[1:]
    values: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for chunk in read_table(path):
        for row, cell in enumerate(chunk.columns[WIDE_TIME]):
            time_s = _time_s(chunk, row, WIDE_TIME, cell)
            for name in names:
                values[name].append((time_s, _rate(chunk, row, name)))
    return [RateSeries(_labels(name), sorted(values[name])) for name in names if values[name]]


def _long(path: Path, header: list[str]) -> list[RateSeries]:
    time_column = next(name for name in LONG_TIMES if name in header)
    label_names = [name for name in header if name not in (time_column, "value", "name", "__name__")]
    values: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for chunk in read_table(path):
        for row, cell in enumerate(chunk.columns[time_column]):
            key = tuple(chunk.columns[name][row] for name in label_names)
            time_s = _time_s(chunk, row, time_column, cell)
            values.setdefault(key, []).append((time_s, _rate(chunk, row, "value")))
    return [
        RateSeries(dict(zip(label_names, key, strict=True)), sorted(points)) for key, points in values.items()
    ]


def _labels(name: str) -> dict[str, str]:
    """The labels in a column's header; one without any is a model's name."""
    return dict(_LABEL.findall(name)) if "{" in name else {"model": name}


def _rate(chunk: Chunk, row: int, column: str) -> float:
    try:
        return rate_of(f"{chunk.path}: line {chunk.lines[row]}", chunk.columns[column][row])
    except ValueError:
        chunk.refuse(row, column, "must be a plain number of requests per second. Export without units.")


def _time_s(chunk: Chunk, row: int, column: str, cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        return chunk.unix_us(row, column) / US_PER_S
    if not 0 <= number < float("inf"):
        chunk.refuse(row, column, "must be a Unix time >= 0, or an ISO 8601 time. Correct the cell.")
    return number / 1e3 if number > _FROM_MS else number
