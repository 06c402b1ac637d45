"""Lines of text files that may be huge: read one by one, cut into rows, handed on in chunks."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, islice
from pathlib import Path
from typing import NoReturn

import numpy as np

from penstock.arrays import F64
from penstock.errors import BadInputError

LONGEST_LINE = 2**20
"""Characters. A file without line ends must not be read to its end to find that out."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CHUNK_ROWS = 4_096
"""Small enough for the processor's cache: larger chunks are read more slowly."""


@dataclass(frozen=True)
class Chunk:
    """Some rows of a table: the line each stands on, and the cells of each column as text."""

    path: Path
    lines: Sequence[int]
    columns: dict[str, Sequence[str]]

    def refuse(self, row: int, column: str, rule: str) -> NoReturn:
        """Raise :class:`BadInputError` for one cell: ``rule`` says what must hold and what to do."""
        value = self.columns[column][row]
        shown = value if len(value) <= 40 else value[:37] + "..."
        raise BadInputError(f"{self.path}: line {self.lines[row]}: {column} (={shown!r}) {rule}")

    def numbers(self, column: str, *, most: float, whole: bool = False) -> F64:
        """A column as numbers from 0 to ``most``; an offending cell is refused with its line."""
        what = (
            f"must be a {'whole ' if whole else ''}number from 0 to {most:.16g}. Correct or remove the line."
        )
        cells = self.columns[column]
        text = "".join(cells)
        # float() takes 1_000 and the digits of every script; a file that has them is more likely damaged.
        plain = text.isascii() and "_" not in text
        try:
            values = np.array([float(cell) for cell in cells])
        except ValueError:
            plain = False
        if not plain:
            self.refuse(next(i for i, cell in enumerate(cells) if not _is_number(cell)), column, what)
        good = (values >= 0) & (values <= most)  # false for NaN
        if whole:
            good &= values == np.floor(values)
        if not good.all():
            self.refuse(int(np.argmin(good)), column, what)
        return values

    def names(self, column: str) -> Sequence[str]:
        """A column of names, none of them empty."""
        cells = self.columns[column]
        if not all(cells):
            row = next(i for i, cell in enumerate(cells) if not cell)
            self.refuse(row, column, "must be a name. Fill in the cell, or remove the column.")
        return cells

    def unix_us(self, row: int, column: str) -> int:
        """Microseconds since 1970 of the ISO 8601 time in a cell; one without a zone is UTC."""
        try:
            moment = datetime.fromisoformat(self.columns[column][row].strip())
        except ValueError:
            self.refuse(
                row, column, "must be an ISO 8601 time such as 2025-01-31T09:30:00.250Z. Correct the cell."
            )
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if moment < _EPOCH:
            self.refuse(row, column, "lies before 1970. Correct the cell.")
        return (moment - _EPOCH) // timedelta(microseconds=1)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def read_lines(path: Path) -> Iterator[str]:
    """The lines of ``path``, ends included.

    Raises :class:`BadInputError` for a file that is missing, not UTF-8, or without line ends.
    """
    number = 0
    try:
        # utf-8-sig: spreadsheets write a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise BadInputError(
                        f"{path}: line {number}: is longer than {LONGEST_LINE:,} characters. Is it a text file?"
                    )
                yield line
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file. Check the path.") from None
    except IsADirectoryError:
        raise BadInputError(f"{path}: is a folder, but a file is needed. Name the file inside it.") from None
    except UnicodeDecodeError:
        raise BadInputError(
            f"{path}: after line {number}: is not UTF-8 text. Is it the right file?"
        ) from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}).") from None


def read_header(path: Path) -> list[str]:
    """The first row of ``path``; :class:`BadInputError` for a file that has none."""
    for _, rows in _batches(path, 1):
        if rows:
            return [name.strip() for name in rows[0]]
    raise BadInputError(f"{path}: is empty, and a trace needs arrivals. Is it the right file?")


def read_table(path: Path, *, header: Sequence[str] = (), rows: int = CHUNK_ROWS) -> Iterator[Chunk]:
    """The table in ``path``, at most ``rows`` rows at a time; blank lines are skipped.

    ``header`` names the columns of a file that does not; otherwise its first row does.
    """
    names = list(header) or read_header(path)
    if len(set(names)) != len(names):
        raise BadInputError(
            f"{path}: line 1: the header {','.join(names)!r} names a column twice. Correct it."
        )
    has_header = not header
    for lines, cells in _batches(path, rows):
        skip = 1 if has_header and cells else 0
        has_header = has_header and not cells
        if len(cells) > skip:
            _check_widths(path, lines, cells, len(names))
            columns = zip(*cells[skip:], strict=True)
            yield Chunk(path, lines[skip:], dict(zip(names, columns, strict=True)))


def _batches(path: Path, rows: int) -> Iterator[tuple[Sequence[int], list[list[str]]]]:
    """The rows that are not blank, and the number of the line on which each begins."""
    reader = csv.reader(read_lines(path))
    try:
        while True:
            before = reader.line_num
            batch = list(islice(reader, rows))
            if not batch:
                return
            yield _numbered(batch, before, reader.line_num)
    except csv.Error as error:
        raise BadInputError(f"{path}: line {reader.line_num}: not CSV: {error}. Correct the line.") from None


def _numbered(batch: list[list[str]], before: int, after: int) -> tuple[Sequence[int], list[list[str]]]:
    lines: Sequence[int] = range(before + 1, after + 1)
    if len(batch) < after - before:  # a quoted cell runs over several lines
        heights = [1 + sum(cell.count("\n") for cell in row) for row in batch]
        lines = list(accumulate(heights[:-1], initial=before + 1))
    if all(batch):
        return lines, batch
    kept = [(line, row) for line, row in zip(lines, batch, strict=True) if row]
    return [line for line, _ in kept], [row for _, row in kept]


def _check_widths(path: Path, lines: Sequence[int], cells: list[list[str]], width: int) -> None:
    if set(map(len, cells)) != {width}:
        wrong = next(index for index, row in enumerate(cells) if len(row) != width)
        raise BadInputError(
            f"{path}: line {lines[wrong]}: {len(cells[wrong])} cells where there should be {width}. "
            f"Complete or remove the line."
        )
