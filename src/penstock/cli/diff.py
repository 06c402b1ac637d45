"""``penstock diff``: what changes from one plan to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from penstock.plan.difference import PlanDifference
    from penstock.plan.pieces import Piece


@click.command(name="diff")
@click.argument("before_path", metavar="BEFORE", type=click.Path(path_type=Path))
@click.argument("after_path", metavar="AFTER", type=click.Path(path_type=Path))
@json_option
def command(before_path: Path, after_path: Path, as_json: bool) -> None:
    """What a fleet that runs the plan BEFORE must do to run the plan AFTER.

    A worker stays where the same blocks of the same model are on the same share of the same device, whatever
    the batch. A piece that leaves one device and appears on another moves; the rest stop and start. Moves and
    starts each load a piece. A worker of a shared pool counts once for each piece that it holds.

    \b
    Example:
      penstock diff plan.json new.json
    """
    from penstock.plan.difference import difference
    from penstock.plan.store import load_plan

    found = difference(load_plan(before_path).plan, load_plan(after_path).plan)
    if as_json:
        print_json(difference_document(found))
    else:
        print_difference(found)


def print_difference(found: PlanDifference) -> None:
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


def difference_document(found: PlanDifference) -> dict[str, Any]:
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
    }


def _named(piece: Piece) -> dict[str, Any]:
    return {
        "model": piece.model,
        "blocks": [piece.start, piece.stop],
        "device_class": piece.device_class,
        "share": piece.share,
    }


def _pieces(found: PlanDifference) -> Iterator[list[object]]:
    """One row a piece, with the devices that lose it and get it."""
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
