"""``penstock compare``: planners and policies, each with its own best margin, in one table."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.numbers import Share
from penstock.cli.common.output import json_option, note, print_result
from penstock.cli.common.policies import DEFAULT_POLICY, POLICIES
from penstock.cli.common.trials import trial_options

BASELINE_NAMES = ("penstock", "np", "dart-r", "even")


@click.command()
@click.argument("scenarios", metavar="SCENARIO...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--planner",
    "planners",
    type=click.Choice(BASELINE_NAMES),
    multiple=True,
    default=("penstock", "np", "dart-r"),
    show_default=True,
    help="Planners with one margin for all models. The closed loop is always included. Repeatable.",
)
@click.option(
    "--policy",
    "policies",
    type=click.Choice(POLICIES),
    multiple=True,
    default=(DEFAULT_POLICY,),
    show_default=True,
    help="The closed loop supports all except reactive. Repeatable.",
)
@click.option(
    "--attainment",
    "target",
    type=Share(min_open=True, max_open=True),
    default=0.99,
    show_default=True,
    help="Share of all arrived requests that must be met.",
)
@trial_options
@json_option
def command(
    scenarios: tuple[Path, ...],
    planners: tuple[str, ...],
    policies: tuple[str, ...],
    target: float,
    specs: tuple[str, ...],
    seconds: float,
    seed_count: int,
    noise: bool,
    as_json: bool,
) -> None:
    """Compare planners and policies on every SCENARIO, each with its own best margin, by the goodput they hold.

    Goodput is the least rate / weight over the models at which all hold the target. The reference is the published
    system: pools with a margin of 40% of the SLO, and reservations. Seeds for choosing margins differ from those for
    the results. "Of fluid": the share of what the fleet would serve if nothing queued. "Of bound": of what no fixed
    division of the fleet can hold on these arrivals, by a proof that counts queueing.

    \b
    Example:
      penstock compare scenarios/*.yaml --arrivals poisson
      penstock compare scenario.yaml --planner np --arrivals gamma:cv=4 --json
    """
    from penstock.api.study import Study, compare

    # All files are read before any work.
    studies = [Study.read(path) for path in scenarios]
    found = compare(
        studies,
        planners=planners,
        policies=policies,
        attainment=target,
        arrivals=specs or "poisson",
        seconds=seconds,
        seeds=seed_count,
        noise=noise,
    )
    for name, reason in found.skipped.items():
        note(f"{name}: skipped: {reason}")
    print_result(found, as_json)
