"""``penstock sweep``: the largest load at which a plan holds a target attainment."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.numbers import FiniteRange
from penstock.cli.output import json_option, note, print_json, print_table
from penstock.cli.policies import POLICIES
from penstock.cli.trials import make_trial, trial_options

if TYPE_CHECKING:
    from penstock.plan.plan import Plan
    from penstock.plan.score import Score


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option(
    "--attainment",
    "target",
    type=FiniteRange(min=0, max=1, min_open=True, max_open=True),
    default=0.99,
    show_default=True,
    help="Share of all arrived requests that must be met.",
)
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="reservation",
    show_default=True,
    help="Who is served when: see docs/policies.md.",
)
@trial_options
@click.option(
    "--tolerance",
    type=FiniteRange(min=1e-4, max=0.1),
    default=0.005,
    show_default=True,
    help="Relative width at which the search stops.",
)
@json_option
def command(
    plan_path: Path,
    target: float,
    policy: str,
    spec: str,
    seconds: float,
    seed_count: int,
    noise: bool,
    tolerance: float,
    as_json: bool,
) -> None:
    """Find the largest load factor of each model of PLAN that holds the target attainment, all served at once.

    A load factor of 1 is the planned rate (the verified one, where the plan has one); larger ones are found too. The
    first tenth of each run is left out. Intervals are of 95% over the runs.

    \b
    Example:
      penstock sweep plan.json --attainment 0.99
      penstock sweep plan.json --arrivals gamma:cv=4 --seconds 30 --seeds 5 --json
    """
    from penstock.plan.store import load_plan
    from penstock.simulate.evaluate import evaluate

    trial = make_trial(spec, policy, seconds, tuple(range(seed_count)), noise)
    loaded = load_plan(plan_path)
    begin = time.perf_counter()
    score = evaluate(loaded.plan, loaded.profiles, trial, target=target, tolerance=tolerance)
    wall_seconds = time.perf_counter() - begin
    if as_json:
        print_json(_document(loaded.plan, score, target, wall_seconds))
        return
    print_table(
        f"Largest load that holds {target:.1%}",
        ["model", "planned/s", "load factor", "goodput/s", "95% interval", "attainment"],
        [
            [
                model.name,
                f"{model.offered_rps:.1f}",
                f"{one.held_rps / model.offered_rps:.3f}",
                f"{one.held_rps:.1f}",
                f"{one.low_rps:.1f} - {one.high_rps:.1f}",
                f"{one.attainment:.2%}",
            ]
            for model, one in zip(loaded.plan.models, score.models, strict=True)
        ],
    )
    note(f"Took {wall_seconds:.1f} s; the first tenth of each run is not in the figures.")


def _document(plan: Plan, score: Score, target: float, wall_seconds: float) -> dict[str, Any]:
    weights = [model.weight for model in plan.scenario.models]
    return {
        "attainment": target,
        "goodput_per_weight_rps": score.goodput(weights),
        "models": [
            {
                "name": model.name,
                "load_factor": one.held_rps / model.offered_rps,
                "goodput_rps": one.held_rps,
                "low_rps": one.low_rps,
                "high_rps": one.high_rps,
                "attainment": one.attainment,
                "planned_rps": model.offered_rps,
            }
            for model, one in zip(plan.models, score.models, strict=True)
        ],
        "wall_seconds": wall_seconds,
    }
