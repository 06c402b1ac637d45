"""``penstock capacity``: the cost of a rate, and the value of one more device of each class."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.limits import limit_options
from penstock.cli.common.output import json_option, print_result


@click.command(name="capacity")
@click.argument("scenario_path", metavar="SCENARIO", type=click.Path(path_type=Path))
@click.option(
    "--points",
    metavar="N",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Points of the curve, up to the most that the cluster serves.",
)
@limit_options(20.0, "Seconds for each plan.")
@json_option
def command(scenario_path: Path, points: int, time_limit_s: float, gap: float, as_json: bool) -> None:
    """Show what a rate costs on the cluster of SCENARIO, and the value of one more device of each class.

    The curve shows the least cost per hour for parts of the most that the cluster can serve. It needs an
    hourly_cost for every class. The worth is in units of SCENARIO's objective. It comes from a new plan with one
    device more.

    \b
    Example:
      penstock capacity scenario.yaml --points 10
    """
    from penstock.api.study import Study

    print_result(
        Study.read(scenario_path).capacity(points=points, time_limit_s=time_limit_s, gap=gap), as_json
    )
