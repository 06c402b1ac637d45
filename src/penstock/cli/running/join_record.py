"""``penstock join-record``: make a record of the rows that a server left which was killed."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.output import force_option, note


@click.command(name="join-record")
@click.argument("rows", metavar="ROWS", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The record, a folder.")
@force_option
def command(rows: Path, output: Path, force: bool) -> None:
    """Make a record of ROWS, the folder RECORD.live that `serve --record RECORD` writes while it runs.

    A server does this itself when it ends. If it was killed, or while it runs, this does it. ROWS stay as they are.

    \b
    Example:
      penstock join-record run.live -o run
    """
    from penstock.record import save_record
    from penstock.serve import require_extra

    require_extra("penstock join-record")
    from penstock.serve.live_record import joined_record

    record = joined_record(rows)
    save_record(record, output, force=force)
    note(f"Wrote the record of {len(record.requests.request)} requests to {output}.")
