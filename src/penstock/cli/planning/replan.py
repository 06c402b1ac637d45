"""``penstock replan``: the best plan for a changed scenario within a number of moves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.api.showing.objective import unit_of
from penstock.cli.common.limits import limit_options
from penstock.cli.common.output import force_option, json_option, note, print_json, print_table
from penstock.cli.planning.diff import difference_document, print_difference
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from penstock.plan.documents.plan import Plan
    from penstock.plan.replan.replanner import Replanner


@click.command(name="replan")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.argument("scenario_path", metavar="[SCENARIO]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--lost",
    metavar="CLASS:DEVICE",
    multiple=True,
    help="A device out of service (L4:3), or a host of them (L4:host1). Repeat for more.",
)
@click.option(
    "--moves",
    "most_loads",
    metavar="N",
    type=click.IntRange(min=0),
    help="The most workers that may move or start. Without it: any number.",
)
@click.option("--curve", is_flag=True, help="Print the value of each number of moves. Writes nothing.")
@click.option(
    "-o",
    "--output",
    metavar="NEW",
    type=click.Path(path_type=Path),
    help="Plan file to write. Without it, the plan is only printed.",
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

    A move loads a piece of a model on a device that does not hold it: for a worker that goes to another device, or
    for a new one. Without SCENARIO, the plan's own scenario is used, changed by --lost. Exit status 3: no plan is
    possible with so few moves. The message says how many are enough.

    \b
    Example:
      penstock replan plan.json --lost L4:3 --moves 4 -o new.json
      penstock replan plan.json busier.yaml --curve
    """
    from penstock.files import refuse_overwrite
    from penstock.plan.documents.lost_devices import without_lost
    from penstock.plan.documents.scenario import load_profiles, load_scenario
    from penstock.plan.documents.store import load_plan, relocated, save_plan
    from penstock.plan.interfaces import SearchLimits
    from penstock.plan.load_time import load_time
    from penstock.plan.questions.difference import difference
    from penstock.plan.replan.replanner import Replanner

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
    loads = load_time(found, profiles)
    plan = relocated(plan, folder, Path() if output is None else output.parent)
    if output is not None:
        save_plan(plan, output, profiles, force=force)
        note(f"wrote {output}")
    if as_json:
        print_json({**plan.model_dump(mode="json"), "difference": difference_document(found, loads)})
        return
    print_difference(found, loads)
    click.echo(f"objective  {_objective(running.plan)} before, {_objective(plan)} after")
    click.echo(f"fresh      {replanner.fresh.objective:.4f} (a plan made from nothing)")
    click.echo(f"bound      {plan.bound:.4f}, gap {plan.gap:.2e}, {plan.status}")


def _objective(plan: Plan) -> str:
    """The objective with its unit. A changed scenario may change the unit."""
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
    print_table("The value of moves", columns, rows)
