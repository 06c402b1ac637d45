"""``penstock explain``: what limits a plan, and why each idle device is idle."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.output import json_option, print_result


@click.command(name="explain")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@json_option
def command(plan_path: Path, as_json: bool) -> None:
    """Show what limits PLAN: slack, pools, device classes, links, SLOs; and why each idle device is idle.

    Worths come from the relaxation, which can split devices. `penstock capacity` makes new plans instead.

    \b
    Example:
      penstock explain plan.json
    """
    from penstock.api.results.plan_result import PlanResult

    print_result(PlanResult.read(plan_path).explain(), as_json)
