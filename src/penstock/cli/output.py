"""What every verb prints: one JSON document on standard output, or a table for people; notes on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

PIPE_WIDTH = 200
"""Columns of a table that goes to a file or another program."""

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add ``--json``: one JSON document on standard output instead of tables."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def force_option(command: F) -> F:
    """Add ``--force``: replace an output that exists."""
    return click.option("--force", is_flag=True, help="Replace the output if it exists.")(command)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=1, allow_nan=False))


def note(text: str) -> None:
    """A line for people, on standard error."""
    click.echo(text, err=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people on standard output; columns that hold numbers are right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kept = [[_without_sign_of_zero(str(cell)) for cell in row] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True)
    for index, column in enumerate(columns):
        numeric = bool(kept) and all(_is_number(row[index]) for row in kept)
        table.add_column(column, justify="right" if numeric else "left")
    for row in kept:
        # Text, not str: a name in square brackets is a name, not markup.
        table.add_row(*map(Text, row))
    # A pipe has no width: numbers must not be cut there.
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    # Not the table's own title, which would wrap at the table's width.
    console.print(Text(title, style="bold"), table)


def _without_sign_of_zero(cell: str) -> str:
    """What rounds to zero has no sign worth reading."""
    return cell[1:] if cell.startswith("-") and not cell.strip("-0.%") and "0" in cell else cell


def _is_number(cell: str) -> bool:
    return cell.strip("%x-–").replace(".", "").replace(",", "").replace(" ", "").isdigit() or cell == "-"
