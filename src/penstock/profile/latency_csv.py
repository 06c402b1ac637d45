"""``latency.csv``: one row a (device class, share, block, batch). It is text so that people can diff profiles.

Invariants of every table read: all blocks have the same batches, once each, and no 99th percentile lies below its
median. Batches that no row gives are filled in: between two given ones on the straight line, or as the larger one if
the rows say that batches are padded (``between`` is ``next``); below the least as the least, which is no faster. The
table remembers which were given, and only those are written again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.profile.table import LatencyTable

REQUIRED = ("device_class", "share", "block", "batch", "latency_us")
OPTIONAL = ("p99_us", "runs", "device_us", "between")
PADDED = "next"
"""What ``between`` says of a table whose batches run as the next larger given one; empty: on the straight line."""
# Eleven days: nothing that serves takes longer, and sums of a million of these stay far from 2**63.
LONGEST_US = 10**12
LARGEST_BATCH = 4096

TableKey = tuple[str, int]


class _Cell(NamedTuple):
    """What one row says. ``p99_us`` is -1, ``runs`` 0 and ``device_us`` -1 if the row leaves them out.

    ``is_padded`` is False then.
    """

    line: int
    latency_us: int
    p99_us: int
    runs: int
    device_us: int
    is_padded: bool


_Cells = dict[tuple[int, int], _Cell]


def format_tables(tables: Mapping[TableKey, LatencyTable], blocks: Sequence[str]) -> str:
    """The text of ``latency.csv``, sorted by device class, share, block, batch.

    The optional columns appear if any table has something to say in them.
    """
    columns = list(REQUIRED)
    if any(table.p99_us is not None or table.runs for table in tables.values()):
        columns += ["p99_us", "runs"]
    if any(table.device_us is not None for table in tables.values()):
        columns.append("device_us")
    if any(table.is_padded for table in tables.values()):
        columns.append("between")
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for (device_class, share), table in sorted(tables.items()):
        for block, name in enumerate(blocks):
            for column in (batch - 1 for batch in table.batches):
                row = {"device_class": device_class, "share": share, "block": name, "batch": column + 1}
                times = {
                    key: "" if values is None else int(values[block, column])
                    for key, values in (
                        ("latency_us", table.latency_us),
                        ("p99_us", table.p99_us),
                        ("device_us", table.device_us),
                    )
                }
                between = PADDED if table.is_padded else ""
                writer.writerow(row | times | {"runs": table.runs or "", "between": between})
    return out.getvalue()


def parse_tables(text: str, blocks: Sequence[str], path: Path) -> dict[TableKey, LatencyTable]:
    """The tables in ``text`` by (device class, share); rows may come in any order.

    ``blocks`` are the block names in model order. Raises :class:`BadInputError` that names ``path``, the
    line, the value, the rule and the fix.
    """
    cells: dict[TableKey, _Cells] = {}
    index_of = {name: index for index, name in enumerate(blocks)}
    for line, row in _rows(text, path):
        where = f"{path}: line {line}"
        if row["block"] not in index_of:
            raise BadInputError(
                f"{where}: block {row['block']!r} is not in profile.json, which has {', '.join(blocks)}. "
                f"Correct the name."
            )
        if not row["device_class"] or not row["device_class"].isprintable():
            raise BadInputError(
                f"{where}: device_class (={row['device_class']!r}) must be a printable name. Correct it."
            )
        key = (row["device_class"], _number(row, "share", where, least=1))
        place = (index_of[row["block"]], _number(row, "batch", where, least=1, most=LARGEST_BATCH))
        table = cells.setdefault(key, {})
        if place in table:
            raise BadInputError(
                f"{where}: device class {key[0]!r}, share {key[1]}, block {row['block']!r}, batch {place[1]} "
                f"stands already on line {table[place].line}. Keep one of the two."
            )
        table[place] = _cell(row, line, where)
    if not cells:
        raise BadInputError(f"{path}: holds no latencies, and a profile needs at least one table. Add rows.")
    return {key: _table(key, table, blocks, path) for key, table in cells.items()}


def _rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column, after the header has been checked."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff")))  # spreadsheets write a byte order mark
    try:
        header = next(reader, [])
        _check_header(header, path)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                raise BadInputError(
                    f"{path}: line {reader.line_num}: {len(cells)} cells, but the header has {len(header)} "
                    f"columns. Fill in or remove cells."
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise BadInputError(f"{path}: line {reader.line_num}: not CSV: {error}.") from None


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in REQUIRED + OPTIONAL]
    if missing or unknown or len(set(header)) != len(header):
        raise BadInputError(
            f"{path}: line 1: the header is {','.join(header)!r}, but it must be "
            f"{','.join(REQUIRED)}[,{','.join(OPTIONAL)}], each column once. Correct the header."
        )


def _cell(row: Mapping[str, str], line: int, where: str) -> _Cell:
    # Zero is allowed: imported blocks can be faster than the microsecond they are written in.
    latency_us = _time_us(row, "latency_us", where)
    p99_us = _time_us(row, "p99_us", where) if row.get("p99_us") else -1
    if 0 <= p99_us < latency_us:
        raise BadInputError(
            f"{where}: p99_us {p99_us} is below latency_us {latency_us}, but a 99th percentile is never "
            f"below the median. Measure again, or leave p99_us empty."
        )
    device_us = _time_us(row, "device_us", where) if row.get("device_us") else -1
    if device_us > latency_us:
        raise BadInputError(
            f"{where}: device_us {device_us} is above latency_us {latency_us}, of which it is a part. "
            f"Measure again, or leave device_us empty."
        )
    runs = _number(row, "runs", where, least=1) if row.get("runs") else 0
    between = row.get("between", "")
    if between not in ("", PADDED):
        raise BadInputError(
            f"{where}: between (={between}) must be {PADDED!r} (a batch between two given ones runs as the larger one) "
            f"or empty (it lies on the straight line). Correct the cell."
        )
    return _Cell(line, latency_us, p99_us, runs, device_us, between == PADDED)


def _time_us(row: Mapping[str, str], column: str, where: str) -> int:
    """A time, rounded to whole microseconds: other tools state decimals."""
    whole, point, decimals = row[column].partition(".")
    if not point:
        return _number(row, column, where, least=0, most=LONGEST_US)
    if not (
        whole.isascii()
        and whole.isdecimal()
        and decimals.isascii()
        and decimals.isdecimal()
        and len(whole) < 20
    ):
        raise BadInputError(
            f"{where}: {column} (={row[column]}) must be a number of microseconds from 0 to {LONGEST_US}. Correct the "
            f"cell."
        )
    return _number({column: str(round(float(row[column])))}, column, where, least=0, most=LONGEST_US)


def _number(row: Mapping[str, str], column: str, where: str, *, least: int, most: int = 2**31) -> int:
    text = row[column]
    # isdecimal alone takes other scripts' digits, and int() takes 1_000.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise BadInputError(
            f"{where}: {column} (={text}) must be a whole number from {least} to {most}. Correct the cell."
        )
    return int(text)


def _table(key: TableKey, cells: _Cells, blocks: Sequence[str], path: Path) -> LatencyTable:
    """The arrays of one table, after it is known that every cell is there."""
    what = f"{path}: device class {key[0]!r}, share {key[1]}"
    batches = sorted({batch for _, batch in cells})
    if len(cells) != len(blocks) * len(batches):
        places = ((block, batch) for block in range(len(blocks)) for batch in batches)
        block, batch = next(place for place in places if place not in cells)
        raise BadInputError(
            f"{what}: no row for block {blocks[block]!r}, batch {batch}, but other blocks have that batch, and all "
            f"need the same. Add the row, or drop that batch from all blocks."
        )
    for column in ("p99_us", "device_us"):
        lines = [cell.line for cell in cells.values() if getattr(cell, column) < 0]
        if len(lines) not in (0, len(cells)):
            raise BadInputError(
                f"{what}: line {min(lines)} has no {column}, but other rows of this table do. Fill all of them "
                f"or none."
            )
    first = next(iter(cells.values()))
    if len({cell.is_padded for cell in cells.values()}) > 1:
        lines = [cell.line for cell in cells.values() if not cell.is_padded]
        raise BadInputError(
            f"{what}: line {min(lines)} has no {PADDED!r} in between, but other rows of this table do. Fill all of "
            f"them or none."
        )
    ordered = [cells[place] for place in sorted(cells)]
    fill = _padded if first.is_padded else _filled
    latency_us = fill([cell.latency_us for cell in ordered], len(blocks), batches)
    if not latency_us.sum(axis=0).all():
        batch = int(np.argmin(latency_us.sum(axis=0))) + 1
        raise BadInputError(
            f"{what}: every block takes 0 us at batch {batch}, but a whole model takes some time. "
            f"Measure that class, or write its latencies in microseconds."
        )
    return LatencyTable(
        latency_us=latency_us,
        p99_us=fill([cell.p99_us for cell in ordered], len(blocks), batches) if first.p99_us >= 0 else None,
        runs=min(cell.runs for cell in ordered),
        device_us=fill([cell.device_us for cell in ordered], len(blocks), batches)
        if first.device_us >= 0
        else None,
        given_batches=None if len(batches) == batches[-1] else tuple(batches),
        is_padded=first.is_padded,
    )


def _padded(values: list[int], blocks: int, batches: Sequence[int]) -> I64:
    """As :func:`_filled`, but a batch between two given ones has the values of the larger one."""
    given = np.array(values, dtype=np.int64).reshape(blocks, len(batches))
    return given[:, np.searchsorted(batches, np.arange(1, batches[-1] + 1))]


def _filled(values: list[int], blocks: int, batches: Sequence[int]) -> I64:
    """``values`` by (block, given batch) as int64 (blocks, largest batch), rounded up between given batches."""
    given = np.array(values, dtype=np.int64).reshape(blocks, len(batches))
    every = np.arange(1, batches[-1] + 1)
    if len(every) == len(batches):
        return given
    return np.array([np.ceil(np.interp(every, batches, row) - 1e-9) for row in given], dtype=np.int64)
