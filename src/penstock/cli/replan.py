"""``penstock replan``: the best plan for a changed scenario within a number of moves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.diff import difference_document, print_difference
from penstock.cli.limits import limit_options
from penstock.cli.objective import unit_of
from penstock.cli.output import force_option, json_option, note, print_json, print_table
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from penstock.plan.plan import Plan
    from penstock.plan.replan import Replanner


@click.command(name="replan")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.argument("scenario_path", metavar="[SCENARIO]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--lost",
    metavar="CLASS:DEVICE",
    multiple=True,
    help="A device out of service (L4:3), or a host of them (L4:host1); again for more.",
)
@click.option(
    "--moves",
    "most_loads",
    metavar="N",
    type=click.IntRange(min=0),
    help="Most workers that may move or start; absent: as many as it takes.",
)
@click.option("--curve", is_flag=True, help="Print what each number of moves is worth; write nothing.")
@click.option(
    "-o",
    "--output",
    metavar="NEW",
    type=click.Path(path_type=Path),
    help="Plan file to write; else print only.",
)
@limit_options(60.0, "Seconds after which the best plan so far is taken, for each number of moves.", gap=1e-4)
@force_option
@json_option
def command(
    plan_path: Path,
    scenario_path: Path | None,
    lost: tuple[str, ...],
    most_loads: int | None,
    curve: bool,
    output: Path | None,
    time_limit_s: float,
    gap: float,
    force: bool,
    as_json: bool,
) -> None:
    """Choose the best plan for SCENARIO that a fleet running PLAN reaches within a number of moves.

    A move loads a piece of a model on a device that does not hold it: a worker that goes elsewhere, or a new
    one. Without SCENARIO the plan's own is taken, which --lost changes. Exit status 3: so few moves serve no
    plan; the reason says how many do.

    \b
    Example:
      penstock replan plan.json --lost L4:3 --moves 4 -o new.json
      penstock replan plan.json busier.yaml --curve
    """
    from penstock.files import refuse_overwrite
    from penstock.plan.difference import difference
    from penstock.plan.lost import without_lost
    from penstock.plan.planner import SearchLimits
    from penstock.plan.replan import Replanner
    from penstock.plan.scenario import load_profiles, load_scenario
    from penstock.plan.store import load_plan, relocated, save_plan

    if curve and (output is not None or most_loads is not None):
        raise BadInputError("--curve tries many numbers of moves: leave out --moves and -o, or --curve.")
    if output is not None:
        refuse_overwrite(output, force)
    running = load_plan(plan_path)
    folder = (scenario_path or plan_path).parent
    asked = running.plan.scenario if scenario_path is None else load_scenario(scenario_path)
    scenario = without_lost(asked, lost)
    profiles = running.profiles if scenario_path is None else load_profiles(scenario, folder)
    replanner = Replanner.of(
        running.plan, scenario, profiles, SearchLimits(gap=gap, time_limit_s=time_limit_s)
    )
    if curve:
        _print_curve(replanner, as_json)
        return
    plan = replanner.within(most_loads).solution
    found = difference(running.plan, plan)
    plan = relocated(plan, folder, Path() if output is None else output.parent)
    if output is not None:
        save_plan(plan, output, profiles, force=force)
        note(f"wrote {output}")
    if as_json:
        print_json({**plan.model_dump(mode="json"), "difference": difference_document(found)})
        return
    print_difference(found)
    click.echo(f"objective  {_objective(running.plan)} before, {_objective(plan)} after")
    click.echo(f"fresh      {replanner.fresh.objective:.4f} (a plan made from nothing)")
    click.echo(f"bound      {plan.bound:.4f}, gap {plan.gap:.2e}, {plan.status}")


def _objective(plan: Plan) -> str:
    """The objective in its unit, which a changed scenario may change."""
    return f"{plan.objective:.4f} {unit_of(plan.scenario)}"


def _print_curve(replanner: Replanner, as_json: bool) -> None:
    points = []
    for point in replanner.curve():
        note(f"{point.most_loads} moves: {point.objective:.4f}")
        points.append(point)
    fresh = replanner.fresh.objective
    if as_json:
        document = [
            {
                "moves": point.most_loads,
                "loads": point.loads,
                "objective": point.objective,
                "bound": point.bound,
                "rates_rps": {model.name: model.rate_rps for model in point.plan.models},
            }
            for point in points
        ]
        print_json({"fresh_objective": fresh, "points": document})
        return
    columns = ["moves allowed", "loaded", "objective", "bound", "of a fresh plan's"]
    rows = [
        (p.most_loads, p.loads, f"{p.objective:.4f}", f"{p.bound:.4f}", f"{p.objective / fresh:.1%}")
        for p in points
    ]
    print_table("What moves are worth", columns, rows)
