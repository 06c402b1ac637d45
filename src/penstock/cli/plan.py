"""``penstock plan``: pools of devices for the pieces of each model, with a proof."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.hold import Holding, hold_options, plan_held
from penstock.cli.limits import limit_options
from penstock.cli.objective import unit_of
from penstock.cli.output import force_option, json_option, note, print_json, print_table
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from penstock.plan.plan import ModelPlan, Plan

PLANNER_NAMES = ("penstock", "np", "dart-r", "even")  # a test holds this against PLANNERS


@click.command(name="plan")
@click.argument("scenario_path", metavar="SCENARIO", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    metavar="PLAN",
    type=click.Path(path_type=Path),
    help="Plan file to write; else print only.",
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
    help="Let stages of one class, share and place share their workers; refused where memory forbids.",
)
@hold_options
@force_option
@json_option
def command(
    scenario_path: Path,
    output: Path | None,
    planner_name: str,
    time_limit_s: float,
    gap: float,
    shared_pools: bool,
    hold: float | None,
    policy: str,
    arrivals: str,
    force: bool,
    as_json: bool,
) -> None:
    """Choose pools of devices for the pieces of each model of SCENARIO, with a proof of how good they are.

    Maximises the least rate / weight over the models, or, with objective cost, meets every model's rate_rps at
    the least hourly cost. Exit status 3: no plan exists; the reason says why, and the nearest SLO, or the part
    of the demand, that would do.

    Pools are chosen without regard to --shared-pools, which says who may use them: each worker then holds every
    piece of its pool, of all models. That helps some plans and hurts others; --hold measures both.

    \b
    Example:
      penstock plan scenario.yaml -o plan.json
      penstock plan scenario.yaml --planner np
      penstock plan scenario.yaml --shared-pools -o shared.json
      penstock plan scenario.yaml --hold 0.99 --arrivals gamma:cv=4 -o plan.json
    """
    from penstock.files import refuse_overwrite
    from penstock.plan.planner import SearchLimits
    from penstock.plan.planners import PLANNERS
    from penstock.plan.scenario import load_profiles, load_scenario
    from penstock.plan.shared_pools import with_shared_pools
    from penstock.plan.store import relocated, save_plan

    if output is not None:
        refuse_overwrite(output, force)
    scenario = load_scenario(scenario_path)
    profiles = load_profiles(scenario, scenario_path.parent)
    if hold is not None:
        if shared_pools:
            raise BadInputError("--hold measures plans with shared pools too: leave out --shared-pools.")
        plan = plan_held(scenario, profiles, Holding(hold, policy, arrivals))
    else:
        planner = PLANNERS[planner_name](SearchLimits(gap=gap, time_limit_s=time_limit_s))
        plan = planner.plan(scenario, profiles).solution
        if shared_pools:
            plan = with_shared_pools(plan, profiles)
    # What is printed is taken to be kept here, as in "penstock plan SCENARIO --json > plan.json".
    plan = relocated(plan, scenario_path.parent, Path() if output is None else output.parent)
    if output is not None:
        save_plan(plan, output, profiles, force=force)
        note(f"wrote {output}")
    if as_json:
        print_json({**plan.model_dump(mode="json"), "solve_seconds": plan.stats["solve_seconds"]})
    else:
        _print_plan(plan)


def _print_plan(plan: Plan) -> None:
    """Pools of every model, devices of every class, and the proof."""
    for model in plan.models:
        title = (
            f"{model.name}: {model.rate_rps:.1f} requests/s within {model.slo_us / 1e3:.2f} ms "
            f"(margin {model.margin_us / 1e3:.2f} ms); times in ms"
        )
        columns = ["", "blocks", "class", "batch", "workers", "devices"]
        columns += ["infer", "transfer", "slack", "rate/s"]
        print_table(title, columns, _pools(plan, model))
    print_table("Devices", ["class", "used", "in service"], _devices(plan))
    if plan.verification is not None:
        how = plan.verification
        rows = [
            [m.name, f"{m.offered_rps:.1f}", f"{m.verified.attainment:.2%}"]
            for m in plan.models
            if m.verified
        ]
        print_table(
            f"Verified: {how.arrivals} arrivals, policy {how.policy}, {len(how.seeds)} runs of {how.seconds:g} s",
            ["model", "rate/s", "attainment"],
            rows,
        )
    click.echo(f"objective  {plan.objective:.4f} {unit_of(plan.scenario)}")
    click.echo(f"bound      {plan.bound:.4f} ({_what_bounds(plan)})")
    click.echo(f"gap        {plan.gap:.2e}, {plan.status}")
    if plan.shared_pools:
        click.echo("pools      shared: a worker serves every stage of its class, share and place")
    click.echo(f"solved in  {plan.stats['solve_seconds']:.2f} s")


def _what_bounds(plan: Plan) -> str:
    if plan.planner in ("dart-r", "even"):
        return "of device time: no plan passes it, and few come near"
    return "no plan of this space passes it"


def _pools(plan: Plan, model: ModelPlan) -> Iterator[list[str]]:
    """One row a stage; slack is what the SLO less its margin leaves after gathering, inference, transfer."""
    factor = plan.scenario.planner.batch_build_factor
    for number, pipeline in enumerate(model.pipelines):
        gather_us = factor * 1e6 * (pipeline.stages[0].batch - 1) / (model.estimated_rps or 1.0)
        busy_us = sum(stage.inference_us + stage.transfer_us for stage in pipeline.stages)
        slack_ms = (model.slo_us - model.margin_us - gather_us - busy_us) / 1e3
        for s, stage in enumerate(pipeline.stages):
            yield [
                str(number) if s == 0 else "",
                f"[{stage.blocks[0]}, {stage.blocks[1]})",
                stage.device_class if stage.share == 1 else f"{stage.device_class} 1/{stage.share}",
                str(stage.batch),
                str(stage.workers),
                f"{stage.workers / stage.share:.2f}".rstrip("0").rstrip("."),
                f"{stage.inference_us / 1e3:.3f}",
                f"{stage.transfer_us / 1e3:.3f}",
                f"{slack_ms:.3f}" if s == 0 else "",
                f"{stage.rate_rps:.1f}",
            ]


def _devices(plan: Plan) -> Iterator[list[str]]:
    for name, spec in plan.scenario.cluster.device_classes.items():
        used = {worker.device for worker in plan.placement if worker.device_class == name}
        yield [name, str(len(used)), str(spec.available)]
