"""``penstock autoscale``: a day on a fleet that follows the load, beside static plans."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from penstock.cli.common.limits import limit_options
from penstock.cli.common.numbers import FiniteRange, Share, seed_option
from penstock.cli.common.output import force_option, json_option, note, print_result
from penstock.cli.common.policies import routed_policy_option
from penstock.cli.common.traffic_options import arrivals_option, rate_by_model_option


@click.command(name="autoscale")
@click.argument("scenario_path", metavar="SCENARIO", type=click.Path(path_type=Path))
@arrivals_option
@rate_by_model_option("Mean requests per second of a model [default: its rate_rps]. Repeatable.")
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    default=86_400.0,
    show_default=True,
    help="Of arrivals.",
)
@seed_option("arrivals and noise")
@click.option(
    "--forecast",
    type=click.Choice(["live", "yesterday", "known"]),
    default="live",
    show_default=True,
    help="live: from the load of the last minutes. yesterday: also from the hours of the day before. "
    "known: also from its minutes.",
)
@click.option(
    "--before",
    multiple=True,
    metavar="[MODEL=]PROCESS",
    help="The day before, as --arrivals [default: --arrivals, with other chance].",
)
@click.option(
    "--node-seconds",
    type=FiniteRange(min=0),
    default=180.0,
    show_default=True,
    help="From asking for a device until it is there.",
)
@click.option(
    "--load-seconds",
    type=FiniteRange(min=0),
    default=30.0,
    show_default=True,
    help="From there until the workers of a plan have loaded.",
)
@click.option(
    "--every-seconds", type=FiniteRange(min=1), default=60.0, show_default=True, help="Between two decisions."
)
@click.option(
    "--calm-seconds",
    type=FiniteRange(min=0),
    default=900.0,
    show_default=True,
    help="How long the load must be low before devices are given back.",
)
@click.option(
    "--safety",
    type=FiniteRange(min=1),
    default=1.2,
    show_default=True,
    help="What is planned for / the forecast.",
)
@click.option(
    "--rungs",
    type=click.IntRange(min=2, max=100),
    default=12,
    show_default=True,
    help="Plans to make at most.",
)
@click.option(
    "--attainment",
    type=Share(),
    default="99%",
    show_default=True,
    help="The share of requests that a rung must hold.",
)
@routed_policy_option("Who is served when.")
@limit_options(10.0, "Seconds for each plan.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the plans and their ladder (a folder), for serve --autoscale.",
)
@force_option
@json_option
def command(
    scenario_path: Path,
    specs: tuple[str, ...],
    rates_rps: dict[str, float],
    seconds: float,
    seed: int,
    forecast: Literal["live", "yesterday", "known"],
    before: tuple[str, ...],
    node_seconds: float,
    load_seconds: float,
    every_seconds: float,
    calm_seconds: float,
    safety: float,
    rungs: int,
    attainment: float,
    policy: str,
    time_limit_s: float,
    gap: float,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Simulate a day on a fleet that follows the load, and compare its cost with static plans.

    The counts of SCENARIO's device classes are the most that may be asked for, and each needs an hourly_cost. Plans of
    least cost are made for rising rates (rungs), and the simulator says what each holds. A device costs from the moment
    when it is asked for. The static plan is the cheapest rung that holds as much on the same day, which nobody can know
    before.

    \b
    Example:
      penstock autoscale scenario.yaml --rate resnet50=200
      penstock autoscale scenario.yaml --rate resnet50=200 --arrivals counts:monday.csv,interval=60,start=0 -o ladder
    """
    from penstock.api.study import Study
    from penstock.files import refuse_overwrite
    from penstock.plan.autoscale.ladder_file import LADDER

    if output is not None:
        refuse_overwrite(output / LADDER, force)
    found = Study.read(scenario_path).autoscale(
        arrivals=specs or None,
        rates_rps=rates_rps,
        seconds=seconds,
        seed=seed,
        forecast=forecast,
        before=before or None,
        node_s=node_seconds,
        load_s=load_seconds,
        every_s=every_seconds,
        calm_s=calm_seconds,
        safety=safety,
        rungs=rungs,
        attainment=attainment,
        policy=policy,
        time_limit_s=time_limit_s,
        gap=gap,
    )
    print_result(found, as_json)
    if output is not None:
        found.save(output, force=force)
        note(f"Wrote {len(found.ladder)} plans and {LADDER} to {output}.")
