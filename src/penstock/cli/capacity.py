"""``penstock capacity``: what a rate costs, and what one more device of each class is worth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.limits import limit_options
from penstock.cli.output import json_option, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.plan.capacity import CostPoint, DeviceWorth
    from penstock.plan.plan import Plan
    from penstock.plan.scenario import Scenario
    from penstock.result import Result


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
    """Say what a rate costs on the cluster of SCENARIO, and what one more device of each class is worth.

    The curve gives the least cost per hour of parts of the most that the cluster serves; it needs an
    hourly_cost for every class. The worth is in units of SCENARIO's objective, from planning again with one
    device more.

    \b
    Example:
      penstock capacity scenario.yaml --points 10
    """
    from penstock.plan.capacity import aimed_at, cost_curve, most_served, worth_of_devices
    from penstock.plan.planner import SearchLimits
    from penstock.plan.pools import PoolPlanner
    from penstock.plan.scenario import load_profiles, load_scenario

    scenario = load_scenario(scenario_path)
    profiles = load_profiles(scenario, scenario_path.parent)
    planner = PoolPlanner(SearchLimits(gap=gap, time_limit_s=time_limit_s))
    throughput = planner.plan(aimed_at(scenario, "throughput"), profiles)
    most = most_served(scenario, profiles, planner, throughput.objective)
    curve: list[CostPoint] | None = None
    if all(
        spec.hourly_cost is not None or not spec.count for spec in scenario.cluster.device_classes.values()
    ):
        factors = [most * k / points for k in range(1, points + 1)]
        curve = list(cost_curve(scenario, profiles, planner, factors))
        served = {point.factor for point in curve}
        for factor in factors:
            if factor not in served:
                note(f"no point at {factor:.4f}: where less arrives, batches gather too slowly for the SLO")
    else:
        note("no cost curve: give every device class with devices an hourly_cost")
    objective = scenario.planner.objective
    base = throughput if objective == "throughput" else planner.plan(aimed_at(scenario, "cost"), profiles)
    worth = list(worth_of_devices(aimed_at(scenario, objective), profiles, planner, base))
    for name in sorted(scenario.cluster.device_classes.keys() - {one.device_class for one in worth}):
        note(
            f"{name}: no worth of one more, for want of its latencies in every profile, or of its hourly_cost"
        )
    if as_json:
        print_json(
            {
                "objective": objective,
                "value": base.objective,
                "bound": base.bound,
                "most": most,
                "curve": None if curve is None else [asdict(point) for point in curve],
                "one_more": [asdict(one) for one in worth],
            }
        )
    else:
        _print(scenario, most, base, curve, worth)


def _print(
    scenario: Scenario,
    most: float,
    base: Result[Plan],
    curve: Sequence[CostPoint] | None,
    worth: Sequence[DeviceWorth],
) -> None:
    has_demands = scenario.models[0].rate_rps is not None
    unit = "of every demand" if has_demands else "requests/s per unit of weight"
    if curve is not None:
        classes = list(scenario.cluster.device_classes)
        print_table(
            f"Least cost of a rate, up to the most that the cluster serves ({most:.4f} {unit})",
            ["rate", "requests/s", "cost/h", "bound", *classes],
            [
                [
                    f"{point.factor:.4f}",
                    f"{sum(point.rates_rps.values()):.1f}",
                    f"{point.hourly_cost:.2f}",
                    f"{point.bound:.2f}",
                    *(str(point.devices[name]) for name in classes),
                ]
                for point in curve
            ],
        )
    meaning = "an hour less" if scenario.planner.objective == "cost" else f"more {unit}"
    print_table(
        f"One more device ({base.objective:.4f} without; worth {meaning}, proven within least and most)",
        ["class", "in service", "objective", "worth", "least", "most", "dual"],
        [
            [
                one.device_class,
                str(scenario.cluster.device_classes[one.device_class].available),
                f"{one.objective:.4f}",
                f"{one.worth:.4f}",
                f"{one.least:.4f}",
                f"{one.most:.4f}",
                "-" if one.dual is None else f"{one.dual:.4f}",
            ]
            for one in worth
        ],
    )
