"""Summaries of records by model, over one seed or several: as tables, JSON and rows of a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from penstock.api.showing.tables import Table, table
from penstock.interval import Interval, mean_interval
from penstock.report.summary import ModelSummary


@dataclass(frozen=True)
class SeedSummary:
    """One model over all seeds: the summary of each, and the 95% intervals over them."""

    runs: Sequence[ModelSummary]
    attainment: Interval
    goodput_rps: Interval


def over_seeds(runs: Sequence[Sequence[ModelSummary]]) -> list[SeedSummary]:
    """Summaries by model. ``runs`` holds the models' summaries of each seed, in one order."""
    return [
        SeedSummary(
            own,
            mean_interval([summary.attainment for summary in own]),
            mean_interval([summary.goodput_rps for summary in own]),
        )
        for own in zip(*runs, strict=True)
    ]


def mean_by_key(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each entry over mappings with the same keys."""
    return {key: fmean(one[key] for one in figures) for key in figures[0]}


def summary_table(title: str, summaries: Sequence[ModelSummary]) -> Table:
    """One row per model. Misses are by cause. Latencies are blank if nothing was answered."""
    columns = ["model", "requests", "offered/s", "attainment", "goodput/s", "p50 ms", "p99 ms", "misses"]
    return table(title, columns, [_row(summary) for summary in summaries])


def _row(summary: ModelSummary) -> list[object]:
    misses = [f"{count} {cause}" for cause, count in summary.outcomes.items() if count and cause != "met"]
    return [
        summary.name,
        summary.requests,
        f"{summary.offered_rps:.1f}",
        f"{summary.attainment:.2%}" if summary.requests else "-",
        f"{summary.goodput_rps:.1f}",
        _ms(summary.p50_us),
        _ms(summary.p99_us),
        ", ".join(misses) or "-",
    ]


def _ms(latency_us: float) -> str:
    return "-" if latency_us < 0 else f"{latency_us / 1e3:.2f}"


def summary_document(summary: ModelSummary) -> dict[str, Any]:
    """One model's summary as JSON. Latencies are -1 if nothing was answered."""
    return {
        "name": summary.name,
        "requests": summary.requests,
        "offered_rps": summary.offered_rps,
        "attainment": summary.attainment,
        "goodput_rps": summary.goodput_rps,
        "mean_us": summary.mean_us,
        "p50_us": summary.p50_us,
        "p99_us": summary.p99_us,
        "outcomes": dict(summary.outcomes),
    }


def seed_table(title: str, models: Sequence[SeedSummary]) -> Table:
    """One row per model. Intervals are shown as mean and half width."""
    columns = ["model", "requests", "offered/s", "attainment", "±", "goodput/s", "±"]
    return table(title, columns, [_seed_row(model) for model in models])


def _seed_row(model: SeedSummary) -> list[object]:
    requests = sum(run.requests for run in model.runs)
    return [
        model.runs[0].name,
        requests,
        f"{fmean(run.offered_rps for run in model.runs):.1f}",
        f"{model.attainment.mean:.2%}" if requests else "-",
        f"{model.attainment.half_width:.2%}" if requests else "-",
        f"{model.goodput_rps.mean:.1f}",
        f"{model.goodput_rps.half_width:.1f}",
    ]


def seed_document(model: SeedSummary) -> dict[str, Any]:
    """One model as JSON: summed counts, averaged figures, both intervals as [low, high]. Null if there is one seed.

    A latency is -1 if a seed answered nothing.
    """
    documents = [summary_document(run) for run in model.runs]
    first = documents[0]
    latencies = {
        key: min(found) if min(found := [one[key] for one in documents]) < 0 else fmean(found)
        for key in ("mean_us", "p50_us", "p99_us")
    }
    return {
        "name": first["name"],
        "requests": sum(one["requests"] for one in documents),
        "offered_rps": fmean(one["offered_rps"] for one in documents),
        "attainment": model.attainment.mean,
        "attainment_interval": _ends(model.attainment, model),
        "goodput_rps": model.goodput_rps.mean,
        "goodput_interval": _ends(model.goodput_rps, model),
        **latencies,
        "outcomes": {key: sum(one["outcomes"][key] for one in documents) for key in first["outcomes"]},
    }


def _ends(interval: Interval, model: SeedSummary) -> list[float] | None:
    return [interval.low, interval.high] if len(model.runs) > 1 else None
