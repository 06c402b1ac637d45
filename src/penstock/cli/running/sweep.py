"""``penstock sweep``: the largest load at which a plan holds a target attainment."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.numbers import Share
from penstock.cli.common.output import json_option, note, print_result
from penstock.cli.common.policies import DEFAULT_POLICY, POLICIES
from penstock.cli.common.trials import trial_options


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option(
    "--attainment",
    "target",
    type=Share(min_open=True, max_open=True),
    default=0.99,
    show_default=True,
    help="Share of all arrived requests that must be met.",
)
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default=DEFAULT_POLICY,
    show_default=True,
    help="Who is served when: see docs/policies.md.",
)
@trial_options
@click.option(
    "--tolerance",
    type=Share(1e-4, 0.1),
    default=0.005,
    show_default=True,
    help="Relative width at which the search stops.",
)
@json_option
def command(
    plan_path: Path,
    target: float,
    policy: str,
    specs: tuple[str, ...],
    seconds: float,
    seed_count: int,
    noise: bool,
    tolerance: float,
    as_json: bool,
) -> None:
    """Find the largest load factor of each model of PLAN that holds the target attainment, with all served at once.

    A load factor of 1 is the planned rate, or the verified rate if the plan has one. Larger ones are found too. The
    first tenth of each run is left out. Intervals are of 95% over the runs.

    \b
    Example:
      penstock sweep plan.json --attainment 0.99
      penstock sweep plan.json --arrivals gamma:cv=4 --seconds 30 --seeds 5 --json
    """
    from penstock.api.results.plan_result import PlanResult

    found = PlanResult.read(plan_path).sweep(
        attainment=target,
        policy=policy,
        arrivals=specs or "poisson",
        seconds=seconds,
        seeds=seed_count,
        noise=noise,
        tolerance=tolerance,
    )
    print_result(found, as_json)
    if not as_json:
        note(f"Took {found.wall_seconds:.1f} s; the first tenth of each run is not in the figures.")
