"""``penstock diff``: what changes from one plan to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from penstock.plan.documents.held_pieces import Piece
    from penstock.plan.load_time import LoadTime
    from penstock.plan.questions.difference import PlanDifference


@click.command(name="diff")
@click.argument("before_path", metavar="BEFORE", type=click.Path(path_type=Path))
@click.argument("after_path", metavar="AFTER", type=click.Path(path_type=Path))
@json_option
def command(before_path: Path, after_path: Path, as_json: bool) -> None:
    """Show what a fleet that runs the plan BEFORE must do to run the plan AFTER.

    A worker stays if the same blocks of the same model are on the same share of the same device, with any
    batch. A piece that leaves one device and appears on another moves. The rest stop or start. Moves and
    starts each load a piece. A worker of a shared pool counts once for each piece that it holds.

    \b
    Example:
      penstock diff plan.json new.json
    """
    from penstock.plan.documents.store import load_plan
    from penstock.plan.load_time import load_time
    from penstock.plan.questions.difference import difference

    after = load_plan(after_path)
    found = difference(load_plan(before_path).plan, after.plan)
    loads = load_time(found, after.profiles)
    if as_json:
        print_json(difference_document(found, loads))
    else:
        print_difference(found, loads)


def print_difference(found: PlanDifference, loads: LoadTime) -> None:
    """Workers by piece, rates by model, devices by class."""
    print_table("Workers", ["piece", "stay", "move", "start", "stop", "from", "to"], _pieces(found))
    print_table(
        "Rates in requests/s",
        ["model", "before", "after"],
        [(rate.model, f"{rate.before_rps:.1f}", f"{rate.after_rps:.1f}") for rate in found.rates],
    )
    columns = ["class", "used before", "used after", "in service before", "in service after"]
    print_table(
        "Devices",
        columns,
        [
            (d.device_class, d.used_before, d.used_after, d.available_before, d.available_after)
            for d in found.devices
        ],
    )
    click.echo(f"{found.loads} to load, {len(found.stays)} stay, {len(found.stops)} stop")
    if loads.in_words:
        click.echo(loads.in_words)


def difference_document(found: PlanDifference, loads: LoadTime) -> dict[str, Any]:
    """The difference as JSON."""
    from dataclasses import asdict

    return {
        "loads": found.loads,
        "stays": [{**_named(w.piece), "device": w.device} for w in found.stays],
        "moves": [{**_named(m.piece), "source": m.source, "target": m.target} for m in found.moves],
        "starts": [{**_named(w.piece), "device": w.device} for w in found.starts],
        "stops": [{**_named(w.piece), "device": w.device} for w in found.stops],
        "rates": [asdict(rate) for rate in found.rates],
        "devices": [asdict(change) for change in found.devices],
        "load_time": asdict(loads),
    }


def _named(piece: Piece) -> dict[str, Any]:
    return {
        "model": piece.model,
        "blocks": [piece.start, piece.stop],
        "device_class": piece.device_class,
        "share": piece.share,
    }


def _pieces(found: PlanDifference) -> Iterator[list[object]]:
    """One row per piece, with the devices that lose it and get it."""
    kinds = [
        Counter(w.piece for w in found.stays),
        Counter(m.piece for m in found.moves),
        Counter(w.piece for w in found.starts),
        Counter(w.piece for w in found.stops),
    ]
    for piece in sorted(set().union(*kinds)):
        left = [m.source for m in found.moves if m.piece == piece]
        left += [w.device for w in found.stops if w.piece == piece]
        got = [m.target for m in found.moves if m.piece == piece]
        got += [w.device for w in found.starts if w.piece == piece]
        yield [piece, *(kind[piece] for kind in kinds), _listed(left), _listed(got)]


def _listed(devices: list[int]) -> str:
    return ", ".join(map(str, sorted(devices))) or "-"
