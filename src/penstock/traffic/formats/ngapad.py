"""NGAPAD (haroldfeng/NGAPAD, Apache-2.0): one row a context of a device, with its first messages as lists.

The message log of nine testbeds of 5G. It is good for trying a loader and a machine. It does not show how users
behave. What one must know: lists are padded with -1 at the end, and lists of times with 0; 800 of the 2,974 contexts
of the slice of 18 have fewer times than messages, so that their times seem to go back; ``nas_type_seq`` does not run
parallel to ``ngap_type_seq``; lists are cut at the length of the slice; 45 rows occur twice.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.formats.lines import read_lines
from penstock.traffic.streams.columns import Streams
from penstock.traffic.streams.stream_files import build_streams

_TIMES, _EVENTS = "timestamp_seq", "ngap_type_seq"
PADDING = -1


@dataclass(frozen=True)
class Contexts:
    """The streams, and how many rows were left out: because a message has no time, or as repeats of another row."""

    streams: Streams
    without_times: int
    repeated: int


def matches(header: list[str]) -> bool:
    """Whether ``header`` is of this format."""
    return {_TIMES, _EVENTS, "ran_ngap_ue_id"} <= set(header)


def load_contexts(path: Path) -> Contexts:
    """Every usable context of ``path``; its class is the address of the testbed, an event the code of the NGAP
    message.

    Each context has a clock of its own, which begins with its first message. Raises :class:`BadInputError` with the
    line for a list that is none, or if no row is usable.
    """
    seen: set[tuple[tuple[float, ...], tuple[int, ...]]] = set()
    stream: list[str] = []
    klass: list[str] = []
    event: list[str] = []
    times: list[float] = []
    without_times = repeated = 0
    for line, row in _rows(path):
        codes = [int(code) for code in _numbers(path, line, row, _EVENTS) if code != PADDING]
        seconds = _numbers(path, line, row, _TIMES)[: len(codes)]
        if not codes or len(seconds) < len(codes) or any(b < a for a, b in pairwise(seconds)):
            without_times += 1
            continue
        key = (tuple(seconds), tuple(codes))
        if key in seen:
            repeated += 1
            continue
        seen.add(key)
        stream.extend([str(line)] * len(codes))
        klass.extend([row["src_ip"] or "?"] * len(codes))
        event.extend(map(str, codes))
        times.extend(seconds)
    if not event:
        raise BadInputError(f"{path}: no row has messages that all have a time. Is it the right file?")
    time_us = np.rint(np.array(times) * 1e6).astype(np.int64)
    return Contexts(build_streams(str(path), stream, klass, event, time_us), without_times, repeated)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(read_lines(path))
    for row in reader:
        yield reader.line_num, row


def _numbers(path: Path, line: int, row: dict[str, str], column: str) -> list[float]:
    try:
        found = json.loads(row[column] or "")
        values = [float(value) for value in found]
        whole = all(map(math.isfinite, values))
    except (ValueError, TypeError):
        whole = False
    if not whole:
        raise BadInputError(
            f"{path}: line {line}: {column} (={(row[column] or '')[:40]!r}) must be a list of numbers. "
            f"Correct the line."
        )
    return values
