"""The table of the demonstration, and its report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penstock.cli.common.output import print_table
from penstock.cli.demo import settings
from penstock.cli.demo.trial import Trial
from penstock.files import write_text
from penstock.report.page import Contents, Run, render
from penstock.report.summary import ModelSummary, summarise

COLUMNS = ("plan", "figure", "rate/s", "goodput/s", "attainment", "p50 ms", "p99 ms")


def rows(trials: Sequence[Trial]) -> list[dict[str, str | float | None]]:
    """The table as data: predicted, simulated and measured values of each trial."""
    found: list[dict[str, str | float | None]] = []
    for trial in trials:
        found.append(_predicted(trial))
        found.append(_row(trial.label, "simulated", summarise(trial.simulated)[0]))
        found.append(_row(trial.label, "measured", summarise(trial.measured)[0]))
    return found


def _predicted(trial: Trial) -> dict[str, str | float | None]:
    """What the plan alone predicts: the offered rate, and the latency of a request that never waits."""
    model = trial.plan.models[0]
    fastest_us = min(
        sum(stage.inference_us + stage.transfer_us for stage in pipeline.stages)
        for pipeline in model.pipelines
    )
    return {
        "plan": trial.label,
        "figure": "predicted",
        "rate_rps": settings.LOAD * model.rate_rps,
        "goodput_rps": settings.LOAD * model.rate_rps,
        "attainment": None,
        "p50_ms": fastest_us / 1e3,
        "p99_ms": None,
    }


def _row(label: str, figure: str, summary: ModelSummary) -> dict[str, str | float | None]:
    return {
        "plan": label,
        "figure": figure,
        "rate_rps": summary.offered_rps,
        "goodput_rps": summary.goodput_rps,
        "attainment": summary.attainment,
        "p50_ms": summary.p50_us / 1e3,
        "p99_ms": summary.p99_us / 1e3,
    }


def print_rows(found: Sequence[dict[str, str | float | None]]) -> None:
    """Print the table for people. Unknown values are blank."""
    shown = [
        [
            str(row["plan"]),
            str(row["figure"]),
            *(_number(row[key], "{:.1f}") for key in ("rate_rps", "goodput_rps")),
            _number(row["attainment"], "{:.2%}"),
            *(_number(row[key], "{:.1f}") for key in ("p50_ms", "p99_ms")),
        ]
        for row in found
    ]
    print_table("Predicted, simulated, measured", COLUMNS, shown)


def _number(value: object, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)


def write_report(trials: Sequence[Trial], path: Path) -> None:
    """The report: latency distributions and the use of the pools, simulated and measured."""
    runs = {}
    for trial in trials:
        runs[f"{trial.label}, simulated"] = Run(trial.simulated, trial.plan)
        runs[f"{trial.label}, server's record"] = Run(trial.served, trial.plan)
        runs[f"{trial.label}, seen by the client"] = Run(trial.measured)
    overheads = ", ".join(f"{trial.overhead_us / 1e3:.2f} ms ({trial.label})" for trial in trials)
    notes = (
        f"{settings.MODEL} at {settings.LOAD:.0%} of each plan's rate for {settings.SERVE_SECONDS:.0f} s, Poisson "
        f"arrivals. Class {settings.FAST} is this machine's CPU, one thread a worker. Class {settings.SLOW} runs the "
        f"same code and is slowed down, block by block, to a table that follows from a {settings.ROOFLINE_LOW} "
        f"compared with a {settings.ROOFLINE_HIGH}.",
        f"The simulation had the same arrivals, latencies drawn from the profile's median and 99th percentile, and "
        f"the cost of a request outside the workers, measured at a light load beforehand: {overheads}.",
    )
    plans = {trial.label: trial.plan for trial in trials}
    write_text(path, render(Contents("Penstock demonstration", plans, runs, notes)))
