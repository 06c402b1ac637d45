"""``penstock compare``: planners and policies, each at its own best margin, in one table."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.numbers import FiniteRange
from penstock.cli.output import json_option, note, print_json, print_table
from penstock.cli.policies import POLICIES, ROUTED
from penstock.cli.trials import make_trial, trial_options

if TYPE_CHECKING:
    from penstock.simulate.contest import Contest

BASELINE_NAMES = ("penstock", "np", "dart-r", "even")
FINAL_SEED = 100
"""Seeds from here on are for the figures; tuning uses those from 0."""

TUNING_SEEDS = (0, 1)


@click.command()
@click.argument("scenarios", metavar="SCENARIO...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--planner",
    "planners",
    type=click.Choice(BASELINE_NAMES),
    multiple=True,
    default=("penstock", "np", "dart-r"),
    show_default=True,
    help="Planners of one margin for all models; the closed loop is always there. Repeatable.",
)
@click.option(
    "--policy",
    "policies",
    type=click.Choice(POLICIES),
    multiple=True,
    default=("reservation",),
    show_default=True,
    help="The closed loop knows all but reactive. Repeatable.",
)
@click.option(
    "--attainment",
    "target",
    type=FiniteRange(min=0, max=1, min_open=True, max_open=True),
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
    spec: str,
    seconds: float,
    seed_count: int,
    noise: bool,
    as_json: bool,
) -> None:
    """Compare planners and policies on every SCENARIO, each at its own best margin, by the goodput they hold.

    Goodput is the least rate / weight over the models at which all hold the target. The reference is the published
    system: pools with a margin of 40% of the SLO, and reservations. Margins are chosen on other seeds than the figures.

    \b
    Example:
      penstock compare scenarios/*.yaml --arrivals poisson
      penstock compare scenario.yaml --planner np --arrivals gamma:cv=4 --json
    """
    from penstock.plan.scenario import load_profiles, load_scenario
    from penstock.report.contest import contest_document, summary
    from penstock.simulate.contest import Rules, contest

    def trial(seeds: tuple[int, ...], policy: str) -> Any:
        return make_trial(spec, policy, seconds, seeds, noise)

    seeds = tuple(range(FINAL_SEED, FINAL_SEED + seed_count))
    rules = Rules(target, partial(trial, TUNING_SEEDS), partial(trial, seeds))
    found: dict[str, Contest] = {}
    documents = []
    closed_loop = [policy for policy in policies if policy in ROUTED]
    for path in scenarios:
        scenario = load_scenario(path)
        baselines = [(planner, policy) for planner in planners for policy in policies]
        profiles = load_profiles(scenario, path.parent)
        found[str(path)] = contest(scenario, profiles, rules, baselines=baselines, closed_loop=closed_loop)
        documents.append({"scenario": str(path), **contest_document(found[str(path)], profiles, rules)})
        note(f"{path}: done")
    document = {
        "attainment": target,
        "arrivals": spec,
        "scenarios": documents,
        "summary": summary(list(found.values())),
    }
    if as_json:
        print_json(document)
    else:
        _show(document)


def _show(document: dict[str, Any]) -> None:
    for one in document["scenarios"]:
        rows = [
            [
                system["name"],
                "per model" if system["margin"] is None else f"{system['margin']:.0%}",
                f"{system['goodput_rps']:.1f}",
                f"{system['ratio']:.3f}",
                f"{system['share_of_fluid']:.3f}",
                ", ".join(f"{model['load_factor']:.2f}" for model in system["models"]),
                ", ".join(f"{model['low_rps']:.0f}-{model['high_rps']:.0f}" for model in system["models"]),
            ]
            for system in one["systems"]
        ]
        columns = ["system", "margin", "goodput", "ratio", "of fluid", "load factors", "95% intervals"]
        print_table(one["scenario"], columns, rows)
    columns = ["system", "geometric mean", "mean of ratios", "ratio of means", "of fluid"]
    rows = [[row["name"], *(f"{row[key]:.3f}" for key in list(row)[1:])] for row in document["summary"]]
    print_table("All scenarios, relative to the published system", columns, rows)
