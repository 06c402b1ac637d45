"""Tables and lines for people: as text of a given width, or as HTML.

A result is a list of parts: a :class:`Table`, or a line of text. The command line prints them, ``str(result)`` gives
the same text, and a notebook shows them as HTML.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 200
"""Width in columns of text that goes to a file, to another program or into a string."""

LEAST_TEXT = 12
"""A column of text is not made narrower than this, or than its longest word."""

_BETWEEN = 2
"""Columns of space between two cells."""


@dataclass(frozen=True)
class Table:
    """A titled table. Columns whose cells are all numbers are right-aligned."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def is_numeric(self, index: int) -> bool:
        """Whether every cell of a column is a number."""
        return bool(self.rows) and all(_is_number(row[index]) for row in self.rows)


Part = Table | str


def table(title: str, columns: Iterable[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of ``rows``, whose cells become text."""
    cells = tuple(tuple(_without_sign_of_zero(str(cell)) for cell in row) for row in rows)
    return Table(title, tuple(columns), cells)


def as_text(parts: Iterable[Part], width: int = WIDE) -> str:
    """The parts as plain text, at most ``width`` columns wide if that is possible."""
    from rich.console import Console

    made = io.StringIO()
    show(parts, Console(file=made, width=width, color_system=None))
    return made.getvalue()


def show(parts: Iterable[Part], console: Console) -> None:
    """Print the parts on ``console``. A table that is too wide is wrapped in its texts, then split by columns."""
    from rich.text import Text

    for part in parts:
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False, soft_wrap=True, emoji=False)
            continue
        # This is not the table's own title, because that would wrap at the table's width.
        console.print(Text(part.title, style="bold"), soft_wrap=True)
        for piece in fitted(part, console.width):
            console.print(_drawn(piece))


def fitted(wide: Table, width: int) -> list[Table]:
    """``wide`` as one table if it fits ``width`` with its texts wrapped, otherwise by groups of columns.

    Every group begins with the first column, so that its rows can be told apart. Numbers are never wrapped.
    """
    least = [_least_width(wide, index) for index in range(len(wide.columns))]
    if _total(least) <= width:
        return [wide]
    groups: list[list[int]] = [[0]]
    for index in range(1, len(least)):
        if len(groups[-1]) > 1 and _total([least[one] for one in [*groups[-1], index]]) > width:
            groups.append([0])
        groups[-1].append(index)
    return [
        Table(
            wide.title,
            tuple(wide.columns[index] for index in group),
            tuple(tuple(row[index] for index in group) for row in wide.rows),
        )
        for group in groups
    ]


def as_html(parts: Iterable[Part]) -> str:
    """The parts as HTML. All text is escaped."""
    return "\n".join(
        f"<p>{html.escape(part)}</p>" if isinstance(part, str) else _html_table(part) for part in parts
    )


def _html_table(shown: Table) -> str:
    align = ["right" if shown.is_numeric(index) else "left" for index in range(len(shown.columns))]
    head = "".join(
        f'<th style="text-align:{side}">{html.escape(column)}</th>'
        for side, column in zip(align, shown.columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align:{side}">{html.escape(cell)}</td>'
            for side, cell in zip(align, row, strict=True)
        )
        + "</tr>"
        for row in shown.rows
    )
    caption = f"<caption><b>{html.escape(shown.title)}</b></caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _drawn(shown: Table) -> object:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, collapse_padding=True)
    for index, column in enumerate(shown.columns):
        numeric = shown.is_numeric(index)
        drawn.add_column(
            column,
            justify="right" if numeric else "left",
            no_wrap=numeric,
            min_width=_least_width(shown, index),
        )
    for row in shown.rows:
        # Text, not str: a name in square brackets must not be read as markup.
        drawn.add_row(*map(Text, row))
    return drawn


def _least_width(shown: Table, index: int) -> int:
    """The narrowest that a column can be: all of a number or a word, and no less than a few words of text."""
    cells = [shown.columns[index], *(row[index] for row in shown.rows)]
    if shown.is_numeric(index):
        return max(map(len, cells[1:] + cells[0].split() + [""]))
    longest = max(map(len, cells))
    words = max((len(word) for cell in cells for word in cell.split()), default=0)
    return min(longest, max(words, LEAST_TEXT))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _BETWEEN * len(widths) + 1


def _without_sign_of_zero(cell: str) -> str:
    """The sign of a number that rounds to zero is removed."""
    return cell[1:] if cell.startswith("-") and not cell.strip("-0.%") and "0" in cell else cell


def _is_number(cell: str) -> bool:
    return cell.strip("%x-–").replace(".", "").replace(",", "").replace(" ", "").isdigit() or cell == "-"
