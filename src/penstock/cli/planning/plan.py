"""``penstock plan``: pools of devices for the pieces of each model, with a proof."""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli.common.hold import hold_options, refuse_ignored
from penstock.cli.common.limits import limit_options
from penstock.cli.common.output import force_option, json_option, note, print_result

PLANNER_NAMES = ("penstock", "np", "dart-r", "even")  # a test compares this with PLANNERS


@click.command(name="plan")
@click.argument("scenario_path", metavar="SCENARIO", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="PLAN",
    type=click.Path(path_type=Path),
    help="Plan file to write. Without it, the plan is only printed.",
)
@click.option(
    "--planner",
    "planner_name",
    type=click.Choice(PLANNER_NAMES),
    default="penstock",
    show_default=True,
    help="penstock: pool-based pipelines; np: whole models only; dart-r (pairs) and even (equal stages): baselines, "
    "not for objective cost.",
)
@limit_options(60.0, "Seconds after which the best plan so far is taken.")
@click.option(
    "--shared-pools",
    is_flag=True,
    help="Let stages of one class, share and place share their workers. Refused if memory does not allow it.",
)
@click.option(
    "--lent-pools",
    is_flag=True,
    help="Let stages of one class, share and place lend each other idle workers. Refused as --shared-pools.",
)
@hold_options
@force_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    scenario_path: Path,
    output: Path | None,
    planner_name: str,
    time_limit_s: float,
    gap: float,
    shared_pools: bool,
    lent_pools: bool,
    hold: float | None,
    policy: str,
    arrivals: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Choose pools of devices for the pieces of each model of SCENARIO, with a proof of how good they are.

    It maximises the least rate / weight over the models. With objective cost, it meets every model's rate_rps at
    the least hourly cost. With objective energy, it does so at the least power of the devices used. Exit status 3: no
    plan exists. The message says why, and names the nearest SLO, or the part of the demand, that is possible.

    --shared-pools does not change how pools are chosen, but who may use them: each worker then holds every
    piece of its pool, of all models. That helps some plans and hurts others. --lent-pools keeps each worker for its
    own stage, and lends it while it is idle and its model can spare it. --hold measures all three.

    \b
    Example:
      penstock plan scenario.yaml -o plan.json
      penstock plan scenario.yaml --planner np
      penstock plan scenario.yaml --shared-pools -o shared.json
      penstock plan scenario.yaml --hold 0.99 --arrivals gamma:cv=4 -o plan.json
    """
    from penstock.api.study import Study
    from penstock.files import refuse_overwrite

    refuse_ignored(context, holds=hold is not None)
    if output is not None:
        refuse_overwrite(output, force)
    study = Study.read(scenario_path)
    made = study.plan(
        planner=planner_name,
        time_limit_s=time_limit_s,
        gap=gap,
        shared_pools=shared_pools,
        lent_pools=lent_pools,
        hold=hold,
        policy=None if hold is None else policy,
        arrivals=None if hold is None else arrivals or None,
    )
    # Printed output is assumed to be kept in this folder, as in "penstock plan SCENARIO --json > plan.json".
    made = made.relocated(Path() if output is None else output.parent)
    if output is not None:
        made.save(output, force=force)
        note(f"wrote {output}")
    print_result(made, as_json)
