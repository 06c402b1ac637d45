"""What ``penstock traffic trial`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.output import note, print_table

if TYPE_CHECKING:
    from penstock.simulate.decisive.contestants import Outcome
    from penstock.simulate.decisive.verdict import Verdict


def print_trial(
    part: str,
    outcomes: Sequence[Outcome],
    verdicts: Sequence[Verdict],
    counts: Mapping[str, float | None],
    first_rps: list[float],
    needed: dict[str, Any] | None,
) -> None:
    """Print what the plan holds under each load, and the verdicts.

    ``counts``: the streams of each load; ``needed``: of :func:`.trial_traffic.trial`, if devices were asked for.
    """
    runs = len(outcomes[0].held)
    rows = []
    for one in outcomes:
        name = one.contestant.name
        rows.append(
            [
                name,
                "-" if counts[name] is None else f"{counts[name]:,.0f}",
                f"{one.held.mean() * sum(first_rps):.1f}",
                f"{one.error.mean:{'+' if part == 'a' else ''}.1%}" if one is not outcomes[0] else "",
                f"± {one.error.half_width:.1%}" if one is not outcomes[0] else "",
                *([str(needed["devices"][name] or "more")] if needed else []),
            ]
        )
    columns = ["load", "streams", "goodput/s", "against real", "95% interval"]
    if needed:
        columns.append(f"{needed['device_class']} for {needed['demand_rps']:.0f}/s")
    print_table(f"What the plan holds under each load, {runs} runs (part {part})", columns, rows)
    for verdict in verdicts:
        click.echo(f"{verdict.name}: {verdict.result}; {verdict.reason}.")
    if not verdicts:
        click.echo("No generated load took part: give --load NAME=BUNDLE or --method.")
    note(
        "n independent streams reduce the swings of a load by sqrt(n). The streams column is at the load searched."
    )


def trial_document(
    part: str,
    outcomes: Sequence[Outcome],
    verdicts: Sequence[Verdict],
    counts: Mapping[str, float | None],
    first_rps: list[float],
    needed: dict[str, Any] | None,
) -> dict[str, Any]:
    """The same as :func:`print_trial`, for programs."""
    return {
        "part": part,
        "runs": len(outcomes[0].held),
        "loads": [
            {
                "name": one.contestant.name,
                "role": one.contestant.role,
                "streams": counts[one.contestant.name],
                "goodput_rps": float(one.held.mean()) * sum(first_rps),
                "error": one.error.mean,
                "half_width": one.error.half_width,
                "held": (one.held * sum(first_rps)).tolist(),
            }
            for one in outcomes
        ],
        "verdicts": [{"name": v.name, "result": v.result, "reason": v.reason} for v in verdicts],
        "fleet": needed,
    }
