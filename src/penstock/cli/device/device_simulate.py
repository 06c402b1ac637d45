"""``penstock device simulate``: latency against rate, per model and overall, for several ways to share a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.numbers import FiniteRange
from penstock.cli.common.output import force_option, json_option, note, print_json, print_table
from penstock.cli.device.device_options import SharedDevice, shared_device, shared_device_options

if TYPE_CHECKING:
    from penstock.simulate.device.device_loop import Overheads
    from penstock.simulate.device.device_record import DeviceRecord

DEFAULT_LOADS = (0.3, 0.5, 0.7, 0.8, 0.9)
MS = 1e3


@click.command()
@shared_device_options
@click.option(
    "--load",
    "loads",
    multiple=True,
    type=FiniteRange(min=0, min_open=True),
    help=f"Rate times mean own time. Repeat for several [default: {', '.join(map(str, DEFAULT_LOADS))}].",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--decide-us", type=FiniteRange(min=0), default=0.0, show_default=True, help="Cost of a decision."
)
@click.option(
    "--launch-us", type=FiniteRange(min=0), default=0.0, show_default=True, help="Cost of a launch."
)
@click.option(
    "--notice-us",
    type=FiniteRange(min=0),
    default=0.0,
    show_default=True,
    help="Time until an end is noticed.",
)
@click.option("--figures", type=click.Path(path_type=Path), help="Draw into this folder.")
@force_option
@json_option
def command(
    loads: tuple[float, ...],
    seed: int,
    jobs: int,
    sigma: float | None,
    decide_us: float,
    launch_us: float,
    notice_us: float,
    figures: Path | None,
    force: bool,
    as_json: bool,
    **device: Any,
) -> None:
    """Simulate models that share one device: mean and p99 latency, deadlines met, and where the time goes.

    All set-ups get the same jobs. Gaps are scaled so that the actual rate is the nominal rate. Latency counts
    from the intended arrival.

    \b
    Example:
      penstock device simulate --mix eight --load 0.5 --load 0.8
      penstock device simulate --mix equal-work --sigma 2 --setup srpt --setup direct-ms --figures figures
      penstock device simulate --interference 0.26 --window 24 --setup srpt-deficit --json
    """
    from penstock.simulate.device.device_loop import Overheads

    if figures is not None:
        from penstock.files import refuse_overwrite

        refuse_overwrite(figures, force)
    shared = shared_device(**device)
    document = _document(
        shared, loads or DEFAULT_LOADS, seed, jobs, sigma, Overheads(decide_us, launch_us, notice_us)
    )
    if figures is not None:
        from penstock.cli.device.device_pictures import write_figures
        from penstock.report.device_figures import draw_latencies

        write_figures(figures, draw_latencies(document), force=force)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _document(
    shared: SharedDevice,
    loads: tuple[float, ...],
    seed: int,
    jobs: int,
    sigma: float | None,
    overheads: Overheads,
) -> dict[str, Any]:
    import numpy as np

    from penstock.simulate.device.mixes import draw_jobs, mean_own_us
    from penstock.units import US_PER_S

    draw = draw_jobs(shared.models, 1.0, jobs, np.random.default_rng(seed), sigma=sigma)
    runs = []
    for load in loads:
        rate_rps = load * US_PER_S / mean_own_us(shared.models)
        arrivals = draw.at_rate(rate_rps)
        for name, setup in shared.setups.items():
            record = setup.run(shared.models, arrivals, shared.device, overheads=overheads)
            runs.append({"setup": name, "load": load, "offered_rps": rate_rps, **_figures(record)})
    return {
        "interference": shared.device.a,
        "jobs": jobs,
        "sigma": sigma,
        "models": [
            {
                "name": m.name,
                "own_ms": m.own_us / MS,
                "segments": len(m.segment_us),
                "slo_ms": (m.slo_us or 0) / MS,
            }
            for m in shared.models
        ],
        "runs": runs,
    }


def _figures(record: DeviceRecord) -> dict[str, Any]:
    here = sorted(set(record.model.tolist()))
    return {
        "rate_rps": record.rate_rps(),
        **_latencies(record, None),
        "mean_stretch": float(record.stretch().mean()),
        "stack_ms": {part: us / MS for part, us in record.mean_parts_us().items()},
        "models": {record.names[model]: _latencies(record, model) for model in here},
    }


def _latencies(record: DeviceRecord, model: int | None) -> dict[str, float]:
    return {
        "mean_ms": record.mean_us(model) / MS,
        "p99_ms": record.percentile_us(99, model) / MS,
        "attainment": record.attainment(model),
    }


def _print(document: dict[str, Any]) -> None:
    runs = document["runs"]
    print_table(
        f"All jobs ({document['jobs']} a run, interference {document['interference']:g})",
        ["load", "offered/s", "set-up", "mean ms", "p99 ms", "in SLO", "stretch"],
        [
            [
                f"{run['load']:.2f}",
                f"{run['offered_rps']:.1f}",
                run["setup"],
                f"{run['mean_ms']:.2f}",
                f"{run['p99_ms']:.1f}",
                f"{run['attainment']:.2%}",
                f"{run['mean_stretch']:.2f}",
            ]
            for run in runs
        ],
    )
    last = runs[-1]["load"]
    names = [model["name"] for model in document["models"]]
    print_table(
        f"By model at load {last:.2f}: mean / p99 ms, in SLO",
        ["set-up", *names],
        [
            [run["setup"], *(_cell(run["models"].get(name)) for name in names)]
            for run in runs
            if run["load"] == last
        ],
    )
    print_table(
        f"Where the mean latency goes at load {last:.2f}, ms",
        ["set-up", *runs[-1]["stack_ms"], "total"],
        [
            [
                run["setup"],
                *(f"{ms:.3f}" for ms in run["stack_ms"].values()),
                f"{sum(run['stack_ms'].values()):.3f}",
            ]
            for run in runs
            if run["load"] == last
        ],
    )
    note("Times are simulated: the device is one number, and stage times are those of the mix.")


def _cell(figures: dict[str, float] | None) -> str:
    if figures is None:
        return "-"
    return f"{figures['mean_ms']:.1f} / {figures['p99_ms']:.0f}, {figures['attainment']:.1%}"
