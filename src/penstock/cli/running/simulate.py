"""``penstock simulate``: run a plan with arrivals, without devices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click
from click.core import ParameterSource

from penstock.cli.common.numbers import seed_option
from penstock.cli.common.output import force_option, json_option, note, print_result
from penstock.cli.common.policies import DEFAULT_POLICY, POLICIES, queue_delay_option, queue_delay_us
from penstock.cli.common.traffic_options import arrivals_option, as_recorded_option, rate_by_model_option
from penstock.errors import BadInputError


@click.command()
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@click.option("--load", "load_factor", default=1.0, show_default=True, help="Offered rate / planned rate.")
@rate_by_model_option("Requests per second of a model, in place of --load. Repeatable.")
@arrivals_option
@as_recorded_option
@click.option(
    "--seconds",
    type=float,
    help="Simulated time of arrivals. [default: 30, or the recording with --as-recorded]",
)
@seed_option("arrivals and noise")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of runs, with seeds from --seed onwards. Results are means with 95% intervals.",
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
    default=None,
    help=f"The rule that the dispatcher follows. Default: {DEFAULT_POLICY}; in published mode reservation.",
)
@queue_delay_option
@click.option(
    "--noise/--no-noise",
    default=None,
    help="Draw latencies from the profile, if it can. Default in full mode.",
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
@click.pass_context
def command(
    context: click.Context,
    plan_path: Path,
    load_factor: float,
    rates_rps: dict[str, float],
    specs: tuple[str, ...],
    as_recorded: bool,
    seconds: float | None,
    seed: int,
    seeds: int,
    mode: Literal["full", "published"],
    policy: str | None,
    max_queue_delay_ms: float | None,
    noise: bool | None,
    dispatch_us: int,
    overhead_us: int,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run PLAN against arrivals, without devices.

    Every model is offered LOAD times its planned rate, or its verified rate if it has one. All models run at once; in
    published mode, each runs alone. Results leave out the first tenth of the time (warm-up). The record keeps
    everything.

    If the models of PLAN take turns on their devices, the plan names the order, so --policy does not apply. Latencies
    are then the profile's medians.

    \b
    Example:
      penstock simulate plan.json --load 0.9 --arrivals gamma:cv=4 --seconds 60 --seed 1 -o run
      penstock simulate plan.json --load 0.9 --seeds 10
      penstock simulate plan.json --arrivals trace:requests.csv --as-recorded
    """
    from penstock.api.results.plan_result import PlanResult
    from penstock.files import refuse_overwrite
    from penstock.record import RECORD_FILES

    if output is not None:
        if seeds > 1:
            raise BadInputError(
                f"--seeds (={seeds}) must be 1 with -o: a record is of one run. Leave one out."
            )
        refuse_overwrite(output, force, RECORD_FILES)
    if as_recorded:
        from penstock.traffic.by_model import as_recorded as unscaled

        if rates_rps or context.get_parameter_source("load_factor") is ParameterSource.COMMANDLINE:
            raise BadInputError("--as-recorded has the recording's own rate: leave out --load and --rate.")
        specs = tuple(unscaled(specs))
    found = PlanResult.read(plan_path).simulate(
        load=load_factor,
        rates_rps=rates_rps,
        arrivals=specs or "poisson",
        seconds=seconds,
        seed=seed,
        seeds=seeds,
        mode=mode,
        policy=policy,
        max_queue_delay_us=queue_delay_us(max_queue_delay_ms),
        noise=noise,
        dispatch_us=dispatch_us,
        overhead_us=overhead_us,
    )
    for text in found.notes:
        note(text)
    if output is not None:
        found.save(output, force=force)
        note(f"Wrote the record to {output}.")
    print_result(found, as_json)
    if not as_json:
        note(
            f"{found.requests} requests in {found.wall_seconds:.2f} s; the first tenth is not in the figures."
        )
