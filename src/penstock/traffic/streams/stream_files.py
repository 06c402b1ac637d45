"""Streams as files: CSV for people, Parquet for large traces.

CSV: ``stream,class,event`` and one of ``time_us`` and ``time_s``; ``class`` may be left out. The rows of a stream
must be in order of time; the streams may be mixed. Times count from the earliest of the file unless a window is
known (Parquet keeps it). Parquet: the same columns with ``time_us``, and the window and the order of names in the
schema's metadata.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.files import write_whole
from penstock.traffic.formats.gather import LATEST_S, LATEST_US, whole_us
from penstock.traffic.formats.lines import read_header, read_table
from penstock.traffic.streams.columns import Streams

COLUMNS = ("stream", "class", "event", "time_us", "time_s")
ONE_CLASS = "all"
"""The class of every stream in a file that names none."""
_KEY = b"penstock.streams"


class Coded(NamedTuple):
    """A column of names as numbers: ``names[codes[row]]``, the names in order of first use."""

    codes: I64
    names: Sequence[str]


def read_streams(path: Path, *, window_us: int = 0) -> Streams:
    """The streams in ``path``, CSV or Parquet by its suffix (``.parquet``).

    ``window_us``: how long every stream was watched; 0 takes the file's own, or else the last time. Raises
    :class:`BadInputError` with the file, line, value, rule and fix: a missing column, a time that is NaN, negative
    or goes back within its stream, a stream of two classes, no events at all.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path, window_us)
    return _read_csv(path, window_us)


def write_streams(path: Path, streams: Streams, *, force: bool = False) -> None:
    """Write ``streams`` whole or not at all, as Parquet or CSV by the suffix."""
    write = _write_parquet if path.suffix == ".parquet" else _write_csv
    write_whole(path, lambda made: write(made, streams), force=force)


def build_streams(
    where: str,
    stream: Sequence[str] | Coded,
    klass: Sequence[str] | Coded | None,
    event: Sequence[str] | Coded,
    time_us: I64,
    *,
    window_us: int = 0,
    lines: Sequence[int] | None = None,
    from_zero: bool = True,
    events: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> Streams:
    """Columns of rows as :class:`Streams`. Streams keep the order of their first row; names that of first use.

    ``from_zero`` moves the earliest time of all to 0. ``events`` and ``classes`` give the order of names, if known.
    """
    if not len(time_us):
        raise BadInputError(f"{where}: holds no events below its header, and streams need some. Add rows.")
    owner, stream_names = _codes(stream)
    order = np.argsort(owner, kind="stable")
    owner, time_us = owner[order], time_us[order]
    first = np.concatenate([[0], np.cumsum(np.bincount(owner))]).astype(np.int64)
    back = (np.diff(time_us) < 0) & (np.diff(owner) == 0)
    if back.any():
        row = int(np.argmax(back)) + 1
        at = f"line {lines[order[row]]}" if lines is not None else f"row {int(order[row])}"
        raise BadInputError(
            f"{where}: {at}: time {time_us[row] / 1e6:.6f} s of stream {stream_names[owner[row]]!r} lies before "
            f"{time_us[row - 1] / 1e6:.6f} s of its event before. Sort the events of each stream by time."
        )
    event_code, event_names = _codes(event, events)
    klass_code, class_names = _codes(klass if klass is not None else [ONE_CLASS] * len(time_us), classes)
    klass_code = klass_code[order]
    mixed = klass_code != np.repeat(klass_code[first[:-1]], np.diff(first))
    if mixed.any():
        row = int(np.argmax(mixed))
        raise BadInputError(
            f"{where}: stream {stream_names[owner[row]]!r} has the classes "
            f"{class_names[klass_code[first[owner[row]]]]!r} and {class_names[klass_code[row]]!r}, but a stream has "
            f"one. Give them different names of stream."
        )
    if from_zero:
        time_us = time_us - time_us.min()
    try:
        return Streams(
            event_code[order].astype(np.int16),
            time_us,
            first,
            klass_code[first[:-1]].astype(np.int16),
            tuple(event_names),
            tuple(class_names),
            window_us,
        )
    except BadInputError as error:
        raise BadInputError(f"{where}: {error}") from None


def _codes(names: Sequence[str] | Coded, known: Sequence[str] = ()) -> tuple[I64, list[str]]:
    code = {name: number for number, name in enumerate(known)}
    if isinstance(names, Coded):
        places = np.array([code.setdefault(name, len(code)) for name in names.names], np.int64)
        return places[names.codes], list(code)
    codes = np.array([code.setdefault(name, len(code)) for name in names], np.int64)
    return codes, list(code)


def _read_csv(path: Path, window_us: int) -> Streams:
    header = read_header(path)
    _check_header(path, header)
    clock = "time_us" if "time_us" in header else "time_s"
    cells: dict[str, list[str]] = {name: [] for name in ("stream", "class", "event") if name in header}
    times: list[I64] = []
    lines: list[int] = []
    for chunk in read_table(path):
        for name, column in cells.items():
            column.extend(chunk.names(name))
        if clock == "time_us":
            times.append(chunk.numbers(clock, most=LATEST_US, whole=True).astype(np.int64))
        else:
            times.append(whole_us(chunk.numbers(clock, most=LATEST_S)))
        lines.extend(chunk.lines)
    time_us = np.concatenate([np.zeros(0, np.int64), *times])
    # A window that is given begins at 0; without one the recording begins with its first event.
    return build_streams(
        str(path),
        cells["stream"],
        cells.get("class"),
        cells["event"],
        time_us,
        window_us=window_us,
        lines=lines,
        from_zero=not window_us,
    )


def _check_header(path: Path, header: list[str]) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    missing = [name for name in ("stream", "event") if name not in header]
    if unknown or missing or ("time_us" in header) == ("time_s" in header):
        raise BadInputError(
            f"{path}: line 1: the header is {','.join(header)!r}, but streams need stream, event, one of time_us and "
            f"time_s, and at most class beside them. Rename, add or remove columns."
        )


def _write_csv(path: Path, streams: Streams) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["stream", "class", "event", "time_us"])
        owner = streams.stream_of_event
        klass = streams.klass[owner]
        for row in range(streams.n_events):
            writer.writerow(
                [
                    int(owner[row]),
                    streams.classes[klass[row]],
                    streams.events[streams.event[row]],
                    int(streams.time_us[row]),
                ]
            )


