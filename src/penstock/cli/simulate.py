"""``penstock simulate``: a plan against arrivals, without devices."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.output import force_option, json_option, note, print_json, print_table
from penstock.cli.summaries import print_summaries, summary_document

if TYPE_CHECKING:
    from penstock.plan.plan import Plan
    from penstock.record import Record
    from penstock.report.summary import ModelSummary


@dataclass(frozen=True)
class _Outcome:
    """What the verb prints."""

    summaries: list[ModelSummary]
    utilisation: dict[str, float]
    requests: int
    wall_seconds: float


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--load", "load_factor", default=1.0, show_default=True, help="Offered rate over planned rate.")
@click.option("--arrivals", "spec", default="poisson", show_default=True, help="poisson | gamma:cv=4")
@click.option("--seconds", default=30.0, show_default=True, help="Simulated time of arrivals.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of arrivals and noise."
)
@click.option(
    "--noise/--no-noise", default=True, show_default=True, help="Draw latencies from the profile, if it can."
)
@click.option(
    "--dispatch-us",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Cost of starting a batch.",
)
@click.option(
    "--overhead-us", type=click.IntRange(min=0), default=0, show_default=True, help="Added to each request."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the record (a folder).")
@force_option
@json_option
def command(
    plan_path: Path,
    load_factor: float,
    spec: str,
    seconds: float,
    seed: int,
    noise: bool,
    dispatch_us: int,
    overhead_us: int,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run PLAN against arrivals, without devices.

    Every model is offered LOAD times its planned rate (the verified one, where it has one), all at once.
    Figures leave out the first tenth of the time (warm-up); the record keeps everything.

    \b
    Example:
      penstock simulate plan.json --load 0.9 --arrivals gamma:cv=4 --seconds 60 --seed 1 -o run
    """
    from penstock.files import refuse_overwrite
    from penstock.plan.dispatch import dispatch_table
    from penstock.plan.store import load_plan
    from penstock.record import save_record
    from penstock.simulate.simulator import simulate
    from penstock.traffic.arrivals import draw_arrivals
    from penstock.traffic.spec import parse_arrivals

    process = parse_arrivals(spec)
    _check_positive("--load", load_factor)
    _check_positive("--seconds", seconds)
    if output is not None:
        refuse_overwrite(output, force)
    loaded = load_plan(plan_path)
    plan = loaded.plan
    begin = time.perf_counter()
    arrivals = draw_arrivals(
        process, [load_factor * m.offered_rps for m in plan.models], seconds, _generator(seed)
    )
    record = simulate(
        dispatch_table(plan, loaded.profiles),
        arrivals,
        model_names=[m.name for m in plan.models],
        seed=seed,
        noise=noise,
        dispatch_us=dispatch_us,
        overhead_us=overhead_us,
    )
    wall_seconds = time.perf_counter() - begin
    if output is not None:
        save_record(record, output, force=force)
        note(f"Wrote the record to {output}.")
    _show(_figures(plan, record, seconds, wall_seconds), as_json)


def _check_positive(option: str, value: float) -> None:
    from penstock.errors import BadInputError

    if not 0 < value < float("inf"):
        raise BadInputError(f"{option} (={value:g}) must be a number > 0.")


def _generator(seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed)


def _figures(plan: Plan, record: Record, seconds: float, wall_seconds: float) -> _Outcome:
    from penstock.report.summary import summarise
    from penstock.report.utilisation import utilisation, utilisation_by_class
    from penstock.simulate.trial import WARM_UP_SHARE
    from penstock.units import us_from_seconds

    stop_us = us_from_seconds(seconds)
    start_us = us_from_seconds(seconds * WARM_UP_SHARE)
    busy = utilisation(record, len(plan.placement), start_us=start_us, stop_us=stop_us)
    workers = sorted(plan.placement, key=lambda placed: placed.worker)
    return _Outcome(
        summaries=summarise(record, start_us=start_us, stop_us=stop_us),
        utilisation=utilisation_by_class(
            busy,
            [placed.device_class for placed in workers],
            [placed.share for placed in workers],
            {name: c.count for name, c in plan.scenario.cluster.device_classes.items()},
        ),
        requests=len(record.requests.request),
        wall_seconds=wall_seconds,
    )


def _show(outcome: _Outcome, as_json: bool) -> None:
    if as_json:
        print_json(_document(outcome))
        return
    print_summaries("Models", outcome.summaries)
    print_table(
        "Utilisation of all devices, used or not",
        ["device class", "busy"],
        [[name, f"{busy:.1%}"] for name, busy in outcome.utilisation.items()],
    )
    note(
        f"{outcome.requests} requests in {outcome.wall_seconds:.2f} s; the first tenth is not in the figures."
    )


def _document(outcome: _Outcome) -> dict[str, Any]:
    from penstock.simulate.trial import WARM_UP_SHARE

    return {
        "models": [summary_document(summary) for summary in outcome.summaries],
        "utilisation": outcome.utilisation,
        "requests": outcome.requests,
        "warm_up_share": WARM_UP_SHARE,
        "wall_seconds": outcome.wall_seconds,
    }
