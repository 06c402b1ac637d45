"""``penstock simulate``: a plan against arrivals, without devices."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.output import force_option, json_option, note, print_json, print_table
from penstock.cli.policies import POLICIES
from penstock.cli.seeds import mean_by_key, over_seeds, print_seed_summaries, seed_document
from penstock.cli.summaries import print_summaries
from penstock.traffic.known import ARRIVALS_HELP

if TYPE_CHECKING:
    from penstock.plan.plan import Plan
    from penstock.plan.store import LoadedPlan
    from penstock.record import Record
    from penstock.report.summary import ModelSummary
    from penstock.schedule.table import DispatchTable
    from penstock.traffic.arrivals import ArrivalProcess, Arrivals


@dataclass(frozen=True)
class _World:
    """How the fleet behaves, as asked for."""

    mode: str
    policy: str
    noise: bool
    dispatch_us: int
    overhead_us: int


@dataclass(frozen=True)
class _Figures:
    """One seed's figures."""

    summaries: list[ModelSummary]
    utilisation: dict[str, float]
    requests: int


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--load", "load_factor", default=1.0, show_default=True, help="Offered rate over planned rate.")
@click.option("--arrivals", "spec", default="poisson", show_default=True, help=ARRIVALS_HELP)
@click.option("--seconds", default=30.0, show_default=True, help="Simulated time of arrivals.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of arrivals and noise."
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs, with seeds from --seed on; figures are means with 95% intervals.",
)
@click.option(
    "--mode",
    type=click.Choice(["full", "published"]),
    default="full",
    show_default=True,
    help="full: all models at once, shared links, noise; published: the published simulator's simplifications.",
)
@click.option(
    "--policy",
    type=click.Choice(POLICIES),
    default="reservation",
    show_default=True,
    help="The data plane's rule.",
)
@click.option(
    "--noise/--no-noise",
    default=None,
    help="Draw latencies from the profile, if it can; by default in full mode.",
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
    seeds: int,
    mode: str,
    policy: str,
    noise: bool | None,
    dispatch_us: int,
    overhead_us: int,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run PLAN against arrivals, without devices.

    Every model is offered LOAD times its planned rate (the verified one, where it has one), all at once; in
    published mode each alone. Figures leave out the first tenth of the time (warm-up); the record keeps
    everything.

    \b
    Example:
      penstock simulate plan.json --load 0.9 --arrivals gamma:cv=4 --seconds 60 --seed 1 -o run
      penstock simulate plan.json --load 0.9 --seeds 10
    """
    from penstock.files import refuse_overwrite
    from penstock.plan.dispatch import dispatch_table
    from penstock.plan.store import load_plan
    from penstock.record import RECORD_FILES, save_record
    from penstock.traffic.spec import parse_arrivals

    process = parse_arrivals(spec)
    _check_positive("--load", load_factor)
    _check_positive("--seconds", seconds)
    world = _World(mode, policy, mode == "full" if noise is None else noise, dispatch_us, overhead_us)
    _check_world(world)
    if output is not None:
        _check_one_seed(seeds)
        refuse_overwrite(output, force, RECORD_FILES)
    loaded = load_plan(plan_path)
    table = dispatch_table(loaded.plan, loaded.profiles)
    figures = []
    begin = time.perf_counter()
    for own_seed in range(seed, seed + seeds):
        arrivals = _arrivals(loaded.plan, process, load_factor, seconds, own_seed)
        record = _record(loaded, table, arrivals, world, own_seed)
        figures.append(_figures(loaded.plan, record, seconds))
    wall_seconds = time.perf_counter() - begin
    if output is not None:
        save_record(record, output, force=force)
        note(f"Wrote the record to {output}.")
    _show(figures, world, wall_seconds, as_json)


def _check_positive(option: str, value: float) -> None:
    from penstock.errors import BadInputError

    if not 0 < value < float("inf"):
        raise BadInputError(f"{option} (={value:g}) must be a number > 0.")


def _check_world(world: _World) -> None:
    from penstock.errors import BadInputError

    if world.mode == "published" and (world.noise or world.dispatch_us or world.overhead_us):
        raise BadInputError(
            "--mode published has no noise and no costs: leave out --noise, --dispatch-us and --overhead-us, "
            "or use --mode full."
        )


def _check_one_seed(seeds: int) -> None:
    from penstock.errors import BadInputError

    if seeds > 1:
        raise BadInputError(f"--seeds (={seeds}) must be 1 with -o: a record is of one run. Leave one out.")


def _arrivals(plan: Plan, process: ArrivalProcess, load_factor: float, seconds: float, seed: int) -> Arrivals:
    import numpy as np

    from penstock.traffic.arrivals import draw_arrivals

    rates_rps = [load_factor * model.offered_rps for model in plan.models]
    return draw_arrivals(process, rates_rps, seconds, np.random.default_rng(seed))


def _record(loaded: LoadedPlan, table: DispatchTable, arrivals: Arrivals, world: _World, seed: int) -> Record:
    """What happens, by the simulator that the mode and the policy call for."""
    from penstock.simulate.every_policy import simulate_policy
    from penstock.simulate.published.simulator import simulate_published

    if world.mode == "published":
        return simulate_published(loaded.plan, table, arrivals, policy=world.policy)
    return simulate_policy(
        table,
        arrivals,
        model_names=[model.name for model in loaded.plan.models],
        seed=seed,
        noise=world.noise,
        dispatch_us=world.dispatch_us,
        overhead_us=world.overhead_us,
        policy=world.policy,
    )


def _figures(plan: Plan, record: Record, seconds: float) -> _Figures:
    from penstock.report.summary import summarise
    from penstock.report.utilisation import utilisation, utilisation_by_class
    from penstock.simulate.trial import WARM_UP_SHARE
    from penstock.units import us_from_seconds

    stop_us = us_from_seconds(seconds)
    start_us = us_from_seconds(seconds * WARM_UP_SHARE)
    busy = utilisation(record, len(plan.placement), start_us=start_us, stop_us=stop_us)
    workers = sorted(plan.placement, key=lambda placed: placed.worker)
    return _Figures(
        summaries=summarise(record, start_us=start_us, stop_us=stop_us),
        utilisation=utilisation_by_class(
            busy,
            [placed.device_class for placed in workers],
            [placed.share for placed in workers],
            {name: c.available for name, c in plan.scenario.cluster.device_classes.items()},
        ),
        requests=len(record.requests.request),
    )


def _show(figures: Sequence[_Figures], world: _World, wall_seconds: float, as_json: bool) -> None:
    utilisation = mean_by_key([one.utilisation for one in figures])
    requests = sum(one.requests for one in figures)
    if as_json:
        print_json(_document(figures, world, utilisation, requests, wall_seconds))
        return
    if len(figures) == 1:
        print_summaries("Models", figures[0].summaries)
    else:
        title = f"Models, mean of {len(figures)} seeds and 95% interval"
        print_seed_summaries(title, over_seeds([one.summaries for one in figures]))
    print_table(
        "Utilisation of all devices, used or not",
        ["device class", "busy"],
        [[name, f"{busy:.1%}"] for name, busy in utilisation.items()],
    )
    note(f"{requests} requests in {wall_seconds:.2f} s; the first tenth is not in the figures.")


def _document(
    figures: Sequence[_Figures],
    world: _World,
    utilisation: Mapping[str, float],
    requests: int,
    wall_seconds: float,
) -> dict[str, Any]:
    from penstock.simulate.trial import WARM_UP_SHARE

    return {
        "models": [seed_document(model) for model in over_seeds([one.summaries for one in figures])],
        "utilisation": dict(utilisation),
        "requests": requests,
        "mode": world.mode,
        "policy": world.policy,
        "seeds": len(figures),
        "warm_up_share": WARM_UP_SHARE,
        "wall_seconds": wall_seconds,
    }
