"""``latency.csv``: one row a (device class, share, block, batch). Text on purpose: people diff profiles.

Invariants of every table read: each block has batches 1 to the table's largest, once each, and no
99th percentile lies below its median.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.profile.table import LatencyTable

REQUIRED = ("device_class", "share", "block", "batch", "latency_us")
OPTIONAL = ("p99_us", "runs")
# Eleven days: nothing that serves takes longer, and sums of a million of these stay far from 2**63.
LONGEST_US = 10**12

TableKey = tuple[str, int]


class _Cell(NamedTuple):
    """What one row says. ``p99_us`` is -1 and ``runs`` 0 where the row leaves them out."""

    line: int
    latency_us: int
    p99_us: int
    runs: int


_Cells = dict[tuple[int, int], _Cell]


def format_tables(tables: Mapping[TableKey, LatencyTable], blocks: Sequence[str]) -> str:
    """The text of ``latency.csv``, sorted by device class, share, block, batch.

    The optional columns appear where any table has a distribution.
    """
    detailed = any(table.p99_us is not None or table.runs for table in tables.values())
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(REQUIRED + OPTIONAL if detailed else REQUIRED)
    for (device_class, share), table in sorted(tables.items()):
        for block, name in enumerate(blocks):
            for column in range(table.max_batch):
                row = [device_class, share, name, column + 1, int(table.latency_us[block, column])]
                p99_us = "" if table.p99_us is None else int(table.p99_us[block, column])
                writer.writerow([*row, p99_us, table.runs or ""] if detailed else row)
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
        place = (index_of[row["block"]], _number(row, "batch", where, least=1))
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
    latency_us = _number(row, "latency_us", where, least=0, most=LONGEST_US)
    p99_us = _number(row, "p99_us", where, least=0, most=LONGEST_US) if row.get("p99_us") else -1
    if 0 <= p99_us < latency_us:
        raise BadInputError(
            f"{where}: p99_us {p99_us} is below latency_us {latency_us}, but a 99th percentile is never "
            f"below the median. Measure again, or leave p99_us empty."
        )
    return _Cell(line, latency_us, p99_us, _number(row, "runs", where, least=1) if row.get("runs") else 0)


def _number(row: Mapping[str, str], column: str, where: str, *, least: int, most: int = 2**31) -> int:
    text = row[column]
    # isdecimal alone takes other scripts' digits, and int() takes 1_000.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise BadInputError(
            f"{where}: {column} (={text}) must be a whole number from {least} to {most}. Correct the cell."
        )
    return int(text)


def _table(key: TableKey, cells: _Cells, blocks: Sequence[str], path: Path) -> LatencyTable:
    """The arrays of one table, once every cell is known to be there."""
    what = f"{path}: device class {key[0]!r}, share {key[1]}"
    max_batch = max(batch for _, batch in cells)
    if len(cells) != len(blocks) * max_batch:
        # Finds a gap within len(cells) + 1 steps, however large the largest batch is.
        places = ((block, batch) for block in range(len(blocks)) for batch in range(1, max_batch + 1))
        block, batch = next(place for place in places if place not in cells)
        raise BadInputError(
            f"{what}: no row for block {blocks[block]!r}, batch {batch}, but every block needs batches 1 to "
            f"{max_batch}, the largest of this table. Add the row, or drop that batch from all blocks."
        )
    with_p99 = sum(cell.p99_us >= 0 for cell in cells.values())
    if with_p99 not in (0, len(cells)):
        bare = min(cell.line for cell in cells.values() if cell.p99_us < 0)
        raise BadInputError(
            f"{what}: line {bare} has no p99_us, but other rows of this table do. Fill all of them or none."
        )
    ordered = [cells[place] for place in sorted(cells)]
    shape = (len(blocks), max_batch)
    latency_us = _array([cell.latency_us for cell in ordered], shape)
    if not latency_us.sum(axis=0).all():
        batch = int(np.argmin(latency_us.sum(axis=0))) + 1
        raise BadInputError(
            f"{what}: every block takes 0 us at batch {batch}, but a whole model takes some time. "
            f"Measure that class, or write its latencies in microseconds."
        )
    return LatencyTable(
        latency_us=latency_us,
        p99_us=_array([cell.p99_us for cell in ordered], shape) if with_p99 else None,
        runs=min(cell.runs for cell in ordered),
    )


def _array(values: list[int], shape: tuple[int, int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64).reshape(shape)
