"""``penstock device sweep``: the load that each order holds, and how fair Paella's rule is as theta changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from penstock.cli.common.numbers import FiniteRange, Share
from penstock.cli.common.output import force_option, json_option, print_json, print_table
from penstock.cli.device.device_options import SharedDevice, shared_device, shared_device_options

THETAS = (1000.0, 100.0, 30.0, 10.0, 3.0, 1.0)


@click.command()
@shared_device_options
@click.option(
    "--attainment",
    "target",
    type=Share(min_open=True, max_open=True),
    default="99%",
    show_default=True,
    help="Share of all jobs that must end within their SLO.",
)
@click.option("--seeds", "seed_count", type=click.IntRange(min=1, max=100), default=4, show_default=True)
@click.option(
    "--fairness-load",
    type=FiniteRange(min=0, min_open=True, max=2),
    default=0.95,
    show_default=True,
    help="The load of the theta sweep.",
)
@click.option("--figures", type=click.Path(path_type=Path), help="Draw into this folder.")
@force_option
@json_option
def command(
    target: float,
    seed_count: int,
    fairness_load: float,
    jobs: int,
    sigma: float | None,
    figures: Path | None,
    force: bool,
    as_json: bool,
    **device: Any,
) -> None:
    """Find the load at which each set-up holds the target, over all jobs and for every model. Then vary theta.

    Load is the rate times the mean own time of a job. Fairness is Jain's index of the service that types get
    while they have jobs waiting: 1 is even.

    \b
    Example:
      penstock device sweep --mix eight --attainment 99%
      penstock device sweep --mix equal-work --setup moore-hodgson --setup edf-demote --seeds 2 --json
    """
    if figures is not None:
        from penstock.files import refuse_overwrite

        refuse_overwrite(figures, force)
    shared = shared_device(**device)
    document = {
        "attainment": target,
        "jobs": jobs,
        "seeds": seed_count,
        "held": _held(shared, target, seed_count, jobs, sigma),
        "theta": _thetas(shared, fairness_load, jobs, sigma),
        "fairness_load": fairness_load,
    }
    if figures is not None:
        from penstock.cli.device.device_pictures import write_figures
        from penstock.report.device_figures import draw_sweep

        write_figures(figures, draw_sweep(document), force=force)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _held(
    shared: SharedDevice, target: float, seed_count: int, jobs: int, sigma: float | None
) -> list[dict[str, Any]]:
    from penstock.simulate.device.held_load import Judge

    judge = Judge.drawn(shared.models, shared.device, jobs=jobs, seeds=range(seed_count), sigma=sigma)
    rows = []
    for name, setup in shared.setups.items():
        all_jobs, every_model = judge.held_loads(setup, target)
        rows.append(
            {
                "setup": name,
                "load_all_jobs": all_jobs,
                "load_every_model": every_model,
                "all_jobs_rps": judge.rate_rps(all_jobs),
                "every_model_rps": judge.rate_rps(every_model),
            }
        )
    return rows


def _thetas(shared: SharedDevice, load: float, jobs: int, sigma: float | None) -> list[dict[str, float]]:
    from dataclasses import replace

    import numpy as np

    from penstock.simulate.device.mixes import draw_jobs, mean_own_us
    from penstock.simulate.device.service_shares import ServiceShares
    from penstock.simulate.device.setups import SETUPS
    from penstock.units import US_PER_S

    rate_rps = load * US_PER_S / mean_own_us(shared.models)
    arrivals = draw_jobs(shared.models, rate_rps, jobs, np.random.default_rng(0), sigma=sigma)
    window = min(setup.window for setup in shared.setups.values())
    rows = []
    for theta in THETAS:
        service = ServiceShares(len(shared.models))
        setup = replace(SETUPS["srpt-deficit"], theta=theta, window=window)
        record = setup.run(shared.models, arrivals, shared.device, service=service)
        rows.append(
            {
                "theta": theta,
                "jain_of_service": service.jain(),
                "mean_ms": record.mean_us() / 1e3,
                "p99_ms": record.percentile_us(99) / 1e3,
            }
        )
    return rows


def _print(document: dict[str, Any]) -> None:
    print_table(
        f"Largest load that holds {document['attainment']:.1%}",
        ["set-up", "all jobs", "jobs/s", "every model", "jobs/s "],
        [
            [
                row["setup"],
                f"{row['load_all_jobs']:.3f}",
                f"{row['all_jobs_rps']:.1f}",
                f"{row['load_every_model']:.3f}",
                f"{row['every_model_rps']:.1f}",
            ]
            for row in document["held"]
        ],
    )
    print_table(
        f"srpt-deficit at load {document['fairness_load']:g}: fairness of service by theta",
        ["theta", "Jain", "mean ms", "p99 ms"],
        [
            [
                f"{row['theta']:g}",
                f"{row['jain_of_service']:.3f}",
                f"{row['mean_ms']:.2f}",
                f"{row['p99_ms']:.1f}",
            ]
            for row in document["theta"]
        ],
    )
