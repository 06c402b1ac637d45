"""The output of every verb: one JSON document on standard output, or a table for people. Notes go to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.common.watching import BAR

if TYPE_CHECKING:
    from penstock.api.showing.shown import Shown
    from penstock.api.showing.tables import Part
    from penstock.traffic.arrivals import ArrivalProcess, ArrivalSource

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add ``--json``: one JSON document on standard output instead of tables."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def force_option(command: F) -> F:
    """Add ``--force``: replace an output that exists."""
    return click.option("--force", is_flag=True, help="Replace the output if it exists.")(command)


@contextlib.contextmanager
def standard_output_for_the_document() -> Iterator[None]:
    """Until the end, descriptor 1 goes to standard error. Only :func:`print_json` still reaches standard output.

    Output of a C library or a child process would make a JSON document unreadable. Python's own ``print`` goes to
    standard error too.
    """
    global _document_descriptor  # noqa: PLW0603  # a descriptor belongs to the process, and so does this
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # a process without standard output
        yield
        return
    os.dup2(2, 1)
    _document_descriptor = kept
    try:
        yield
    finally:
        _document_descriptor = None
        # The text in Python's buffer is not part of the document.
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


_document_descriptor: int | None = None


def print_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    BAR.stop()
    text = json.dumps(document, indent=1, allow_nan=False)
    if _document_descriptor is None:
        click.echo(text)
        return
    with open(_document_descriptor, "w", encoding="utf-8", closefd=False) as standard_output:
        standard_output.write(text + "\n")


def note(text: str) -> None:
    """Print a line for people on standard error."""
    BAR.stop()
    click.echo(text, err=True)


def note_streams(process: ArrivalProcess | ArrivalSource, rates_rps: Sequence[float]) -> None:
    """Say how many streams make up a load, if it has any."""
    from penstock.api.trials import stream_notes

    for text in stream_notes(process, rates_rps):
        note(text)


def print_result(result: Shown, as_json: bool) -> None:
    """Print a result: its JSON document, or its tables. Warnings go to standard error in either case."""
    for text in result.warnings:
        note(f"warning: {text}")
    if as_json:
        print_json(result.document())
    else:
        print_parts(result.parts())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for people on standard output. Columns that hold numbers are right-aligned."""
    from penstock.api.showing.tables import table

    print_parts([table(title, columns, rows)])


def print_parts(parts: Iterable[Part]) -> None:
    """Print tables and lines for people on standard output, as wide as the terminal."""
    from rich.console import Console

    from penstock.api.showing.tables import WIDE, show

    BAR.stop()
    # A pipe has no width, and numbers must not be cut there.
    show(parts, Console(width=None if sys.stdout.isatty() else WIDE))
