"""Figures of several runs that differ in their seed alone: means, and 95% intervals of what is claimed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from penstock.cli.output import print_table
from penstock.cli.summaries import summary_document

if TYPE_CHECKING:
    from penstock.interval import Interval
    from penstock.report.summary import ModelSummary


@dataclass(frozen=True)
class SeedSummary:
    """One model over all seeds: the summary of each, and the intervals over them."""

    runs: Sequence[ModelSummary]
    attainment: Interval
    goodput_rps: Interval


def over_seeds(runs: Sequence[Sequence[ModelSummary]]) -> list[SeedSummary]:
    """By model; ``runs`` holds the models' summaries of each seed, in one order."""
    from penstock.interval import mean_interval

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


def print_seed_summaries(title: str, models: Sequence[SeedSummary]) -> None:
    """One row a model, the intervals as mean and half width."""
    columns = ["model", "requests", "offered/s", "attainment", "±", "goodput/s", "±"]
    print_table(title, columns, [_row(model) for model in models])


def _row(model: SeedSummary) -> list[object]:
    return [
        model.runs[0].name,
        sum(run.requests for run in model.runs),
        f"{fmean(run.offered_rps for run in model.runs):.1f}",
        f"{model.attainment.mean:.2%}",
        f"{model.attainment.half_width:.2%}",
        f"{model.goodput_rps.mean:.1f}",
        f"{model.goodput_rps.half_width:.1f}",
    ]


def seed_document(model: SeedSummary) -> dict[str, Any]:
    """One model as JSON: counts summed, figures averaged, both intervals as [low, high]; null of one seed.

    A latency is -1 where a seed answered nothing.
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