def _write_parquet(path: Path, streams: Streams) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    owner = streams.stream_of_event
    table = pa.table(
        {
            "stream": owner,
            "class": _text(streams.klass[owner], streams.classes),
            "event": _text(streams.event, streams.events),
            "time_us": streams.time_us,
        }
    )
    header = {
        "version": 1,
        "window_us": streams.window_us,
        "events": streams.events,
        "classes": streams.classes,
    }
    made = table.replace_schema_metadata({_KEY: json.dumps(header)})
    pq.write_table(made, path, compression="zstd")


def _text(codes: Any, names: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(list(names), pa.string()))


def _read_parquet(path: Path, window_us: int) -> Streams:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file. Check the path.") from None
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(f"{path}: is not a readable Parquet file ({error}).") from None
    missing = [name for name in ("stream", "event", "time_us") if name not in table.column_names]
    if missing:
        raise BadInputError(
            f"{path}: columns {missing} are missing; streams have stream, class, event, time_us."
        )
    for name in table.column_names:
        if table[name].null_count:
            raise BadInputError(f"{path}: {name}: holds {table[name].null_count} empty values; fill them.")
    if not pa.types.is_integer(table["time_us"].type):
        raise BadInputError(
            f"{path}: time_us: is of type {table['time_us'].type}, but whole microseconds are needed. "
            f"Convert the column."
        )
    header = _parquet_header(path, table)
    own_window_us = window_us or int(header.get("window_us", 0))
    return build_streams(
        str(path),
        _coded(table["stream"]),
        _coded(table["class"]) if "class" in table.column_names else None,
        _coded(table["event"]),
        np.ascontiguousarray(table["time_us"].to_numpy(), dtype=np.int64),
        window_us=own_window_us,
        from_zero=not own_window_us,
        events=header.get("events", ()),
        classes=header.get("classes", ()),
    )


def _coded(column: Any) -> Coded:
    """A column of any type as names; a trace has millions of rows and few names."""
    import pyarrow as pa

    encoded = pa.concat_arrays(
        column.cast(pa.string()).chunks or [pa.array([], pa.string())]
    ).dictionary_encode()
    return Coded(encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist())


def _parquet_header(path: Path, table: Any) -> dict[str, Any]:
    text = (table.schema.metadata or {}).get(_KEY)
    if text is None:
        return {}
    try:
        header = json.loads(text)
        names = [*header["events"], *header["classes"]]
        whole = isinstance(header["window_us"], int) and header["version"] == 1
    except (ValueError, TypeError, KeyError):
        names, whole = [], False
    if not whole or not all(isinstance(name, str) for name in names):
        raise BadInputError(f"{path}: its penstock metadata is damaged ({text!r:.80}). Write the file anew.")
    found: dict[str, Any] = header
    return found
