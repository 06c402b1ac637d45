"""``penstock traffic trial``: does generated load predict what a plan holds under real load?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.numbers import FiniteRange, Share
from penstock.cli.common.output import json_option, note, print_json
from penstock.cli.common.policies import POLICIES
from penstock.cli.traffic_verbs.trial_contestants import Wanted, contestants_of
from penstock.cli.traffic_verbs.trial_tables import print_trial, trial_document

if TYPE_CHECKING:
    from penstock.plan.documents.store import LoadedPlan
    from penstock.simulate.decisive.contestants import Contestant, Outcome, Rules
    from penstock.simulate.decisive.verdict import Verdict

DEMAND_SHARE = 0.9


@click.command(name="trial")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option(
    "--load", "bundles", multiple=True, metavar="NAME=BUNDLE", help="A generated load. Repeat for several."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Fit this method for the trial: smm, replay, gru, ... Repeatable.",
)
@click.option(
    "--real",
    "real_path",
    type=click.Path(path_type=Path),
    help="A trace [default: simulated serving sessions].",
)
@click.option(
    "--machine",
    "machine_name",
    help="Of the streams in --real: lte, 5g, ngap, serving, or a FILE. smm needs it, gru and transformer can use it.",
)
@click.option(
    "--mix", "mix_text", default="batch:1", show_default=True, help="Classes of the simulated sessions."
)
@click.option(
    "--hour",
    type=click.IntRange(0, 23),
    default=10,
    show_default=True,
    help="Hour of the simulated sessions.",
)
@click.option(
    "--streams",
    type=click.IntRange(min=2),
    default=4000,
    show_default=True,
    help="Streams to fit a --method on.",
)
@click.option(
    "--minutes", type=FiniteRange(min=0, min_open=True), help="CPU minutes of a --method that is trained."
)
@click.option("--policy", type=click.Choice(POLICIES), default="reservation", show_default=True)
@click.option(
    "--seconds",
    type=FiniteRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Length of a run.",
)
@click.option("--attainment", "target", type=Share(0.5, 1, max_open=True), default=0.99, show_default=True)
@click.option("--runs", type=click.IntRange(min=2), default=40, show_default=True, help="The most runs.")
@click.option(
    "--half-width",
    type=FiniteRange(min=0, min_open=True),
    default=0.015,
    show_default=True,
    help="Runs go on until all intervals are narrower than this.",
)
@click.option(
    "--devices", metavar="CLASS", help="Also find how many devices of CLASS a demand needs under each load."
)
@click.option(
    "--demand",
    "demand_rps",
    type=FiniteRange(min=0, min_open=True),
    help="Demand of all models, for --devices.",
)
@json_option
def trial(
    plan_path: Path,
    bundles: Sequence[str],
    methods: Sequence[str],
    real_path: Path | None,
    machine_name: str | None,
    mix_text: str,
    hour: int,
    streams: int,
    minutes: float | None,
    policy: str,
    seconds: float,
    target: float,
    runs: int,
    half_width: float,
    devices: str | None,
    demand_rps: float | None,
    as_json: bool,
) -> None:
    """Compare what PLAN holds under generated load with what it holds under real load, and under Poisson.

    In each run, every load is tested with the same windows and offsets. The real load is simulated (five
    independent hours of serving sessions), or a recording cut in two: by streams if it has them, otherwise by time.
    The limit is relative to Poisson's error. If Poisson is within 15% of the real load, the test is void.

    \b
    Example:
      penstock traffic trial plan.json --method smm --mix batch:1
      penstock traffic trial plan.json --load gru=bundle --devices L4
      penstock traffic trial plan.json --real AzureLLMInferenceTrace_code.csv --seconds 60
    """
    from penstock.plan.dispatch_table import dispatch_table
    from penstock.plan.documents.store import load_plan
    from penstock.simulate.decisive.contestants import Rules, over_folds
    from penstock.simulate.decisive.runs import run_contest
    from penstock.traffic.machine import machine_of

    rules = Rules(policy, seconds, target, half_width=half_width, most_runs=runs, fewest_runs=min(5, runs))
    loaded = load_plan(plan_path)
    table = dispatch_table(loaded.plan, loaded.profiles)
    first_rps = [0.8 * model.rate_rps for model in loaded.plan.models]
    machine = machine_of(machine_name) if machine_name else None
    wanted = Wanted(tuple(bundles), tuple(methods), mix_text, hour, streams, minutes, machine)
    part, folds = contestants_of(real_path, wanted)
    counts = {one.name: _streams(one, first_rps) for real, others in folds for one in (real, *others)}
    measured = [
        run_contest(table, first_rps, real, others, rules, _teller(rules, len(folds) - 1 - fold))
        for fold, (real, others) in enumerate(folds)
    ]
    outcomes = over_folds(measured) if part == "b" else measured[0]
    verdicts = _judge(part, outcomes, rules)
    needed = _fleets(loaded, outcomes, first_rps, rules, devices, demand_rps) if devices else None
    if as_json:
        print_json(trial_document(part, outcomes, verdicts, counts, first_rps, needed))
    else:
        print_trial(part, outcomes, verdicts, counts, first_rps, needed)


def _streams(contestant: Contestant, first_rps: list[float]) -> float | None:
    from penstock.simulate.decisive.session_loads import streams_of_load

    return streams_of_load(contestant, first_rps)


def _teller(rules: Rules, folds_left: int) -> Callable[[int, Sequence[Outcome]], None]:
    """Says after each run what was found, and how long all runs that may follow would take."""
    begin = time.monotonic()

    def tell(run: int, outcomes: Sequence[Outcome]) -> None:
        widest = max(one.error.half_width for one in outcomes)
        errors = ", ".join(f"{one.contestant.name} {one.error.mean:+.1%}" for one in outcomes[1:])
        left_s = (time.monotonic() - begin) / run * (rules.most_runs * (1 + folds_left) - run)
        note(
            f"run {run} of at most {rules.most_runs}: {errors}; widest interval ± {widest:.1%}, "
            f"at most {left_s:.0f} s left"
        )

    return tell


def _judge(part: str, outcomes: Sequence[Outcome], rules: Rules) -> list[Verdict]:
    from penstock.simulate.decisive.verdict import judge_aggregate, judge_sessions

    return judge_sessions(outcomes, rules) if part == "a" else judge_aggregate(outcomes, rules)


def _fleets(
    loaded: LoadedPlan,
    outcomes: Sequence[Outcome],
    first_rps: list[float],
    rules: Rules,
    device_class: str,
    demand_rps: float | None,
) -> dict[str, Any]:
    """Part (c): devices that the demand needs, with a new plan for each number of them."""
    from penstock.errors import BadInputError, InfeasibleError
    from penstock.plan.dispatch_table import dispatch_table
    from penstock.plan.interfaces import SearchLimits
    from penstock.plan.planners.by_name import PLANNERS
    from penstock.schedule.table import DispatchTable
    from penstock.simulate.decisive.fleet_size import devices_needed

    scenario = loaded.plan.scenario
    classes = scenario.cluster.device_classes
    if device_class not in classes:
        raise BadInputError(
            f"--devices {device_class}: the plan's classes are {', '.join(classes)}. Name one of them."
        )
    have = classes[device_class].count
    tables: dict[int, DispatchTable | None] = {}

    def make_table(count: int) -> DispatchTable | None:
        if count not in tables:
            document = scenario.model_dump(mode="json")
            document["cluster"]["device_classes"][device_class] |= {"count": count, "lost": []}
            asked = type(scenario).model_validate_json(_json(document))
            try:
                plan = (
                    PLANNERS["penstock"](SearchLimits(time_limit_s=60.0))
                    .plan(asked, loaded.profiles)
                    .solution
                )
                tables[count] = dispatch_table(plan, loaded.profiles)
            except InfeasibleError:
                tables[count] = None  # there are too few devices for any plan: that is the answer
        return tables[count]

    total = demand_rps or DEMAND_SHARE * float(outcomes[0].held.mean()) * sum(first_rps)
    demand = [rate * total / sum(first_rps) for rate in first_rps]
    runs = min(len(outcomes[0].held), 10)
    found = {}
    for one in outcomes:
        note(f"{one.contestant.name}: looking for the fewest devices")
        found[one.contestant.name] = devices_needed(
            make_table, demand, one.contestant, rules, runs, first=have, most=8 * have
        )
    return {"device_class": device_class, "demand_rps": total, "runs": runs, "devices": found}


def _json(document: Any) -> str:
    import json

    return json.dumps(document)
