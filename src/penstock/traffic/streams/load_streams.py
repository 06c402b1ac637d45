"""Streams from any file that has them: Penstock's own, and public traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.formats import mooncake, mooncake_sessions, ngapad
from penstock.traffic.formats.lines import read_header, read_lines
from penstock.traffic.load import load_trace
from penstock.traffic.streams.columns import Streams
from penstock.traffic.streams.stream_files import ONE_CLASS, read_streams
from penstock.traffic.trace import Labels, Trace

REQUEST = "request"
"""The event of a trace that does not say what was asked for."""


def load_streams(path: Path, *, window_us: int = 0) -> Streams:
    """The streams of ``path``, its format known by suffix and header.

    Parquet and CSV with ``stream`` and ``event`` are Penstock's own; an NGAPAD slice gives its contexts, a Mooncake
    trace its sessions, and any other trace that names streams (a function of Azure, a client) the arrivals of each.
    Raises
    :class:`BadInputError` for a trace without streams.
    """
    if path.suffix == ".parquet":
        return read_streams(path, window_us=window_us)
    first = next(read_lines(path), "").strip()
    header = [first] if first.startswith("{") else read_header(path)
    if {"stream", "event"} <= set(header):
        return read_streams(path, window_us=window_us)
    if ngapad.matches(header):
        return ngapad.load_contexts(path).streams
    if mooncake.matches(header):
        return mooncake_sessions.load_sessions(path)
    return streams_of_trace(load_trace(path), str(path))


def has_streams(path: Path) -> bool:
    """Whether the file names streams, by its suffix and header; a file that cannot be read is refused."""
    if path.suffix == ".parquet":
        return True
    first = next(read_lines(path), "").strip()
    header = [first] if first.startswith("{") else read_header(path)
    if mooncake.matches(header) or ngapad.matches(header) or "stream" in header:
        return True
    return load_trace(path).stream is not None


def streams_of_trace(trace: Trace, name: str) -> Streams:
    """The arrivals of ``trace`` stream by stream; a class is that of the stream's first arrival.

    Raises :class:`BadInputError` if it names no streams.
    """
    if trace.stream is None:
        raise BadInputError(
            f"{name}: names no streams, but a generator of streams learns from the events of each user. Give a "
            f"trace with a column stream; for a load as a whole use the processes trace:FILE or gaps:FILE."
        )
    order = np.argsort(trace.stream.codes, kind="stable")
    sizes = np.bincount(trace.stream.codes, minlength=len(trace.stream.names))
    first = np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64)
    klass = trace.class_ or Labels(np.zeros(len(trace), np.int64), (ONE_CLASS,))
    event = trace.type_ or Labels(np.zeros(len(trace), np.int64), (REQUEST,))
    return Streams(
        event.codes[order].astype(np.int16),
        trace.time_us[order],
        first,
        klass.codes[order][first[:-1]].astype(np.int16),
        event.names,
        klass.names,
        trace.period_us,
    )
