"""``penstock traffic check``: do streams follow a state machine?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.output import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from penstock.traffic.machine import Machine, Violations
    from penstock.traffic.streams import Streams


@click.command(name="check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--machine", "machine_name", required=True, help="lte, 5g, ngap, serving, or a FILE (YAML or JSON)."
)
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="Violations to list.")
@json_option
def check(file: Path, machine_name: str, top: int, as_json: bool) -> None:
    """Count the events of the streams in FILE that violate a state machine.

    The state in which a stream begins is unknown, so events count from the first one that determines it. FILE is in
    Penstock's own format (CSV with stream, event, time_us; Parquet), an NGAPAD slice, a Mooncake trace, or any trace
    that names streams.

    \b
    Example:
      penstock traffic check streams.parquet --machine lte
      penstock traffic check slice_18_normal_full.csv --machine ngap --json
    """
    from penstock.traffic.machine import find_violations, machine_of
    from penstock.traffic.streams.load_streams import load_streams

    machine = machine_of(machine_name)
    streams = load_streams(file)
    found = find_violations(streams, machine, top=top)
    if as_json:
        print_json(_document(streams, machine, found))
        return
    print_table(
        f"{file.name} against the machine {machine.name}",
        ["", "in all", "scored", "breaking", "share"],
        [
            ["events", streams.n_events, found.scored, found.events, f"{found.event_share:.4%}"],
            ["streams", len(streams), found.streams_scored, found.streams, f"{found.stream_share:.4%}"],
        ],
    )
    if found.top:
        print_table("Most frequent violations", ["state", "event", "count"], found.top)
    note("Scored from the first event that determines the state of a stream.")


def _document(streams: Streams, machine: Machine, found: Violations) -> dict[str, Any]:
    return {
        "machine": machine.name,
        "events": streams.n_events,
        "events_scored": found.scored,
        "events_breaking": found.events,
        "event_share": found.event_share,
        "streams": len(streams),
        "streams_scored": found.streams_scored,
        "streams_breaking": found.streams,
        "stream_share": found.stream_share,
        "top": [{"state": state, "event": event, "count": count} for state, event, count in found.top],
    }
