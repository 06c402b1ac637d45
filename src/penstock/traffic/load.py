"""Trace files of every supported format, known by their header."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.formats import (
    azure_functions_2019,
    azure_functions_2021,
    azure_llm,
    counting,
    mooncake,
    per_second,
    plain,
    prometheus,
    prometheus_csv,
)
from penstock.traffic.formats.counting import Series
from penstock.traffic.formats.lines import read_header, read_lines
from penstock.traffic.processes.modulated import SteppedShape
from penstock.traffic.suggest import suggest
from penstock.traffic.trace import Trace
from penstock.units import US_PER_S


@dataclass(frozen=True)
class Times:
    """A format that has the time of every arrival."""

    header: str
    matches: Callable[[list[str]], bool]
    load: Callable[[Path], Trace]


@dataclass(frozen=True)
class Counts:
    """A format that counts arrivals in intervals of ``bin_s``, which may depend on the file."""

    header: str
    matches: Callable[[list[str]], bool]
    read: Callable[[Path], Iterator[Series]]
    bin_s: int | Callable[[Path], int]
    interval_may_differ: bool = False
    """Whether a file may count by another interval than ``bin_s``, which it does not state."""

    def interval_s(self, path: Path) -> int:
        """How long each count of ``path`` lasts."""
        return self.bin_s(path) if callable(self.bin_s) else self.bin_s


FORMATS: Mapping[str, Times | Counts] = MappingProxyType(
    {
        # Before csv, which takes every header with a column "time".
        "prometheus-csv": Counts(
            "Time,SERIES,... or timestamp,value[,LABEL,...]",
            prometheus_csv.matches,
            prometheus_csv.read_series,
            prometheus_csv.step_s,
        ),
        "csv": Times("time_us|time_s|time[,stream][,class][,type|model]", plain.matches, plain.load),
        "counts": Counts(
            "[second,]count",
            per_second.matches,
            per_second.read_series,
            per_second.BIN_S,
            interval_may_differ=True,
        ),
        "azure-llm": Times("TIMESTAMP,...", azure_llm.matches, azure_llm.load),
        "azure-functions-2021": Times(
            "app,func,end_timestamp,duration", azure_functions_2021.matches, azure_functions_2021.load
        ),
        "azure-functions-2019": Counts(
            "HashOwner,HashApp,HashFunction,Trigger,1,2,...",
            azure_functions_2019.matches,
            azure_functions_2019.read_series,
            azure_functions_2019.BIN_S,
        ),
        "prometheus": Counts(
            '{"status":"success","data":{"resultType":"matrix",...',
            prometheus.matches,
            prometheus.read_series,
            prometheus.step_s,
        ),
        "mooncake": Times('{"timestamp": ...}', mooncake.matches, mooncake.load),
    }
)
"""Formats by name."""


def load_trace(
    path: Path, *, format_name: str | None = None, seed: int = 0, interval_s: int | None = None
) -> Trace:
    """The trace in ``path``, its format known by the header unless given.

    Files are read in chunks: the memory needed is that of the result. A format that only counts gets times drawn from
    ``seed``, uniform in each interval; the same file and seed give the same trace. ``interval_s`` as in
    :func:`load_shape`. Raises :class:`BadInputError` with line, value, rule and fix.
    """
    found = _format(path, format_name)
    if isinstance(found, Times):
        _refuse_interval(path, interval_s)
        return found.load(path)
    return counting.trace(path, *_counted(path, found, interval_s), np.random.default_rng(seed))


def load_shape(
    path: Path, *, format_name: str | None = None, start_s: float | None = None, interval_s: int | None = None
) -> SteppedShape:
    """The counts in ``path`` as an arrival process of that shape; a trace of times is counted by the second.

    ``interval_s``: how long each count lasts, if the file does not say it (default: a second). Raises
    :class:`BadInputError` as :func:`load_trace` does.
    """
    found = _format(path, format_name)
    if isinstance(found, Counts):
        return counting.shape(path, *_counted(path, found, interval_s), start_s)
    _refuse_interval(path, interval_s)
    counts = np.bincount(found.load(path).time_us // US_PER_S)
    return SteppedShape(counts.astype(np.float64), 1.0, start_s)


def _counted(path: Path, found: Counts, interval_s: int | None) -> tuple[Iterator[Series], int]:
    """The series of ``path``, and the seconds that each count lasts."""
    series, own_s = found.read(path), found.interval_s(path)
    if interval_s is None:
        return series, own_s
    if not found.interval_may_differ:
        raise BadInputError(
            f"{path}: states that its counts last {own_s} s each, so interval does not apply. Leave it out."
        )
    if read_header(path)[0] == "second":
        # The seconds are stated, and each count is of all that follow until the next.
        series = (counting.coarser(one, interval_s) for one in series)
    return series, interval_s


def _refuse_interval(path: Path, interval_s: int | None) -> None:
    if interval_s is not None:
        raise BadInputError(
            f"{path}: has the time of every arrival, so interval does not apply. Leave it out."
        )


def _format(path: Path, name: str | None) -> Times | Counts:
    first = _first_row(path)
    if name is None:
        return _detected(path, first)
    if name not in FORMATS:
        raise BadInputError(f"{path}: unknown format {name!r}. {suggest(name, FORMATS)}")
    if not FORMATS[name].matches(first):
        raise BadInputError(
            f"{path}: line 1: {_shown(path)!r} is not the beginning of format {name}, which is "
            f"{FORMATS[name].header}. Correct the file, or leave the format to be found."
        )
    return FORMATS[name]


def _first_row(path: Path) -> list[str]:
    """The first row. Of JSON it is the whole first line, because its quotes are not those of CSV."""
    line = next(read_lines(path), "").strip()
    return [line] if line.startswith("{") else read_header(path)


def _detected(path: Path, first: list[str]) -> Times | Counts:
    for known in FORMATS.values():
        if known.matches(first):
            return known
    formats = "; ".join(f"{name}: {known.header}" for name, known in FORMATS.items())
    raise BadInputError(
        f"{path}: line 1: {_shown(path)!r} is the beginning of no known format ({formats}). Convert the file to csv."
    )


def _shown(path: Path) -> str:
    line = next(read_lines(path)).strip()
    return line if len(line) <= 60 else line[:57] + "..."
