"""Mooncake traces (FAST 2025): a JSON object a line, with ``timestamp`` in milliseconds from the start.

Described in kvcache-ai/Mooncake, FAST25-release (Apache-2.0). Lines are in order of time; the clock steps by about
three seconds, so many arrivals have the same time. They keep it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from penstock.errors import BadInputError
from penstock.traffic.formats.gather import LATEST_S, Piece, gather, whole_us
from penstock.traffic.formats.lines import CHUNK_ROWS, Chunk, read_lines
from penstock.traffic.trace import Trace
from penstock.units import US_PER_MS, US_PER_S

_LATEST_MS = LATEST_S * (US_PER_S // US_PER_MS)


def matches(header: list[str]) -> bool:
    """Whether the first line is of this format."""
    return header[0].startswith("{")


def load(path: Path) -> Trace:
    """The trace in ``path``. Raises :class:`BadInputError` with line, value, rule and fix."""
    return gather(path, _pieces(path), promises_order=True)


def _pieces(path: Path) -> Iterator[Piece]:
    rows = _timestamps(path)
    while part := list(islice(rows, CHUNK_ROWS)):
        lines, cells = zip(*part, strict=True)
        times_ms = Chunk(path, lines, {"timestamp": cells}).numbers("timestamp", most=_LATEST_MS)
        yield Piece(lines, whole_us(times_ms / (US_PER_S // US_PER_MS)))


def _timestamps(path: Path) -> Iterator[tuple[int, str]]:
    """Line and time stamp, as the text that stands there."""
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            yield number, _timestamp(path, number, line)


def _timestamp(path: Path, number: int, line: str) -> str:
    where = f"{path}: line {number}"
    try:
        # Numbers stay text: how they are checked, and the error shown, is then the same for all formats.
        document = json.loads(line, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except json.JSONDecodeError as error:
        raise BadInputError(f"{where}: not JSON: {error.msg}. Correct or remove the line.") from None
    except RecursionError:
        raise BadInputError(f"{where}: nested too deeply to be a request. Remove the line.") from None
    stamp = document.get("timestamp") if isinstance(document, dict) else None
    if not isinstance(stamp, _Number):
        raise BadInputError(
            f"{where}: timestamp (={stamp!r}) must be a number of milliseconds in a JSON object. Correct the line."
        )
    return stamp


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()
